"""quality/images: images without a vector, by what is wrong with them, with examples as pictures.

Not here: what is wrong with an image (`embedding/quality.py`, `content.py`), or trying it again (`embedding/plan.py`).
"""

from urllib.parse import quote

import dagster as dg
import polars as pl

from geopin_assets.defs.declare import Columns, frame_table, report
from geopin_assets.defs.resources import Storage
from geopin_assets.embedding.protocol import FLAWS

SCHEMA = {"reason": pl.String(), "source": pl.String(), "images": pl.Int64(), "given_up": pl.Int64()}
DESCRIPTIONS = {
    "reason": "Why an image has no vector: the table of failures in docs/embedding.md",
    "images": "How many, at the last try of each",
    "given_up": "Of these, not tried again until the image changes",
}
_EXAMPLES = 4
_COUNTS = """
select reason, source, count(*) as images, count(*) filter (next_try_at is null) as given_up
from embedding_failures group by all order by images desc, reason, source
"""
_SOME = """
select reason, capture_id, cell_id from embedding_failures join captures using (capture_id, cell_id)
where list_contains($1, reason)
qualify row_number() over (partition by reason order by hash(capture_id)) <= $2 order by reason, capture_id
"""


@report("quality/images", columns=Columns(SCHEMA, DESCRIPTIONS), kinds={"polars"})
def images(storage: Storage) -> dg.MaterializeResult:
    """Images that are in the catalog and not in the index: by reason and source, with examples of what is wrong.

    Flaws (blurred, dark, overexposed, veiled, no detail) are judged by the thresholds below, on pixels that were
    decoded for the model; their measures stand beside every vector (`index/embeddings`). Views of panoramas that are
    left out for one are counted there, on each partition. GEOPIN_LEAVE_OUT says which flaws count.
    """
    from geopin_assets.embedding.quality import THRESHOLDS
    from geopin_assets.platform.index_state import desired_rows

    storage.follow_failures()
    catalog = storage.catalog()
    counts, some = catalog.query(_COUNTS).cast(SCHEMA), catalog.query(_SOME, [sorted(FLAWS), _EXAMPLES])  # type: ignore[arg-type]
    rows = desired_rows(storage, some["cell_id"].unique().to_list()).select("capture_id", "thumbnail_url", "page_url")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": counts.height,
            "images_without_vector": int(counts["images"].sum()),
            **{f"{reason}_images": int(counts.filter(reason=reason)["images"].sum()) for reason in sorted(FLAWS)},
            "thresholds": dg.MetadataValue.json(THRESHOLDS),
            "by_reason": frame_table(counts),
            "examples": dg.MetadataValue.md(_pictures(some.join(rows, on="capture_id"))),
        }
    )


def _pictures(some: pl.DataFrame) -> str:
    """A row of pictures for each reason; addresses are the sources', and nothing else of theirs is shown."""
    lines = ["| reason | |", "|---|---|"]
    for (reason,), of_reason in some.group_by("reason", maintain_order=True):
        shown = (_picture(*row) for row in of_reason.select("thumbnail_url", "page_url").iter_rows())
        lines.append(f"| {reason} | {' '.join(shown)} |")
    return "\n".join(lines) if some.height else "none"


def _picture(thumbnail_url: str | None, page_url: str) -> str:
    thumbnail, page = (quote(address or "", safe=":/?#=&%@,;+~.-_!*") for address in (thumbnail_url, page_url))
    return f"[![picture]({thumbnail})]({page})" if thumbnail else f"[page]({page})"
