"""Links that expire between crawl and embedding, through the whole asset, with an example source."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.defs.assets.embeddings import embeddings
from geopin_assets.defs.resources import Embedding, Sources, Storage
from geopin_assets.defs.running.materialize import Progress
from geopin_assets.errors import TransientError
from geopin_assets.sources.links import Links
from geopin_assets_tests.embedding.image_server import ImageServer, body, image_server
from geopin_assets_tests.embedding.pictures import encoded, smooth
from geopin_assets_tests.factories import DAY_1, DAY_2, capture, crawl
from geopin_assets_tests.platform import CELLS
from geopin_assets_tests.sources.expiring import World, link, links_of

CELL = CELLS[0]


class Town:
    """A cell of captures whose links the example source signs, and where their images are."""

    def __init__(self, folder: Path, images: ImageServer) -> None:
        self.overrides = {"GEOPIN_PROFILE": "sandbox", "GEOPIN_DATA": str(folder)}
        self.storage, self.images, self.world = Storage(overrides=self.overrides), images, World()

    def crawled(self, urls: dict[str, str], crawled_at: datetime = DAY_1, **fields: str) -> None:
        """A crawl that shows these captures with these links, merged into the catalog."""
        shown = [capture(id_, source="expiring", image_url=url, **fields) for id_, url in urls.items()]
        other = capture("steady", source="lasting", image_url=self.image("steady", 0), **fields)
        for source, captures in (("expiring", shown), ("lasting", [other])):
            placed = [replace(one, lon=4.893, lat=52.373) for one in captures]
            crawl(self.storage.raw(), CELL, placed, source=source, crawled_at=crawled_at)
        self.storage.catalog().merge([CELL], self.storage.raw())

    def image(self, id_: str, expires: int) -> str:
        """A link that is served."""
        url = link(id_, expires, self.images.url(""))
        self.images.routes[url.removeprefix(self.images.url(""))] = body(encoded(smooth(96, 72)))
        return url

    def embed(self, instance: dg.DagsterInstance) -> dict[str, object]:
        """Materialize the cell; returns what the partition shows."""
        result = dg.materialize(
            [embeddings],
            partition_key=CELL,
            instance=instance,
            resources={
                "sources": _sources(lambda: links_of(self.world)),
                "storage": self.storage,
                "embedding": Embedding(overrides=self.overrides),
                "progress": Progress(),
            },
        )
        (event,) = result.get_asset_materialization_events()
        return {key: value.value for key, value in event.materialization.metadata.items()}

    def embedded(self) -> set[str]:
        model = Embedding(overrides=self.overrides).model()
        return set(self.storage.vectors(model).cell(CELL).read()["capture_id"])

    def failures(self) -> dict[str, str]:
        return dict(self.storage.catalog().failures([CELL]).select("capture_id", "reason").iter_rows())


def _sources(links: Callable[[], Links]) -> Sources:
    class Example(Sources):
        def links(self) -> Links:
            return links()

    return Example()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with image_server() as images:
        yield Town(tmp_path / "data", images)


def test_expired_links_are_renewed_and_their_images_embedded(town: Town, instance: dg.DagsterInstance) -> None:
    town.crawled({"old": link("old", 9), "none": "expiring:none", "good": town.image("good", 20)})
    town.world.links = {id_: town.image(id_, 18) for id_ in ("old", "none", "good")}
    shown = town.embed(instance)
    assert town.embedded() == {"expiring:old", "expiring:none", "expiring:good", "lasting:steady"}
    assert (shown["renewed_links"], shown["failed_images"]) == (2, 0)
    assert town.world.asked == [["none", "old"]]


def test_a_week_later_nothing_is_renewed_for_images_that_did_not_change(
    town: Town, instance: dg.DagsterInstance
) -> None:
    town.crawled({"a": link("a", 9)})
    town.world.links = {"a": town.image("a", 18)}
    town.embed(instance)
    town.crawled({"a": link("a", 8)}, DAY_2)
    shown = town.embed(instance)
    assert (shown["embedded"], shown["reused"]) == (0, 2)
    assert "renewed_links" not in shown
    assert len(town.world.asked) == len(town.world.opened) == 1


def test_a_source_that_is_down_costs_its_own_captures_a_later_try_and_nothing_else(
    town: Town, instance: dg.DagsterInstance
) -> None:
    town.crawled({"a": link("a", 9), "good": town.image("good", 20)})
    town.world.error = TransientError("expiring: answered 503")
    shown = town.embed(instance)
    assert town.embedded() == {"expiring:good", "lasting:steady"}
    assert town.failures() == {"expiring:a": "link_expired"}
    assert shown["failed_by_reason"] == {"link_expired": 1}
    assert town.storage.catalog().failures([CELL])["next_try_at"].null_count() == 0


def test_a_capture_that_its_source_has_no_more_is_a_row_with_that_reason(
    town: Town, instance: dg.DagsterInstance
) -> None:
    town.crawled({"a": link("a", 9)})
    town.embed(instance)
    assert town.failures() == {"expiring:a": "gone"}
    assert town.embedded() == {"lasting:steady"}
