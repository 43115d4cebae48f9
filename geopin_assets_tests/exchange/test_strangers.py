"""What a stranger may write into a publication whose hashes are right: all of it is refused, and named."""

import resource
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geopin_assets.errors import GeoPinError, PayloadError
from geopin_assets.exchange.copies import bring_up_to_date
from geopin_assets.exchange.files import CAPTURES, GROUP_ROWS, checked, vectors_of, write_whole
from geopin_assets.exchange.following import part_files, verify
from geopin_assets.exchange.items import withheld
from geopin_assets.exchange.manifest import Manifest, read_manifest
from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.object_store import memory_store, open_store
from geopin_assets_tests.exchange.test_feed import cut, flip
from geopin_assets_tests.exchange.worlds import CELLS, World, entry_of

Change = Callable[[pl.DataFrame], pl.DataFrame]


def published(tmp_path: Path) -> FolderStore:
    world, store = World(), FolderStore(tmp_path / "there", is_durable=False)
    world.put("a", is_pano=True)
    world.put("b", CELLS[1], seed=2)
    world.publish(store)
    return store


def rewritten(store: FolderStore, *, items: Change | None = None, vectors: Change | None = None) -> Manifest:
    """With other rows of North Holland, and a manifest that knows their hashes."""
    manifest = read_manifest(store)
    part = manifest.parts["nh"]
    with part_files(store, manifest, "nh") as (captures, rows):
        held, theirs = captures.all(), rows.all()
    changed = {
        "captures": write_whole(store, part.captures.key, items(held) if items else held, CAPTURES),
        "vectors": write_whole(store, part.vectors.key, vectors(theirs) if vectors else theirs, vectors_of(4)),
    }
    manifest = manifest.model_copy(update={"parts": {"nh": part.model_copy(update=changed)}})
    store.put("manifest.json", manifest.content())
    return manifest


def with_value(column: str, value: Any) -> Change:
    return lambda rows: rows.with_columns(pl.lit(value).cast(rows.schema[column]).alias(column))


ITEMS: dict[str, tuple[Change, str]] = {
    "a heading of 400": (with_value("heading_deg", 400.0), "it looks nowhere"),
    "a heading that is no number": (with_value("heading_deg", float("nan")), "it looks nowhere"),
    "elsewhere": (with_value("lon", 5.5), "its position is not in its cell"),
    "nowhere": (with_value("lat", float("nan")), "its position is not in its cell"),
    "another province": (with_value("cell_id", CELLS[2]), "is not in it"),
    "no cell": (with_value("cell_id", "nh-nowhere-r000c000"), "where no capture is"),
    "a license": (with_value("license", "CC-BY-NC-4.0"), "its license is not open"),
    "no attribution": (with_value("attribution", " "), "nothing says whose it is"),
    "a script for a page": (with_value("page_url", "javascript:alert(1)"), "nothing says whose it is"),
    "a line more in a page's address": (
        with_value("page_url", "https://x.example/\nSet-Cookie: a"),
        "its id cannot be",
    ),
    "a file for an image": (with_value("image_url", "file:///etc/passwd"), "its image is nowhere"),
    "a file after the image": (
        with_value("image_url", "https://x.example/#file:///etc/passwd"),
        "its image is nowhere",
    ),
    "a password for the image": (with_value("image_url", "https://a:b@x.example/"), "its image is nowhere"),
    "another's id": (with_value("capture_id", "mapillary:1"), "its id cannot be"),
    "a source that is a path": (with_value("source", "../x"), "its id cannot be"),
    "a text without end": (with_value("creator", "x" * 10_000), "a text is too long"),
    "more vectors than views": (with_value("vectors", 99), "its vectors are too many"),
    "another number of vectors": (with_value("vectors", 3), "are not those that its item states"),
    "another hash": (with_value("vectors_hash", "0" * 16), "are not those that its item states"),
    "twice": (lambda rows: pl.concat([rows[:1], rows]), "twice"),
    "a cell in two places": (lambda rows: pl.concat([rows, rows[:1]]), "not together"),
}


@pytest.mark.parametrize("case", ITEMS)
def test_an_item_that_cannot_be_is_refused(tmp_path: Path, case: str) -> None:
    change, said = ITEMS[case]
    store = published(tmp_path)
    with pytest.raises(PayloadError, match=said):
        verify(store, rewritten(store, items=change))


def scaled(rows: pl.DataFrame, by: float) -> pl.DataFrame:
    vectors = (rows["embedding"].to_numpy().astype(np.float32) * by).astype(np.float16)
    return rows.with_columns(embedding=pl.Series(vectors, dtype=rows.schema["embedding"]))


VECTORS: dict[str, tuple[Change, str]] = {
    "longer": (lambda rows: scaled(rows, 2), "not of length 1"),
    "not finite": (lambda rows: scaled(rows, float("nan")), "not of length 1"),
    "turned round": (lambda rows: scaled(rows, -1), "are not those that its item states"),
    "less": (lambda rows: rows[1:], "are not those that its item states"),
    "of nobody": (
        lambda rows: rows.with_columns(capture_id=pl.lit("panoramax:z")),
        "are not those that its item states",
    ),
    "a thirteenth view": (with_value("view", 12), "a view that there cannot be"),
    "where nothing is": (with_value("cell_id", "nh-amsterdam-r089c051"), "where no capture is"),
}


@pytest.mark.parametrize("case", VECTORS)
def test_a_vector_that_cannot_be_is_refused(tmp_path: Path, case: str) -> None:
    change, said = VECTORS[case]
    store = published(tmp_path)
    with pytest.raises(PayloadError, match=said):
        verify(store, rewritten(store, vectors=change))


MANIFESTS: dict[str, dict[str, Any]] = {
    "something more": {"note": "hello"},
    "no feed": {"feed_id": "1"},
    "a province that is a path": {"parts": {"../x": {}}},
    "a negative number": {"sequence": -1},
    "no time": {"published_at": "yesterday"},
    "a feed with a gap": {"feed": ["000000-0123abcd", "000002-0123abcd"], "sequence": 2},
    "a feed that ends elsewhere": {"feed": ["000001-0123abcd"]},
    "an entry that is a path": {"feed": ["../../000000-0123abcd"]},
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_cannot_be_is_refused(tmp_path: Path, case: str) -> None:
    store = published(tmp_path)
    store.put("manifest.json", orjson.dumps(orjson.loads(store.get("manifest.json")) | MANIFESTS[case]))
    with pytest.raises(PayloadError, match="none of ours"):
        read_manifest(store)


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_a_manifest_of_another_format_is_said_to_be_that(tmp_path: Path, version: object) -> None:
    store = published(tmp_path)
    store.put("manifest.json", orjson.dumps(orjson.loads(store.get("manifest.json")) | {"version": version, "more": 1}))
    with pytest.raises(PayloadError, match="another version of the format"):
        read_manifest(store)


@pytest.mark.parametrize("once", [b'"sequence":', b'"key":'])
def test_what_a_manifest_says_twice_is_refused(tmp_path: Path, once: bytes) -> None:
    store = published(tmp_path)
    first, rest = store.get("manifest.json").split(once, 1)
    store.put("manifest.json", first + once + b"0," + once + rest)
    with pytest.raises(PayloadError, match=f"none of ours: {once[1:-2].decode()} stands in it twice"):
        read_manifest(store)


@pytest.mark.parametrize(
    "key", ["../../secret", "/etc/passwd", "captures/../../x", "index.html", "manifest.json", "feed/../manifest.json"]
)
def test_a_file_that_a_stranger_names_otherwise_is_neither_read_nor_written(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_text("x")
    store = published(tmp_path)
    document = orjson.loads(store.get("manifest.json"))
    document["notice"]["key"] = key
    store.put("manifest.json", orjson.dumps(document))
    with pytest.raises(PayloadError, match="none of ours: notice"):
        list(bring_up_to_date(memory_store(), store, lambda captures: 0))


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_whichever_file_is_damaged_all_of_it_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = published(tmp_path)
    for file in (manifest := read_manifest(store)).files():
        path = store.path(file.key)
        content = path.read_bytes()
        damage(path)
        with pytest.raises(GeoPinError, match=file.key):
            verify(store, manifest)
        path.write_bytes(content)
    verify(store, manifest)


def test_a_capture_in_two_cells_is_refused(tmp_path: Path) -> None:
    world, store = World(), FolderStore(tmp_path, is_durable=False)
    for name, cell_id in (("a", CELLS[0]), ("b", CELLS[1]), ("c", CELLS[2])):
        world.put(name, cell_id, seed=0)
    world.publish(store)
    manifest = read_manifest(store)
    verify(store, manifest)
    named = with_value("source_capture_id", "a"), with_value("capture_id", "panoramax:a")
    with pytest.raises(PayloadError, match="twice"):
        verify(store, rewritten(store, items=lambda rows: named[1](named[0](rows))))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"PAR1", b"{}" * 9_000_000])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    store = published(tmp_path)
    store.put("manifest.json", content)
    with pytest.raises(PayloadError):
        read_manifest(store)


@pytest.mark.parametrize("column", ["id", "creator", "cell_id"])
def test_text_that_is_no_utf_8_is_refused(tmp_path: Path, column: str) -> None:
    store = published(tmp_path)
    manifest = read_manifest(store)
    part = manifest.parts["nh"]
    path = store.path(part.captures.key)
    table = pq.read_table(path)
    column = column if column in table.column_names else next(n for n in table.column_names if n.endswith("cell_id"))
    ill = pa.array([b"\xff\xfe\xfd"] * table.num_rows, pa.binary())
    text = pa.StringArray.from_buffers(len(ill), *ill.buffers()[1:])
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, table.schema.field(at), text), path)
    entry = part.captures.model_copy(update=described(path))
    with pytest.raises(PayloadError, match="UTF8"):
        verify(store, manifest.model_copy(update={"parts": {"nh": part.model_copy(update={"captures": entry})}}))


def test_other_columns_and_larger_row_groups_are_refused(tmp_path: Path) -> None:
    store = published(tmp_path)
    manifest = read_manifest(store)
    part = manifest.parts["nh"]
    path = store.path(part.captures.key)
    table = pq.read_table(path)
    for change in (
        lambda: pq.write_table(table.append_column("more", table["id"]), path),
        lambda: pq.write_table(table.drop_columns(["license"]), path),
        lambda: path.write_bytes(b"PAR1" + b"\0" * 100 + b"PAR1"),
    ):
        change()
        entry = part.captures.model_copy(update=described(path))
        forged = manifest.model_copy(update={"parts": {"nh": part.model_copy(update={"captures": entry})}})
        with pytest.raises(PayloadError, match=r"other columns|captures/nh-000000-\w+\.parquet"):
            verify(store, forged)


def test_a_small_file_that_becomes_a_large_one_when_it_is_read_ends_the_import_and_not_the_machine(
    tmp_path: Path,
) -> None:
    """One long text in a dictionary, of which every row of a row group is a copy: 160 GB in 100 kB."""
    store = published(tmp_path)
    manifest = read_manifest(store)
    part = manifest.parts["nh"]
    path = store.path(part.captures.key)
    table = pq.read_table(path)
    rows = pa.concat_tables([*[table[:1]] * (GROUP_ROWS - 1), table[1:]]).combine_chunks()
    bomb = pa.DictionaryArray.from_arrays(np.zeros(GROUP_ROWS, np.int32), ["x" * 10_000_000])
    number = rows.schema.get_field_index("geopin:creator")
    pq.write_table(rows.set_column(number, "geopin:creator", bomb), path, compression="zstd", store_schema=False)
    entry = part.captures.model_copy(update={**described(path), "rows": GROUP_ROWS})
    assert entry.bytes < 2_000_000
    forged = manifest.model_copy(update={"parts": {"nh": part.model_copy(update={"captures": entry})}})
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(GeoPinError, match=r"captures/nh-000000-\w+\.parquet|more memory"):
        verify(store, forged, memory_bytes=100 * 1024**2)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


class Longer(BaseHTTPRequestHandler):
    """Says that there is little, and sends more."""

    def do_HEAD(self) -> None:
        self._begin(100)

    def do_GET(self) -> None:
        self._begin(10**12)
        with suppress(OSError):
            self.wfile.write(b"x" * 1_000_000)

    def _begin(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.send_header("Last-Modified", "Mon, 01 Jun 2026 00:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def test_a_server_that_sends_more_than_it_said_is_left(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Longer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        of = open_store(f"http://127.0.0.1:{server.server_port}")
        entry = read_manifest(published(tmp_path)).crawls.model_copy(update={"bytes": 100})
        with pytest.raises(PayloadError, match="1000000000000 bytes, more than"):
            read_manifest(of)
        with pytest.raises(PayloadError, match="1000000000000 bytes, more than 100"), checked(of, entry, CAPTURES):
            pass
        server.shutdown()
        thread.join()


def test_another_notice_than_stated_is_refused(tmp_path: Path) -> None:
    store, copy = published(tmp_path), memory_store()
    list(bring_up_to_date(copy, store, lambda captures: 0))
    world = World()
    world.put("c")
    world.publish(FolderStore(store.root, is_durable=False))
    store.put(entry_of(store, 1).notice.key, b"it is all mine")
    with pytest.raises(PayloadError, match="its hash is not that of the manifest"):
        list(bring_up_to_date(copy, store, lambda captures: 9))


def described(path: Path) -> dict[str, Any]:
    from hashlib import sha256

    return {"bytes": path.stat().st_size, "sha256": sha256(path.read_bytes()).hexdigest()}


def test_what_may_not_be_passed_on_is_counted_by_reason() -> None:
    world, store = World(), memory_store()
    world.put("open")
    world.put("closed", license="CC-BY-NC-ND-4.0")
    world.put("nobodys", attribution="")
    world.put("page", page_url="javascript:x")
    world.put("down")
    world.taken_down["panoramax:down"] = world.now
    manifest = world.publish(store).manifest
    assert manifest.summary.counts["captures"] == 1
    assert manifest.summary.withheld == {"license_not_open": 1, "no_attribution": 1, "malformed": 1, "taken_down": 1}
    assert manifest.summary.licenses.keys() == {"CC-BY-SA-4.0"}


def test_sources_whose_terms_are_against_it_stay_here() -> None:
    frame = next(iter(World(*({"a": {}}, {"a": CELLS[0]}, {"a": 0})).snapshot().parts["nh"]())).captures
    assert withheld(frame, (), ("panoramax",)).to_list() == ["source_terms"]
    assert withheld(frame, (), ("mapilio",)).to_list() == [None]
