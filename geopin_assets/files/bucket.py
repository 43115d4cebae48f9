"""Object stores in a bucket, and whether what its server answers is believed.

A server that is not the right one, or a proxy before it, answers a list with a web page and status 200, which reads
like a list of nothing: every cell would be taken for never crawled. So the store has an object at its root,
`store.json`, and a list of nothing is believed only once that has been read back.

Here: connecting, that object, and what many requests at once save. Not here: what a store can do (`object_store.py`).
"""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from geopin_assets.errors import ConfigurationError, GeoPinError
from geopin_assets.files.object_store import READERS, ConflictError, NoSuchObjectError, ObjectStore, Stored
from geopin_assets.files.store_errors import SETTINGS, understood
from geopin_assets.s3_access import S3Access

if TYPE_CHECKING:
    from obstore import Bytes, ObjectMeta
    from obstore.store import S3Store

MARK = "store.json"
_CONTENT = b'{"store": "geopin_assets"}\n'
_RETRY_FOR = timedelta(seconds=60)
_REQUEST_TAKES_AT_MOST = "120s"
_AT_ONCE_BYTES = 2**24
"""Of a larger object such ranges are fetched one by one, each in a request's time: one of gigabytes takes longer."""
_CONFLICTS = 5
T = TypeVar("T")
_FEW = 8
"""So many single questions at once are as fast as one list."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """The object at the root of a store."""

    root: ObjectStore

    def check(self) -> None:
        """Raise ConfigurationError unless it can be read back; makes it where it is not there."""
        try:
            found = self._content()
        except NoSuchObjectError:
            try:
                self.root.put(MARK, _CONTENT, if_absent=True)
            except ConflictError:
                pass  # another process was faster
            except ConfigurationError:
                raise
            except GeoPinError as error:
                raise ConfigurationError(f"{error}: nothing can be stored there, {SETTINGS}") from error
            found = self._content()
        if found != _CONTENT:
            raise ConfigurationError(f"{self.root.address(MARK)}: what answers is no store of ours, {SETTINGS}")

    def _content(self) -> bytes:
        return self.root.get(MARK)


class BucketStore(ObjectStore):
    """Objects under a prefix of a bucket."""

    is_near = False
    readers = READERS
    seconds_between_puts = 1.0  # R2 takes one a second of one key, and answers 429 to more

    def __init__(self, inner: "S3Store", address: str, prefix: str = "", mark: _Mark | None = None) -> None:
        super().__init__(inner, address, prefix)
        self._mark = mark or _Mark(ObjectStore(inner, address, prefix))

    def below(self, folder: str) -> Self:
        return type(self)(self._inner, self.address(folder), f"{self._full(folder)}/", self._mark)  # type: ignore[arg-type]

    def walk(self, folder: str = "") -> list[Stored]:
        found = super().walk(folder)
        return self._believed(found, found)

    def look(self, folder: str = "") -> tuple[list[str], list[Stored]]:
        folders, found = super().look(folder)
        return self._believed((folders, found), [*folders, *found])

    def there(self, keys: Iterable[str]) -> set[str]:
        """In few requests: folder by folder those between the first and the last, or one by one where they are few."""
        by_folder = defaultdict[str, list[str]](list)
        for key in keys:
            by_folder[key.rpartition("/")[0]].append(key)
        single = [key for some in by_folder.values() if len(some) <= _FEW for key in some]
        many = [some for some in by_folder.values() if len(some) > _FEW]
        with ThreadPoolExecutor(READERS) as pool:
            found = set().union(*pool.map(self._between, many))
            return found | {key for key, has in zip(single, pool.map(self.has, single), strict=True) if has}

    def _fetch(self, key: str, path: Path, most: int | None = None) -> None:
        """Of one that is replaced meanwhile, the new one."""
        for _ in range(_CONFLICTS):
            with suppress(ConflictError):
                return super()._fetch(key, path, most)
        return super()._fetch(key, path, most)

    def _chunks(self, key: str, most: int | None) -> "Iterator[Bytes | bytes]":
        begun = self._got(key, most)
        size, version = begun.meta["size"], begun.meta["e_tag"]
        if size <= _AT_ONCE_BYTES or not version:
            yield from begun
            return
        for start in range(0, size, _AT_ONCE_BYTES):
            yield self.get_range(key, start, _AT_ONCE_BYTES, if_version=version)

    def _between(self, keys: list[str]) -> set[str]:
        """Those of the keys of one folder that are objects."""
        first, last, folder = min(keys), max(keys), self._full(keys[0].rpartition("/")[0])
        with understood(self.address(first)):
            pages = self._inner.list(folder or None, offset=self._full(first)[:-1], chunk_size=1000)
            listed = (one["path"].removeprefix(self._prefix) for page in pages for one in page)
            found = set(takewhile(lambda key: key <= last, listed)).intersection(keys)
        return self._believed(found, found)

    def _believed(self, answer: T, found: Collection[object]) -> T:
        if not found:
            self._mark.check()
        return answer

    def _in_order(self, found: "Iterable[ObjectMeta]") -> list[Stored]:
        at_root = self._mark.root.address() == self.address()
        return [one for one in super()._in_order(found) if not (at_root and one.key == MARK)]


def open_bucket(bucket: str, prefix: str, endpoint_url: str, access: S3Access | None) -> ObjectStore:
    """The store under a prefix; nothing is asked yet. Who opens the same in one process shares its connections."""
    address = f"s3://{bucket}/{prefix}".rstrip("/")
    variables = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    with understood(address):
        inner = _connected(bucket, endpoint_url, access or S3Access(), variables, os.getpid())
    return BucketStore(inner, address, f"{prefix}/" if prefix else "")


@lru_cache(maxsize=8)
def _connected(bucket: str, endpoint_url: str, access: S3Access, variables: object, process: int) -> "S3Store":
    """Credentials are boto3's, which finds them everywhere and renews those that expire."""
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    try:
        session = access.session()
        provider = Boto3CredentialProvider(session)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"s3://{bucket}: {type(error).__name__}: no credentials, {SETTINGS}") from None
    return S3Store(
        bucket,
        config={"endpoint": endpoint_url} if endpoint_url else None,
        client_options={"allow_http": endpoint_url.startswith("http://"), "timeout": _REQUEST_TAKES_AT_MOST},
        retry_config={"max_retries": 8, "retry_timeout": _RETRY_FOR},
        credential_provider=provider,
    )
