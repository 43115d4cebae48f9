"""One contract over a folder, memory and S3, then what only one of them can do or get wrong."""

import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geopin_assets.errors import ConfigurationError, GeoPinError, PermanentError, TransientError
from geopin_assets.files import bucket
from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.object_store import (
    ConflictError,
    NoSuchObjectError,
    ObjectStore,
    Stored,
    memory_store,
    open_store,
)
from geopin_assets_tests.depth import examples
from geopin_assets_tests.files.processes import end, start
from geopin_assets_tests.files.stores import CREDENTIALS, REAL_URL

KEYS = st.lists(
    st.text("abé [1]*?%&+=~'-_.", min_size=1, max_size=6).filter(lambda part: part.strip(". ") == part),
    min_size=1,
    max_size=3,
).map("/".join)


def keys(store: ObjectStore, folder: str = "") -> list[str]:
    return [stored.key for stored in store.walk(folder)]


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server of ours."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _answering(*statuses: int) -> Iterator[str]:
    """The address of a server that answers with these, one after the other, the last one again and again."""
    left = list(statuses)

    class Handler(_Quiet):
        def do_GET(self) -> None:
            status = left.pop(0) if len(left) > 1 else left[0]
            body = b"ok" if status == 200 else b"<Error><Code>Told</Code><Message>secret</Message></Error>"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Sun, 29 Nov 2026 12:00:00 GMT")
            self.end_headers()
            self.wfile.write(body)

    with _served(Handler) as address:
        yield address


def test_an_object_comes_back_as_it_was_put(object_store: ObjectStore) -> None:
    version = object_store.put("raw/a.parquet", b"content")
    assert object_store.get("raw/a.parquet") == b"content"
    stored = object_store.find("raw/a.parquet")
    assert stored and (stored.key, stored.bytes, stored.version) == ("raw/a.parquet", 7, version)
    assert abs(datetime.now(UTC) - stored.modified_at) < timedelta(minutes=1)


def test_a_put_replaces_and_changes_the_version(object_store: ObjectStore) -> None:
    versions = {object_store.put("a", content) for content in (b"one", b"two", b"three")}
    assert object_store.get("a") == b"three" and len(versions) == 3


def test_what_is_not_there_is_said_not_to_be(object_store: ObjectStore) -> None:
    assert object_store.find("a") is None and keys(object_store) == [] and object_store.look("b") == ([], [])
    for ask in (object_store.get, lambda key: object_store.get_range(key, 0, 1), lambda key: object_store.as_file(key)):
        with pytest.raises(NoSuchObjectError, match=r"a: not there"):
            got = ask("a")
            got.__enter__()  # type: ignore[union-attr]


def test_a_range_ends_where_the_object_ends(object_store: ObjectStore) -> None:
    object_store.put("a", b"0123456789")
    assert object_store.get_range("a", 2, 3) == b"234"
    assert object_store.get_range("a", 8, 100) == b"89"


def test_lists_are_in_the_order_of_keys_and_a_folder_is_no_prefix(object_store: ObjectStore) -> None:
    names = ["b/3.parquet", "b/1.parquet", "b/2/x.json", "b0", "a", "b-1/y"]
    for name in names:
        object_store.put(name, b"x")
    assert keys(object_store) == sorted(names)
    assert keys(object_store, "b") == ["b/1.parquet", "b/2/x.json", "b/3.parquet"]
    folders, objects = object_store.look("b")
    assert (folders, [one.key for one in objects]) == (["b/2"], ["b/1.parquet", "b/3.parquet"])
    assert object_store.look()[0] == ["b", "b-1"]


def test_deleting_what_is_not_there_is_no_error(object_store: ObjectStore) -> None:
    for name in ("a", "b", "c/d"):
        object_store.put(name, b"x")
    object_store.delete(["a", "nothing", "c/d"])
    object_store.delete([])
    assert keys(object_store) == ["b"]


def test_only_the_first_of_two_creates(object_store: ObjectStore) -> None:
    version = object_store.put("a", b"first", if_absent=True)
    with pytest.raises(ConflictError, match="another process"):
        object_store.put("a", b"second", if_absent=True)
    stored = object_store.find("a")
    assert object_store.get("a") == b"first" and stored and stored.version == version


def test_only_who_read_the_newest_replaces(object_store: ObjectStore) -> None:
    old = object_store.put("a", b"old")
    new = object_store.put("a", b"newer", if_version=old)
    with pytest.raises(ConflictError, match="another process"):
        object_store.put("a", b"lost update", if_version=old)
    assert object_store.get("a") == b"newer"
    object_store.put("a", b"newest", if_version=new)
    object_store.delete(["a"])
    with pytest.raises(ConflictError):
        object_store.put("a", b"back", if_version=new)
    assert object_store.find("a") is None


def test_libraries_read_and_write_files(object_store: ObjectStore) -> None:
    frame = pl.DataFrame({"n": range(1000)})
    for key in ("cells/a.parquet", "cells/b.parquet"):
        with object_store.replacing(key) as path:
            frame.write_parquet(path)
    with object_store.as_files(["cells/b.parquet", "cells/a.parquet"]) as paths:
        assert [path.name for path in paths] == ["b.parquet", "a.parquet"]
        assert pl.read_parquet(paths).equals(pl.concat([frame, frame]))
        opened = paths[0].open("rb")
    object_store.put("cells/b.parquet", b"")
    with opened:
        assert pl.read_parquet(opened).equals(frame)


def test_a_library_that_fails_replaces_nothing(object_store: ObjectStore) -> None:
    object_store.put("a", b"old")
    with pytest.raises(ZeroDivisionError), object_store.replacing("a") as path:
        path.write_bytes(b"ne")
        raise ZeroDivisionError
    assert object_store.get("a") == b"old" and keys(object_store) == ["a"]


@pytest.mark.parametrize("key", ["../a", "a/../b", "/a", "a//b", "a/", ".", ".a", "a/.b/c", "a\nb", "a\0", "a#1"])
def test_a_key_is_a_plain_relative_path(object_store: ObjectStore, key: str) -> None:
    for ask in (object_store.get, object_store.find, lambda key: object_store.put(key, b"x")):
        with pytest.raises(PermanentError, match="not a plain relative path"):
            ask(key)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(5, 80), deadline=None)
@given(key=KEYS, content=st.binary(max_size=50))
def test_any_plain_key_and_any_bytes_will_do(object_store: ObjectStore, key: str, content: bytes) -> None:
    key = f"{uuid4()}/{key}"  # none is the folder of another
    object_store.put(key, content)
    assert object_store.get(key) == content and keys(object_store) == [key]
    object_store.delete([key])
    assert keys(object_store) == []


def test_two_processes_that_state_a_condition_lose_no_update(tmp_path: Path, s3_bucket: str, s3_address: str) -> None:
    code = """
        import sys
        from geopin_assets.files.object_store import ConflictError, open_store
        store, done = open_store(sys.argv[1], endpoint_url=sys.argv[2]), 0
        while done < 20:
            before = store.find("number")
            number = int(store.get("number"))
            try:
                store.put("number", str(number + 1).encode(), if_version=before.version)
                done += 1
            except ConflictError:
                pass
    """
    for address in (str(tmp_path), f"s3://{s3_bucket}/counted"):
        open_store(address, endpoint_url=s3_address).put("number", b"0")
        processes = [start(code, address, s3_address) for _ in range(2)]
        assert [end(process)[0] for process in processes] == [0, 0]
        assert open_store(address, endpoint_url=s3_address).get("number") == b"40"


def test_a_folder_is_made_by_the_first_write_only(tmp_path: Path) -> None:
    store = open_store(tmp_path / "new")
    assert keys(store) == [] and store.find("a") is None and not (tmp_path / "new").exists()
    store.put("a/b", b"x")
    assert (tmp_path / "new" / "a" / "b").read_bytes() == b"x"


def test_what_a_killed_writer_left_in_a_folder_is_no_object(tmp_path: Path) -> None:
    code = """
        import os, sys
        from geopin_assets.files.object_store import open_store
        with open_store(sys.argv[1]).replacing("cells/a") as path:
            path.write_bytes(b"ne")
            os._exit(9)
    """
    store = FolderStore(tmp_path)
    store.put("cells/a", b"old", if_absent=True)
    assert end(start(code, tmp_path))[0] == 9
    assert len(list((tmp_path / "cells").iterdir())) == 2
    assert keys(store) == ["cells/a"] == [one.key for one in store.look("cells")[1]] and store.get("cells/a") == b"old"


def test_what_other_programs_keep_in_a_folder_is_no_object(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("cells/a", b"ours")
    for name in (".DS_Store", "cells/._a", "cells/.nfs0001", ".stfolder/b", "cells/.sync/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"theirs")
    assert keys(store) == ["cells/a"]
    assert [store.look(), store.look("cells")] == [(["cells"], []), ([], store.walk())]


def test_an_object_of_a_folder_is_its_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a/b", b"x")
    with store.as_file("a/b") as path:
        assert path == store.path("a/b") == tmp_path / "a" / "b"


def test_a_folder_that_may_not_be_written_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(GeoPinError, match="file is a file, not a folder"):
        open_store(tmp_path / "file").put("a", b"x")


@pytest.mark.parametrize("address", ["gs://bucket", "s3://", "s3:///prefix", "ftp://example.org/x"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"local path or s3://bucket/prefix"):
        open_store(address)


@pytest.mark.parametrize(
    "address",
    [
        "s3://KEY:SECRET@bucket/x",
        "s3://KEY:a/SECRET+x@bucket/x",
        "s3://bucket/x?secret=SECRET",
        "s3://bucket?key=SECRET",
        "s3://SECRET@bucket",
    ],
)
def test_an_address_with_a_key_in_it_is_refused_without_the_key(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"s3://bucket/prefix, without a key") as told:
        open_store(address)
    assert "SECRET" not in "".join(traceback.format_exception(told.value)).replace(f"{address!r}", "")


@pytest.mark.parametrize("prefix", ["a//b", "a/../b", "./a", "..", "a\tb"])
def test_a_prefix_that_no_key_can_have_is_a_wrong_setting(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match=r"local path or s3://bucket/prefix"):
        open_store(f"s3://bucket/{prefix}")


@pytest.mark.parametrize("prefix", ["", "/", "a/", "sp ace/k+k", "a%2Fb#é", ".hidden/日本"])
def test_any_other_prefix_will_do(prefix: str, s3_bucket: str, s3_address: str) -> None:
    store = open_store(f"s3://{s3_bucket}/{prefix}", endpoint_url=s3_address)
    store.put("raw/k é+1", b"content")
    (stored,) = store.walk()
    assert stored.key == "raw/k é+1" and store.below("raw").get("k é+1") == b"content"
    assert store.there([stored.key]) == {stored.key}


def test_a_missing_bucket_is_a_wrong_setting(s3_bucket: str, s3_address: str) -> None:
    store = open_store(f"s3://no-{s3_bucket}/x", endpoint_url=s3_address)
    for ask in (
        lambda: store.get("a"),
        lambda: keys(store),
        store.look,
        *([] if REAL_URL else [lambda: store.put("a", b"")]),
    ):
        with pytest.raises(ConfigurationError, match=r"s3://no-bucket-\S+: .*check the address"):
            ask()


def test_errors_quote_no_secret_and_no_answer(s3_bucket: str, s3_address: str) -> None:
    store = open_store(f"s3://{s3_bucket}", endpoint_url=s3_address)
    store.put("a", b"x")
    for ask in (
        lambda: store.get_range("a", 9, 9),
        lambda: store.get("b"),
        lambda: store.put("a", b"", if_absent=True),
    ):
        with pytest.raises(GeoPinError) as told:
            ask()
        said = f"{told.value} {told.value.__cause__}"
        assert "RequestId" not in said and "<" not in said and len(said) < 200
        assert not any(secret in said for secret in CREDENTIALS.values())


@pytest.mark.parametrize(
    ("status", "expected"), [(403, ConfigurationError), (400, PermanentError), (301, ConfigurationError)]
)
def test_a_refusal_is_classed_by_what_a_retry_would_change(
    status: int, expected: type[GeoPinError], s3_bucket: str
) -> None:
    with _answering(status) as address, pytest.raises(expected) as told:
        open_store(f"s3://{s3_bucket}", endpoint_url=address).get("a")
    assert str(status) in str(told.value) or status == 301


def test_what_passes_is_tried_again(s3_bucket: str) -> None:
    with _answering(503, 503, 200) as address:
        assert open_store(f"s3://{s3_bucket}", endpoint_url=address).get("a") == b"ok"


@contextmanager
def _web_page(*, has_put: bool) -> Iterator[str]:
    """The address of a server that answers everything with a page and status 200, as a proxy or a wrong one does."""

    class Handler(_Quiet):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b"<html><body>Welcome</body></html>"
            is_refused = self.command == "PUT" and not has_put
            self.send_response(405 if is_refused else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/html")
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Sun, 29 Nov 2026 12:00:00 GMT")
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET

    with _served(Handler) as address:
        yield address


@pytest.mark.parametrize("has_put", [True, False])
def test_a_list_that_is_a_web_page_is_no_list_of_nothing(s3_bucket: str, *, has_put: bool) -> None:
    with _web_page(has_put=has_put) as address:
        store = open_store(f"s3://{s3_bucket}/x", endpoint_url=address).below("raw")
        for ask in (store.walk, store.look, lambda: store.there([f"a/{n}" for n in range(20)])):
            with pytest.raises(ConfigurationError, match=r"store\.json"):
                ask()


def test_a_store_that_was_never_written_is_empty_and_its_mark_is_no_object(s3_bucket: str, s3_address: str) -> None:
    store = open_store(f"s3://{s3_bucket}/new", endpoint_url=s3_address)
    assert store.below("raw").walk() == [] == store.walk() and store.look() == ([], [])
    assert open_store(f"s3://{s3_bucket}", endpoint_url=s3_address).has("new/store.json")


def test_which_keys_are_there_takes_few_questions(object_store: ObjectStore) -> None:
    held = [f"a/{number:04d}" for number in range(0, 40, 2)]
    for key in (*held, "b/0001", "a/failed/0001"):
        object_store.put(key, b"")
    asked = [f"{folder}/{number:04d}" for folder in "ab" for number in range(1, 30)]
    assert object_store.there(asked) == {key for key in held if "a/0001" <= key < "a/0030"} | {"b/0001"}
    assert object_store.there(["b/0001", "b/0002"]) == {"b/0001"} and object_store.there([]) == set()


def test_an_open_object_is_never_a_mixture_of_two(object_store: ObjectStore) -> None:
    object_store.put("a", b"0123456789")
    with object_store.opened("a") as file:
        assert (file.read(3), file.seek(-2, 2), file.read(), file.read()) == (b"012", 8, b"89", b"")
        object_store.put("a", b"abcdefghij")
        file.seek(0)
        with suppress(ConflictError):
            assert file.read() == b"0123456789"
    with pytest.raises(NoSuchObjectError), object_store.opened("b"):
        pass


def test_a_store_is_a_folder_for_as_long_as_somebody_writes_files_in_it(object_store: ObjectStore) -> None:
    for key in ("old", "history/1", "history/2", "other"):
        object_store.put(key, b"before")
    with object_store.as_folder("history", "old", "none") as folder:
        assert (folder / "history" / "1").read_bytes() == (folder / "old").read_bytes() == b"before"
        (folder / "new").write_bytes(b"made")
        (folder / "history" / "1").unlink()
        (folder / "old").write_bytes(b"after")
    assert keys(object_store) == ["history/2", "new", "old", "other"]
    assert (object_store.get("new"), object_store.get("old"), object_store.get("other")) == (
        b"made",
        b"after",
        b"before",
    )


def test_a_file_replaces_what_it_was_made_from_or_nothing(object_store: ObjectStore) -> None:
    def write(content: bytes, before: Stored | None) -> None:
        with object_store.replacing("a", before=before) as path:
            path.write_bytes(content)

    write(b"first", None)
    read = object_store.find("a")
    with pytest.raises(ConflictError):
        write(b"another first", None)
    write(b"second", read)
    with pytest.raises(ConflictError):
        write(b"another second", read)
    assert object_store.get("a") == b"second"


@contextmanager
def _slow(content: list[bytes]) -> Iterator[str]:
    """The address of a server that gives a megabyte each 0.2 s of what is the object by then."""

    class Handler(_Quiet):
        def do_GET(self) -> None:
            whole = content[0]
            first, last = 0, len(whole) - 1
            if asked := self.headers.get("Range"):
                first, last = map(int, asked.removeprefix("bytes=").split("-"))
            version = f'"{hash(whole)}"'
            is_same = self.headers.get("If-Match", version) == version
            part = whole[first : last + 1] if is_same else b""
            self.send_response((206 if asked else 200) if is_same else 412)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(whole)}")
            self.send_header("ETag", version)
            self.send_header("Last-Modified", "Sun, 29 Nov 2026 12:00:00 GMT")
            self.end_headers()
            with suppress(OSError):
                for at in range(0, len(part), 10**6):
                    self.wfile.write(part[at : at + 10**6])
                    time.sleep(0.2)

    with _served(Handler) as address:
        yield address


def test_an_object_that_takes_longer_than_a_request_arrives_whole(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = [bytes(range(256)) * 40_000]
    monkeypatch.setattr(bucket, "_REQUEST_TAKES_AT_MOST", "1s")
    monkeypatch.setattr(bucket, "_RETRY_FOR", timedelta(seconds=1))
    monkeypatch.setattr(bucket, "_AT_ONCE_BYTES", 2_000_000)
    with _slow(content) as address:
        store = open_store(f"s3://{s3_bucket}", endpoint_url=address)
        with store.as_file("a") as path:
            assert path.read_bytes() == content[0]
        replacing = threading.Timer(0.5, lambda: content.__setitem__(0, content[0][::-1]))
        replacing.start()
        with store.as_file("a") as path:
            assert path.read_bytes() == content[0], "the new one, and never a mixture"
        replacing.join()


def test_memory_ends_with_its_store() -> None:
    memory_store().put("a", b"x")
    assert memory_store().find("a") is None


def test_nobody_listening_is_something_that_passes(s3_bucket: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(TransientError, match=r"s3://bucket-\S+/a: "):
        open_store(f"s3://{s3_bucket}", endpoint_url=address).get("a")
