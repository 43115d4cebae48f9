"""Rows of the real platform (Global StreetScapes, CC BY-SA 4.0) as its listing has them; skipped where not at hand."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from geopin_assets.capture import Capture, addresses
from geopin_assets.grid import Bbox
from geopin_assets.sources.kartaview.read import image_url, parse_photo

FOLDER = Path(__file__).parents[4] / "shared" / "fixtures" / "recorded" / "global_streetscapes"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
STUTTGART = Bbox(9.0, 48.6, 9.4, 48.9)


def rows(name: str) -> dict[str, dict[str, str]]:
    path = FOLDER / name
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return {row["orig_id"]: row for row in csv.DictReader(lines) if row["source"] == "KartaView"}


PHOTOS = rows("02_metadata_kv.csv")
UNDERSTOOD = rows("02_metadata_common_attributes.csv")
"""The same photos as the makers of the data set understood them."""

pytestmark = pytest.mark.skipif(not PHOTOS, reason="the rows of the real platform are not beside this checkout")


def listed(id_: str) -> dict[str, str | None]:
    """A photo of version 2 as version 1 lists it: the storage is the first part of a name."""
    row, known = PHOTOS[id_], UNDERSTOOD[id_]
    names = {"name": row["kv_filepathProc"], "lth_name": row["kv_filepathLTh"], "th_name": row["kv_filepathTh"]}
    return {
        "id": id_,
        "sequence_id": known["sequence_id"],
        "sequence_index": known["sequence_index"],
        "lat": known["lat"],
        "lng": known["lon"],
        "shot_date": row["kv_shotDate"] or None,
        "heading": known["heading"],
        "projection": "PLANE",
        "field_of_view": row["kv_fieldOfView"] or None,
        **{key: f"{row['kv_storage']}/files/photo/{path}" for key, path in names.items()},
    }


@pytest.mark.parametrize("size", ["Th", "LTh", "Proc"])
def test_addresses_are_built_as_the_platform_itself_states_them(size: str):
    for row in PHOTOS.values():
        assert image_url(f"{row['kv_storage']}/files/photo/{row[f'kv_filepath{size}']}") == row[f"kv_fileurl{size}"]


def test_every_photo_is_understood_as_by_the_makers_of_the_data_set():
    assert len(PHOTOS) == 427
    for id_, known in UNDERSTOOD.items():
        capture = parse_photo(listed(id_), STUTTGART, NOW)
        assert isinstance(capture, Capture)
        assert capture.captured_at == datetime.fromisoformat(known["datetime_local"])
        assert capture.heading_deg == float(known["heading"])
        assert capture.is_pano == (known["projection_type"] != "perspective")
        assert capture.sequence_id == known["sequence_id"]
        assert addresses(capture.image_url) == [PHOTOS[id_][f"kv_fileurl{size}"] for size in ("LTh", "Proc")]
