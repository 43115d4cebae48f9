import json
from copy import deepcopy
from typing import Any

import pytest

from geopin_assets.capture import Capture, HeadingFrom, Reason, Rejected
from geopin_assets.sources.wikimedia_commons.read import missing_width, place_of, with_thumbnail
from geopin_assets_tests.sources.recordings.wikimedia_commons import CELL, NOW, RECORD, parse


def page(info: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """RECORD with fields of its image info and extended metadata replaced; None takes one away."""
    changed = deepcopy(RECORD)
    first = changed["imageinfo"][0]
    first |= info or {}
    for key, value in metadata.items():
        first["extmetadata"][key] = {"value": value}
        if value is None:
            del first["extmetadata"][key]
    return changed


def capture_of(record: Any) -> Capture:
    result = parse(record)
    assert isinstance(result, Capture), result
    return result


def reason_of(record: Any) -> Reason:
    result = parse(record)
    assert isinstance(result, Rejected)
    return result.reason


@pytest.mark.parametrize(
    ("license_id", "fields"),
    [
        ("CC-BY-SA-3.0-NL", {"LicenseUrl": "https://creativecommons.org/licenses/by-sa/3.0/nl/deed.en"}),
        ("CC-BY-2.5", {"LicenseUrl": "http://creativecommons.org/licenses/by/2.5/"}),
        ("CC-BY-4.0", {"LicenseUrl": None, "License": "cc-by-4.0"}),
        ("CC-BY-SA-3.0-NL", {"LicenseUrl": None, "License": "cc-by-sa-3.0-nl"}),
        ("CC-BY-SA-2.0", {"LicenseUrl": None, "License": None, "LicenseShortName": "CC BY-SA 2.0"}),
        ("CC-BY-SA-3.0", {"LicenseUrl": None, "License": "cc-by-sa-3.0-migrated"}),
        ("CC0-1.0", {"LicenseUrl": "http://creativecommons.org/publicdomain/zero/1.0/deed.en", "License": "cc0"}),
        ("CC0-1.0", {"LicenseUrl": None, "License": "cc0"}),
        ("PDM-1.0", {"LicenseUrl": "https://creativecommons.org/publicdomain/mark/1.0/", "License": "pd"}),
        ("PDM-1.0", {"LicenseUrl": None, "License": "pd"}),
        ("PDM-1.0", {"LicenseUrl": None, "License": "cc-pd"}),
        ("PDM-1.0", {"LicenseUrl": None, "License": None, "LicenseShortName": "<b>Public domain</b>"}),
        ("CC-BY-SA-4.0", {"LicenseUrl": "https://creativecommons.org/licenses/by-sa/4.0-3.0-2.5-2.0-1.0"}),
        ("CC-BY-SA-2.5", {"LicenseUrl": None, "License": None, "LicenseShortName": "CC BY-SA 2.5-2.0-1.0"}),
        ("CC-BY-SA-4.0", {"LicenseUrl": None, "License": "cc-by-sa-4.0,3.0,2.5,2.0,1.0"}),
        ("CC-BY-3.0-PL", {"LicenseUrl": "https://creativecommons.org/licenses/by/3.0/pl/deed.en"}),
        ("CC-BY-SA-3.0", {"LicenseUrl": "https://creativecommons.org/", "License": "cc-by-sa-3.0"}),
        ("OGL-UK-3.0", {"LicenseUrl": None, "License": None, "LicenseShortName": "OGL 3"}),
        ("LAL-1.3", {"LicenseUrl": "http://artlibre.org/licence/lal/en", "License": None, "LicenseShortName": "FAL"}),
        ("DL-DE-BY-2.0", {"LicenseUrl": "https://www.govdata.de/dl-de/by-2-0", "License": None}),
    ],
)
def test_each_spelling_of_an_open_license_is_understood(license_id: str, fields: dict[str, Any]):
    assert capture_of(page(**fields)).license == license_id


@pytest.mark.parametrize(
    "fields",
    [
        {"LicenseUrl": "https://creativecommons.org/licenses/by-nc/4.0"},
        {"LicenseUrl": "https://creativecommons.org/licenses/by-nc-sa/3.0/de/deed.en"},
        {"LicenseUrl": "https://creativecommons.org/licenses/by-sa/3.0/xx/deed.en"},
        {"LicenseUrl": "https://www.gnu.org/copyleft/fdl.html", "License": None, "LicenseShortName": "GFDL"},
        {"LicenseUrl": "https://www.flickr.com/commons/usage/", "License": None, "LicenseShortName": "No restrictions"},
        {"LicenseUrl": None, "License": None, "LicenseShortName": "Attribution"},
        {"LicenseUrl": None, "License": "cc-by-nc-2.0", "LicenseShortName": "CC BY-NC 2.0"},
        {"LicenseUrl": "https://creativecommons.org/licenses/by/3.0/", "LicenseShortName": "CC BY-NC 3.0"},
        {"LicenseUrl": None, "License": "cc-by-4.0", "LicenseShortName": "CC BY 4.0, no derivatives"},
        {"LicenseUrl": "https://creativecommons.org/", "License": None, "LicenseShortName": "CC BY-SA 3.0 bg"},
        {"LicenseUrl": None, "License": None, "LicenseShortName": None},
        {"LicenseUrl": 5, "License": ["cc0"], "LicenseShortName": {}},
    ],
)
def test_any_other_license_is_not_open(fields: dict[str, Any]):
    assert reason_of(page(**fields)) == Reason.LICENSE_NOT_OPEN


def test_metadata_of_which_nothing_can_be_read_is_a_changed_format_and_no_license():
    assert reason_of(page({"extmetadata": {}})) == Reason.MALFORMED
    renamed = {key: {"text": "x"} for key in RECORD["imageinfo"][0]["extmetadata"]}
    assert reason_of(page({"extmetadata": renamed})) == Reason.MALFORMED


@pytest.mark.parametrize(
    ("creator", "credited", "fields"),
    [
        ("PtrQs", "PtrQs", {}),
        ("PtrQs", "Photo by PtrQs", {"Attribution": "Photo by <a href='x'>PtrQs</a>"}),
        ("PtrQs", "PtrQs", {"Artist": None, "Credit": "Own work"}),
        ("PtrQs", "PtrQs", {"Artist": "Unknown author", "Credit": "Eigen werk"}),
        (None, "Stadsarchief", {"Artist": None, "Credit": "<i>Stadsarchief</i>"}),
        (None, "Beeldbank", {"Artist": "Unknown<i style='display: none;'>Unknown author</i>", "Credit": "Beeldbank"}),
        (None, "unknown author", {"Artist": "Onbekende fotograaf", "Credit": None}),
        (None, "unknown author", {"Artist": [0], "Credit": ["x"]}),
    ],
)  # fmt: skip
def test_whoever_must_be_named_is_named(creator: str | None, credited: str, fields: dict[str, Any]):
    capture = capture_of(page(**fields))
    assert (capture.creator, capture.attribution) == (creator, f"{credited}, CC-BY-SA-4.0, via Wikimedia Commons")


def test_the_thumbnail_is_taken_as_returned_and_small_files_themselves():
    file = "https://upload.wikimedia.org/wikipedia/commons/a/ab/X.jpg"
    assert capture_of(page({"thumburl": f"{file}/1024px-X.jpg"})).image_url == f"{file}/1024px-X.jpg"
    small = page({"url": file, "width": 960, "height": 700})
    del small["imageinfo"][0]["thumburl"]
    assert capture_of(small).image_url == file
    assert missing_width(small, CELL.bbox, NOW) is None


def test_only_what_lacks_nothing_but_its_thumbnail_is_asked_for_again():
    large = page()
    del large["imageinfo"][0]["thumburl"]
    assert reason_of(large) == Reason.NO_IMAGE
    assert missing_width(large, CELL.bbox, NOW) == 960
    assert missing_width(RECORD, CELL.bbox, NOW) is None
    for unusable in (page(License="x", LicenseUrl=None, LicenseShortName=None), page({"mime": "image/png"}), {}, None):
        if isinstance(unusable, dict) and unusable:
            unusable["imageinfo"][0].pop("thumburl")
        assert missing_width(unusable, CELL.bbox, NOW) is None
    assert parse(with_thumbnail(large, RECORD)) == parse(RECORD)
    assert with_thumbnail(large, {"pageid": 1, "missing": True}) == large


def test_a_full_sphere_is_a_panorama_with_a_large_thumbnail():
    sphere = page({"width": 8000, "height": 4000}, Categories="Amsterdam|360° panoramas of Amsterdam")
    assert capture_of(sphere).is_pano
    del sphere["imageinfo"][0]["thumburl"]
    assert missing_width(sphere, CELL.bbox, NOW) == 3840


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pageid": None}, Reason.BAD_ID),
        ({"pageid": "a\x00b"}, Reason.BAD_ID),
        ({"coordinates": None}, Reason.BAD_COORDINATES),
        ({"coordinates": []}, Reason.BAD_COORDINATES),
        ({"coordinates": [{"lat": 0, "lon": 0, "primary": True}]}, Reason.BAD_COORDINATES),
        ({"coordinates": [{"lat": 52.37, "lon": 4.895, "primary": False}]}, Reason.BAD_COORDINATES),
        ({"coordinates": [{"lat": 52.37, "lon": 4.895, "primary": True, "globe": "moon"}]}, Reason.BAD_COORDINATES),
        ({"coordinates": [{"lat": 52.37, "lon": 4.7, "primary": True}]}, Reason.OUTSIDE_CELL),
        ({"imageinfo": []}, Reason.NO_IMAGE),
        ({"imageinfo": None}, Reason.NO_IMAGE),
        ({"title": None}, Reason.MALFORMED),
    ],
)
def test_a_page_that_cannot_be_used_is_left_out_for_a_reason(change: dict[str, Any], reason: Reason):
    assert reason_of(RECORD | change) == reason


@pytest.mark.parametrize("change", [{"mime": None}, {"width": "wide"}, {"height": None}])
def test_a_file_of_unknown_format_or_size_is_malformed_and_not_another_subject(change: dict[str, Any]):
    assert reason_of(page(change)) == Reason.MALFORMED


def test_the_reason_to_leave_out_what_is_no_street_is_shown_with_the_title():
    result = parse(page({}, Categories="Interiors of churches"))
    assert result == Rejected(Reason.NOT_STREET_LEVEL, "44672185 (interior) File:SAMPLE Herengracht 100 Amsterdam.jpg")


def test_the_camera_is_meant_even_if_an_object_is_listed_first():
    places = [{"lat": 52.38, "lon": 4.9, "primary": False}, {"lat": 52.371, "lon": 4.896, "primary": True}]
    assert place_of({"coordinates": places}) == (4.896, 52.371)


def test_the_current_version_counts_and_not_the_older_ones():
    old = page({"sha1": "old"})["imageinfo"][0]
    assert parse(RECORD | {"imageinfo": [*RECORD["imageinfo"], old]}) == parse(RECORD)


def test_a_new_version_of_the_file_changes_the_image_version():
    assert capture_of(page({"sha1": "b" * 40})).image_version == "b" * 40
    assert capture_of(page({"sha1": None})).image_version == "2019-09-01T00:38:47Z"


@pytest.mark.parametrize("url", [None, 5, "javascript:alert(1)", "//x", "file:///etc/passwd"])
def test_only_web_addresses_are_taken(url: Any):
    assert reason_of(page({"thumburl": url})) == Reason.NO_IMAGE
    assert capture_of(page({"descriptionurl": url})).page_url == "https://commons.wikimedia.org/?curid=44672185"


def test_the_payload_has_plain_texts_and_no_addresses_of_thumbnails():
    payload = json.loads(capture_of(page({}, Restrictions="trademarked")).payload)
    assert payload["title"] == "File:SAMPLE Herengracht 100 Amsterdam.jpg"
    assert payload["extmetadata"]["Restrictions"] == "trademarked"
    assert payload["extmetadata"]["Credit"] == "Own work"
    assert payload["imageinfo"]["user"] == "PtrQs"
    assert "thumburl" not in payload["imageinfo"]


@pytest.mark.parametrize("slots", [True, False])
def test_the_direction_is_what_its_author_states_on_the_page(slots: bool):
    text = "{{Location|52.37|4.895|heading:NW}}"
    revision = {"slots": {"main": {"content": text}}} if slots else {"content": text}
    capture = capture_of(RECORD | {"revisions": [revision]})
    assert (capture.heading_deg, capture.heading_from) == (315.0, HeadingFrom.OWNER)


@pytest.mark.parametrize(
    "revisions", [None, [], {}, ["x"], [{}], [{"slots": []}], [{"slots": {"main": {"content": 5}}}]]
)
def test_a_page_without_readable_text_has_no_direction(revisions: Any):
    capture = capture_of(RECORD | {"revisions": revisions})
    assert (capture.heading_deg, capture.heading_from) == (None, None)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"NonFree": "true"}, "not free"),
        ({"NonFree": "1"}, "not free"),
        ({"NonFree": True}, None),
        ({"NonFree": "false"}, None),
        ({"NonFree": ""}, None),
        ({"DeletionReason": "<b>Copyright violation</b>"}, "to be deleted: Copyright violation"),
        ({"DeletionReason": ""}, None),
    ],
)
def test_a_file_that_may_not_stay_is_left_out_whatever_license_it_states(metadata: dict[str, Any], said: str | None):
    result = parse(page({}, **metadata))
    if said is None:
        assert isinstance(result, Capture)
    else:
        assert isinstance(result, Rejected) and result.reason == Reason.LICENSE_NOT_OPEN and said in result.record
