"""Random histories of one installation, followed by another: its raw files, catalog and vectors, without Dagster."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import Phase, given, settings

from geopin_assets.embedding.plan import FAILURE_SCHEMA, CellTask, OpenCell
from geopin_assets.embedding.protocol import Model
from geopin_assets.exchange.adopting import Adopting, Followed, followed, note_followed, note_of, undo_takedowns
from geopin_assets.exchange.following import opened, steps, takedowns_of
from geopin_assets.exchange.manifest import Entry, Manifest, read_manifest
from geopin_assets.exchange.publish import publish
from geopin_assets.exchange.snapshot import snapshot
from geopin_assets.files.object_store import ObjectStore, memory_store
from geopin_assets.platform.parts import Storage
from geopin_assets.settings import Settings
from geopin_assets.store.accounts import CrawlAccount
from geopin_assets.store.lookups import IMAGE_COLUMNS
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.exchange.test_feed import WEEKS, act
from geopin_assets_tests.exchange.worlds import CELLS, World, content_of
from geopin_assets_tests.factories import capture, crawl


class Here(Storage):
    """An installation in a folder, which embeds nothing."""

    def __init__(self, folder: Path, of: ObjectStore) -> None:
        self._folder, self._of = folder, of
        self.done = Followed("", 0, "")

    def bring_up_to_date(self) -> None:
        """Take it, or what its feed says since, and note how far."""
        before = followed(self, feed_id := read_manifest(self._of).feed_id)
        self.done = before or Followed("", 0, "")
        (self.follow if before else self.take)()
        if self.done != before:
            assert self.done.feed_id == feed_id
            note_followed(self, self.done)

    def settings(self) -> Settings:
        return Settings(data_dir=self._folder)

    def take(self) -> None:
        manifest = read_manifest(self._of)
        self._take_down(undo_takedowns(self, takedowns_of(self._of, manifest), manifest.feed_id), manifest)
        self._below(list(self._adopting(manifest).publication(self._of, manifest)), manifest)
        self.done = Followed.of(manifest)

    def follow(self) -> None:
        for step in steps(self._of, self.done.feed_id, self.done.sequence, self.done.head):
            with opened(self._of, step.entry, lambda captures: captures) as news:
                self._take_down(undo_takedowns(self, news.takedowns, step.entry.feed_id), step.entry)
                self._below(list(self._adopting(step.entry).entry(news)), step.entry)
            self.done = Followed(step.entry.feed_id, step.entry.sequence, step.head)

    def _adopting(self, document: Manifest | Entry) -> Adopting:
        return Adopting(self, _model(document), document.model, document.published_at, datetime.now(UTC))

    def _take_down(self, capture_ids: list[str], document: Manifest | Entry) -> None:
        if capture_ids:
            self.takedowns().take_down(capture_ids, note=note_of(document.feed_id), now=datetime.now(UTC))
            self.catalog().apply_takedowns()

    def _below(self, accounts: list[CrawlAccount], document: Manifest | Entry) -> None:
        files = self.vectors(_model(document))
        self.catalog().merge(CELLS, self.raw())
        for cell_id in CELLS:
            captures = self.cells().read(cell_id, IMAGE_COLUMNS).captures
            task = CellTask(cell_id, captures, FAILURE_SCHEMA.to_frame(), files.cell(cell_id))
            OpenCell.of(task, datetime.now(UTC)).finish(datetime.now(UTC), {})

    def export(self, store: ObjectStore, model: Model) -> None:
        with snapshot(self, model, CELLS, "all") as there:
            publish(there, store, now=datetime.now(UTC), takedown_days=7)


def _model(document: Manifest | Entry) -> Model:
    return Model(document.model.model_id, document.model.dim, is_place_recognition=True)


@settings(
    max_examples=200 if IS_LONG else 2, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)  # each takes seconds
@given(weeks=WEEKS)
def test_an_installation_that_imports_and_follows_equals_a_fresh_export(
    weeks: list[tuple[list[tuple[str, str, str, int]], bool]],
) -> None:
    world, publication = World(), memory_store()
    world.put("a")
    world.put("b", CELLS[1])
    seeds = dict(world.seed)
    world.publish(publication)
    with TemporaryDirectory() as folder:
        here = Here(Path(folder), publication)
        here.take()
        for acts, follows in weeks:
            for kind, name, cell_id, number in acts:
                if kind in ("put", "embed"):  # an image that is as it was keeps its vectors here, so it does there
                    number = seeds[name] = number or seeds.get(name, 0)
                act(world, kind, name, cell_id, number)
            world.publish(publication)
            if read_manifest(publication).oldest > here.done.sequence + 1:
                here.take()
            elif follows:
                here.follow()
        here.follow()
        world.publish(fresh := memory_store())
        here.export(mine := memory_store(), _model(read_manifest(publication)))
        theirs, ours = content_of(fresh), content_of(mine)
        for name in ("captures", "vectors"):
            assert theirs[name].equals(ours[name]), name
        assert set(theirs["takedowns"]["capture_id"]) == set(ours["takedowns"]["capture_id"])


def test_what_this_installation_saw_later_stays_and_its_crawls_go_on(tmp_path: Path) -> None:
    world, publication = World(), memory_store()
    for name in "abc":
        world.put(name)
    world.publish(publication)
    here = Here(tmp_path, publication)
    later = datetime(2026, 7, 1, tzinfo=UTC)
    mine = capture("a", lon=4.885, lat=52.379, creator="seen here")
    where = here.catalog()
    crawl(here.raw(), CELLS[0], [mine], crawled_at=later)
    here.take()
    assert where.captures(CELLS).select("capture_id", "creator").rows() == [("panoramax:a", "seen here")]
    world.seen_at = datetime(2026, 7, 2, tzinfo=UTC)
    world.publish(publication)
    here.follow()
    assert where.size()[0] == 1  # the feed said nothing new of them
    here.take()
    assert where.size()[0] == 3
    crawl(here.raw(), CELLS[0], [capture("c", lon=4.885, lat=52.379)], crawled_at=datetime(2026, 7, 9, tzinfo=UTC))
    where.merge(CELLS, here.raw())
    assert where.captures(CELLS)["capture_id"].to_list() == ["panoramax:c"]


def test_vectors_of_another_model_and_sources_that_nobody_knows_here_are_left_and_counted(tmp_path: Path) -> None:
    world, publication = World(), memory_store()
    world.put("a", is_pano=True)
    world.put("b", CELLS[1], seed=0, source="someone_else")
    manifest = world.publish(publication).manifest
    here, other = Here(tmp_path, publication), Model("another", manifest.model.dim, is_place_recognition=True)
    adopting = Adopting(here, other, manifest.model, manifest.published_at, datetime.now(UTC))
    accounts = list(adopting.publication(publication, manifest))
    assert {account.source for account in accounts} == {"panoramax"}
    assert adopting.counts == {"captures": 1, "taken_down_here": 0, "vectors_of_another_model": 1, "unknown_source": 1}
    here.catalog().merge(CELLS, here.raw())
    assert here.catalog().size()[0] == 1 and here.vectors(other).cell(CELLS[0]).read().is_empty()
