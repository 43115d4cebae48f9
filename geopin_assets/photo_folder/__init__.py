"""A folder of photos on a disk or under a prefix of an S3 bucket (R2, SeaweedFS, …): the same to its readers.

Here: which of the two an address means. Importing this imports no boto3.
"""

import re
from pathlib import Path

from geopin_assets.errors import ConfigurationError
from geopin_assets.photo_folder.local import (
    LocalFolder,
    PhotoFile,
    PhotoFolder,
    PhotoGoneError,
    PhotoNotAllowedError,
    PhotoTooLargeError,
    is_photo,
)
from geopin_assets.photo_folder.s3 import S3Folder

__all__ = [
    "LocalFolder",
    "PhotoFile",
    "PhotoFolder",
    "PhotoGoneError",
    "PhotoNotAllowedError",
    "PhotoTooLargeError",
    "S3Folder",
    "is_photo",
    "open_folder",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_folder(address: str, endpoint_url: str = "") -> PhotoFolder:
    """The folder at a local path or `s3://bucket/prefix`; nothing is asked yet.

    `endpoint_url`: of a server other than Amazon's. Raises ConfigurationError for any other address.
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        return LocalFolder(Path(address).expanduser())
    bucket, _, prefix = address[scheme.end() :].partition("/")
    if scheme[1].lower() != "s3" or not bucket:
        raise ConfigurationError("a folder of photos is a local path or s3://bucket/prefix")
    return S3Folder(bucket, prefix, endpoint_url)
