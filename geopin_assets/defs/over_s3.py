"""The platform's resources where an address in the settings is in a bucket: Dagster's `S3Resource` says who asks whom.

One resource, `s3`, for the store and for own photos, whichever client speaks to them: obstore takes its region and
credentials, boto3 its session. What it does not state is what boto3 finds: AWS_… variables, a profile, a role. Not
here: installations without a bucket, which import none of this (`resources.py`).
"""

import dagster as dg
from dagster_aws.s3 import S3Resource

from geopin_assets.defs import resources
from geopin_assets.s3_access import S3Access
from geopin_assets.settings import Settings


class _OverS3(resources.FromSettings):
    s3: S3Resource

    def settings(self) -> Settings:
        settings = super().settings()
        access = S3Access(**{name: _told(getattr(self.s3, name)) for name in S3Access.__slots__})
        return settings.model_copy(update={"s3": access, "s3_endpoint_url": _told(self.s3.endpoint_url) or ""})


class Sources(_OverS3, resources.Sources):
    """The imagery sources, reached through one polite client each."""


class Storage(_OverS3, resources.Storage):
    """Raw files, vectors and reports in a bucket, and the DuckDB catalog in the data directory."""


class Embedding(_OverS3, resources.Embedding):
    """The model on its device, and the guarded image fetcher."""


def _told(value: str | None) -> str | None:
    """A variable that is named in its place is read at the start of a run, and here where there is none."""
    return value.get_value() if isinstance(value, dg.EnvVar) else value


def s3_of(settings: Settings) -> S3Resource:
    """As the settings have it, with the credentials that boto3 finds."""
    return S3Resource(endpoint_url=settings.s3_endpoint_url or None)
