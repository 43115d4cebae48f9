"""Doubtful captures beside what contradicts them, as a page: `outliers.html` among the reports.

Here: the page. Not here: which captures are doubted, and why (`outliers.py`). Pictures come from their sources when
somebody looks; none is kept.
"""

from html import escape
from typing import Any

import polars as pl

from geopin_assets.locate.outliers import Doubt

FILE = "outliers.html"
_SHOWN = 100
_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Doubtful captures</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<style>body{font:15px system-ui;margin:24px;max-width:1000px}section{display:flex;gap:16px;margin:0 0 28px}
figure{flex:1;margin:0;min-width:0}img{width:100%;height:230px;object-fit:cover;background:#ddd;border-radius:4px}
figcaption{color:#444;overflow-wrap:anywhere}h2{font-size:16px;margin:0 0 6px}
@media(max-width:640px){body{margin:14px}section{gap:8px}img{height:150px}}</style>
<h1>Doubtful captures</h1>
<p>Left the capture, right what another source shows that contradicts it.
Nothing is dropped: searches count these less.</p>
"""


def page(doubts: pl.DataFrame) -> str:
    """The least trusted, with the columns of `outliers.SCHEMA`."""
    shown = doubts.head(_SHOWN)
    told = f"{shown.height:,} of {doubts.height:,}, the least trusted first." if doubts.height else "None yet."
    pairs = "".join(map(_pair, shown.iter_rows(named=True)))
    return f"{_HEAD}<p>{told}</p>\n{pairs}</html>\n"


def _pair(row: dict[str, Any]) -> str:
    apart = f"{row['off_m']:,.0f} m apart" + ("" if row["off_deg"] is None else f", {row['off_deg']:.0f}° turned")
    witnesses = f"{row['witnesses']} independent source{'s' * (row['witnesses'] != 1)}"
    if row["reason"] == Doubt.UNLIKE:
        shows = "shows" if row["witnesses"] == 1 else "show"
        why = f"not what {witnesses} {shows} there, from {row['off_m']:,.0f} m away"
    else:
        why = f"{apart}; {witnesses}"
    told = f"{row['reason']}: {why}; trust {row['trust']:.0%}"
    return (
        f"<h2>{escape(told)}</h2><section>"
        + _figure(row["capture_id"], row["thumbnail_url"], row["page_url"], row["attribution"])
        + _figure(row["says"], row["says_thumbnail_url"], row["says_page_url"], row["says_attribution"])
        + "</section>\n"
    )


def _figure(name: str, thumbnail_url: str | None, page_url: str, attribution: str | None) -> str:
    picture = "<p>no public picture: see its page</p>"
    if thumbnail_url and _is_web(thumbnail_url):
        picture = f'<img loading="lazy" alt="" src="{escape(thumbnail_url)}">'
    shown = f'<a href="{escape(page_url)}">{escape(name)}</a>' if _is_web(page_url) else escape(name)
    return f"<figure>{picture}<figcaption>{shown}<br>{escape(attribution or '')}</figcaption></figure>"


def _is_web(url: str) -> bool:
    return url.startswith(("https://", "http://"))
