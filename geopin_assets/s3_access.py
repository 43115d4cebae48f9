"""Who asks an S3 server: for the store and for own photos, whatever client speaks to it.

Here: what is stated about that (by Dagster's `S3Resource`, see `defs/over_s3.py`), on top of what boto3 finds by
itself: AWS_… variables, a profile, the role of a machine or a container. Not here: clients, or the address of the
server (GEOPIN_S3_ENDPOINT_URL). Importing this imports no boto3.
"""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Access:
    """What is None is what boto3 finds."""

    region_name: str | None = None
    profile_name: str | None = None
    aws_access_key_id: str | None = field(default=None, repr=False)
    aws_secret_access_key: str | None = field(default=None, repr=False)
    aws_session_token: str | None = field(default=None, repr=False)

    def session(self) -> Any:
        """A boto3 session."""
        import boto3

        return boto3.Session(**asdict(self))
