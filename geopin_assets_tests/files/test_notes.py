"""A note that cannot be read is set aside and said anew, whatever is in its place."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.notes import read_note
from geopin_assets.installation import Mark
from geopin_assets.locate.verdict import FILE, Verdict, keep_verdict, read_verdict
from geopin_assets.store.cell_files import CellFiles

BROKEN = [b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"7", b"null", b"{}", b"[" * 100_000, b'{"gain": [1]}']
AT = datetime(2026, 6, 1, tzinfo=UTC).isoformat()


@pytest.mark.parametrize("content", BROKEN)
def test_what_is_broken_is_set_aside_and_what_is_written_then_is_read(content: bytes, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    verdict, mark = Verdict("v2", "v1", 80, 0.5, 0.6, (0.1, 0.0, 0.2), AT), Mark("i", 1, "m")
    for key in (FILE, "merge.json"):
        store.put(key, content)
    assert (read_verdict(store), CellFiles(store).mark()) == (None, None)
    assert (len(store.walk()), len(store.aside())) == (0, 2)
    keep_verdict(store, verdict)
    CellFiles(store).put_mark(mark)
    assert (read_verdict(store), CellFiles(store).mark()) == (verdict, mark)


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_note(FolderStore(tmp_path), "note.json", dict) is None
