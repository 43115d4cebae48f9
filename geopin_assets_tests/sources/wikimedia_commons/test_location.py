from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.sources.wikimedia_commons.location import camera_heading_deg


@pytest.mark.parametrize(
    ("wikitext", "heading_deg"),
    [
        ("{{Location|52|22|12|N|4|53|42|E|heading:90}}", 90),
        ("== {{int:filedesc}} ==\n{{Location dec|52.37|4.895|heading:135.5}}\n[[Category:Dam]]", 135.5),
        ("{{Location|52.37|4.895|region:NL_type:camera_heading:184,5}}", 184.5),
        ("{{location|52.37|4.895|source:exif_heading:NNE}}", 22.5),
        ("{{Camera location dec|52.37|4.895|alt:12_heading:w}}", 270),
        ("{{Camera_location|52.37|4.895|heading=200°}}", 200),
        ("{{Location |1=52.37 |2=4.895 |heading= SW }}", 225),
        ("{{Location|52.37|4.895|heading:360}}", 0),
        ("{{Location|52.37|4.895|heading:0}}", 0),
        ("{{Location|52.37|4.895|heading:12<!-- about -->}}", 12),
        ("{{Location|52.37|4.895}} {{Location|52.37|4.895|heading:12}}", 12),
        ("{{Object location|52.37|4.895|heading:90}}", None),
        ("{{Object location dec|52.37|4.895}}{{Location|52.37|4.895|heading:NbE}}", 11.25),
        ("<!-- {{Location|52.37|4.895|heading:90}} -->", None),
        ("<!-- {{Location|52.37|4.895|heading:90}}", None),
        ("{{Location|52.37|4.895|heading:?}}", None),
        ("{{Location|52.37|4.895|heading:-1}}", None),
        ("{{Location|52.37|4.895|heading:400}}", None),
        ("{{Location|52.37|4.895|heading:}}", None),
        ("{{Location|52.37|4.895|subheading:90}}", None),
        ("{{Location}} heading:90", None),
        ("heading:90", None),
        ("", None),
        (None, None),
        (["{{Location|1|2|heading:90}}"], None),
    ],
)
def test_the_direction_is_what_the_template_of_the_camera_says(wikitext: Any, heading_deg: float | None):
    assert camera_heading_deg(wikitext) == heading_deg


@given(st.text(alphabet=st.sampled_from("{}|<!->locationLCamera _heading:=90NSW°,. ")))
def test_no_wikitext_breaks_it(wikitext: str):
    for text in (wikitext, f"{{{{Location|{wikitext}}}}}"):
        heading_deg = camera_heading_deg(text)
        assert heading_deg is None or 0 <= heading_deg < 360
