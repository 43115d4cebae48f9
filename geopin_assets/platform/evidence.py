"""Nothing is deleted without evidence that it is gone, and nothing that was taken down is published.

Three questions, asked by whoever embeds or publishes. Is this the catalog that everything was made from (`check`)? Is
what the catalog does not have really gone (`proven`, `gone`): found missing by a complete crawl that was merged, known
to have left or moved, given up, or taken down? And is it so much that somebody should have asked for it (`permit`)?

Here: the answers, from the catalog, the list of takedowns and the marks on everything. Not here: crawls and losses of
a source (`quality/limits.py`), deleting (`index/publish.py`, `embedding/plan.py`), or bringing the stores and the
ledger together again (`geopin reconcile`).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain

import polars as pl

from geopin_assets.capture import vector_id
from geopin_assets.embedding.stored_vectors import mark_of_vectors, put_mark_of_vectors
from geopin_assets.embedding.views import VIEWS
from geopin_assets.errors import EvidenceError, StaleCatalogError, StaleLedgerError
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.marks import LedgerMarks, mark_of, put_mark, put_takedown_lines, takedown_lines
from geopin_assets.index.protocol import MetadataStore
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, Target
from geopin_assets.installation import Mark
from geopin_assets.platform.parts import Storage
from geopin_assets.store.thinning import THINNING_COLUMNS, standing_in

MERGE = "nothing was deleted. `geopin merge` merges all raw files, after which it goes on from there"
RECONCILE = "nothing was written. `geopin reconcile` asks the stores what they hold"
_SHORT = 16
"""Characters of a source's name that every vector id begins with."""


class Evidence:
    """What may be deleted in one run. `stores`: the rows stores that it publishes to, migrated; none if it embeds.

    `max_removals`: how many each store may lose, where somebody said; otherwise the settings do.
    """

    def __init__(
        self, storage: Storage, stores: Sequence[MetadataStore] = (), *, max_removals: int | None = None
    ) -> None:
        self._storage, self._stores, self._max_removals = storage, stores, max_removals
        self._removed, self._thinned = Counter[str](), defaultdict[str, set[str]](set)

    def check(self) -> None:
        """Raise StaleCatalogError or StaleLedgerError unless catalog and ledger are those that everything followed.

        Then the catalog's mark is put on everything.
        """
        mark = self.check_catalog()
        self._storage.follow_failures()
        self._check_ledger()
        self._put_marks(mark)

    def check_files(self) -> None:
        """As `check`; where there is no catalog, what embedding needs: takedowns, and the mark of what it follows."""
        settings = self._storage.settings()
        if settings.is_worker:
            self._storage.takedowns().sync()
            self._put_marks(self._storage.cells().mark())
        else:
            self.check()

    def check_catalog(self) -> Mark | None:
        """The catalog's mark. Raises StaleCatalogError unless the catalog is the one that everything followed.

        One that was made anew, or put back from a copy, is taken for it as soon as all raw files are merged. Takedowns
        are restored from whatever holds them, and applied.
        """
        self._unite_takedowns()
        catalog, seen = self._storage.catalog(), self._seen()
        mark, unknown = catalog.compared(seen)
        own = self._storage.takedowns().installation_id(mark.installation_id if mark else "")
        if mark and mark.installation_id != own:
            raise StaleCatalogError(f"the catalog is of installation {mark.installation_id}, this is {own}; {MERGE}")
        if mark is None or unknown:
            if not self._is_complete(is_first=not seen and not self._has_followed()):
                raise StaleCatalogError(f"{_what_is_wrong(mark, unknown)}: {MERGE}")
            catalog.continue_from(own, unknown)
            return catalog.mark()
        return mark

    def settle(self) -> None:
        """Let the ledger know what stores were published from, after they were asked what they hold; then check."""
        ledger = LedgerMarks(self._storage.settings().ledger_path)
        for mark in filter(None, map(mark_of, self._stores)):
            ledger.note(mark)
        self.check()

    def doubts(self) -> Iterator[str]:
        """What `check` would refuse now; changes nothing, also where the catalog could be taken for what it was."""
        catalog, seen = self._storage.catalog(), self._seen()
        mark, unknown = catalog.compared(seen)
        is_new = mark is None and (seen or self._has_followed())
        if (is_new or unknown) and not self._is_complete(is_first=False):
            yield f"{_what_is_wrong(mark, unknown)}: {MERGE}"
        try:
            self._check_ledger()
        except StaleLedgerError as error:
            yield str(error)

    def _put_marks(self, mark: Mark | None) -> None:
        """Note on vectors, ledger and stores, in this order, that they follow the catalog as it is."""
        if mark is None:
            return
        if mark_of_vectors(self._storage.embeddings()) != mark:
            put_mark_of_vectors(self._storage.embeddings(), mark)
        if self._stores:
            LedgerMarks(self._storage.settings().ledger_path).note(mark)
        for store in self._stores:
            if mark_of(store) != mark:
                put_mark(store, mark)

    def withheld(self) -> frozenset[str]:
        """Ids of captures and vectors that were taken down: they are in no store, whatever the catalog says."""
        return _ids_of(self._storage.takedowns().ids())

    def proven(self, target: Target, release: pl.DataFrame, desired: pl.DataFrame) -> pl.DataFrame:
        """Of claims (id, cell_id) on what is not desired (id, cell_id) any more, those that may be let go."""
        if release.is_empty():
            return release
        cell_ids = [cell_id for cell_id in release["cell_id"].unique() if cell_id]
        if target.id_column == "capture_id":
            return release.filter(self.gone(release.select(capture_id="id", cell_id="cell_id")))
        return release.filter(self._views_gone(release, desired, cell_ids, self._thinned[target.key]))

    def orphans(self, target: Target, ids: pl.Series, desired: pl.DataFrame, ledger: Ledger) -> pl.Series:
        """Of ids that a store holds beyond what is desired (id, cell_id), those that may go.

        What a cell claims must be proven to be gone from there; what none does is nobody's.
        """
        claims = ledger.claims_of(target.key, ids).select("id", "cell_id")
        kept = claims.join(self.proven(target, claims, desired), on=["id", "cell_id"], how="anti")["id"]
        return ids.filter(~ids.is_in(kept.implode()))

    def gone(self, captures: pl.DataFrame) -> pl.Series:
        """Whether each (capture_id, cell_id), which the catalog does not have there, is known to be gone from there."""
        if captures.is_empty():
            return pl.Series(dtype=pl.Boolean)
        catalog = self._storage.catalog()
        complete = _starts(catalog.complete_crawls([cell_id for cell_id in captures["cell_id"].unique() if cell_id]))
        settled = [not cell_id or (_start(id_), cell_id) in complete for id_, cell_id in captures.iter_rows()]
        if all(settled):
            return pl.Series(settled, dtype=pl.Boolean)
        known = catalog.known(captures["capture_id"].to_list()) | self.withheld()
        return pl.Series([s or id_ in known for s, id_ in zip(settled, captures["capture_id"], strict=True)])

    def foresee(self, cell_ids: Sequence[str], ledger: Ledger) -> None:
        """Raise EvidenceError before anything is written if these cells have too many captures less than are published.

        Counted per cell, and looked at one by one only where that is too many. `permit` sees what this overlooks.
        """
        keys = [RowTarget(store, TABLES["captures"]).key for store in self._stores]
        held, claimed = self._storage.catalog().counts_by_cell(cell_ids), Counter[str]()
        for key in keys:
            claimed.update(ledger.claims_by_cell(key, cell_ids))
        fewer = {cell_id: n - held.get(cell_id, 0) for cell_id, n in claimed.items() if n > held.get(cell_id, 0)}
        if sum(fewer.values()) <= (most := self._most(published := sum(map(ledger.count, keys)))):
            return
        captures = self._storage.catalog().places([*fewer])
        claims = pl.concat([ledger.claims(key, [*fewer]) for key in keys]).select("cell_id", capture_id="id")
        left = claims.join(captures, on=["capture_id", "cell_id"], how="anti").select("capture_id", "cell_id")
        gone = left.filter(self.gone(left))["capture_id"]
        if (removed := len(set(gone) - self.withheld())) > most:
            raise EvidenceError(_refusal("rows of captures", removed, published, most))

    def permit(self, target_key: str, ids: pl.Series, published: Callable[[], int], earlier: Callable[[], int]) -> int:
        """How many of these nobody asked for; raise EvidenceError if with them more goes than anyone expects.

        What was taken down was asked for, what the index does without by a setting, and all of a run with a number of
        its own. Otherwise runs of a week count together (`earlier`).
        """
        asked, thinned = self.withheld(), self._thinned.pop(target_key, ())
        unasked = sum(id_ not in asked and id_ not in thinned for id_ in ids)
        is_asked = self._max_removals is not None
        before = self._removed[target_key] if is_asked or not unasked else max(self._removed[target_key], earlier())
        removed = unasked + before
        if removed > (floor := self._most(0)) and removed > (most := self._most(held := published())):
            self._removed[target_key] = max(most, floor)  # the next ones are refused too
            raise EvidenceError(_refusal(target_key, unasked, held, most, before))
        self._removed[target_key] += unasked
        return 0 if is_asked else unasked

    def _most(self, published: int) -> int:
        """How many may go of so many."""
        if self._max_removals is not None:
            return self._max_removals
        settings = self._storage.settings()
        return max(settings.removal_floor, int(settings.max_removal_share * published))

    def _views_gone(
        self, release: pl.DataFrame, desired: pl.DataFrame, cell_ids: list[str], asked: set[str]
    ) -> pl.Series:
        """A vector may go with its capture; for itself where the capture has others, is given up, or is stood for.

        Those of the last kind are added to `asked`.
        """
        catalog = self._storage.catalog()
        captures = catalog.captures(cell_ids, columns=("capture_id", "cell_id", "not_indexed_because"))
        thinned = set(captures.drop_nulls("not_indexed_because")["capture_id"])
        given_up = catalog.failures(cell_ids).filter(pl.col("next_try_at").is_null())["capture_id"]
        owners = {(_owner(vector_id(id_, 0)), cell_id): id_ for id_, cell_id, _ in captures.iter_rows()}
        made = {(_owner(id_), cell_id) for id_, cell_id in desired.select("id", "cell_id").iter_rows()}
        places = [(_owner(id_), cell_id) for id_, cell_id in release.select("id", "cell_id").iter_rows()]
        asked.update(id_ for id_, place in zip(release["id"], places, strict=True) if owners.get(place) in thinned)
        if thinned:
            thinned -= self._standing_in(cell_ids, {owners[one] for one in (*made, *places) if one in owners})
        final, down = {*given_up, *thinned}, self.withheld()
        left = self.gone(pl.DataFrame(places, schema=["capture_id", "cell_id"], orient="row"))
        return pl.Series(
            [
                id_ in down or ((place in made or owners[place] in final) if place in owners else has_left)
                for id_, place, has_left in zip(release["id"], places, left, strict=True)
            ],
            dtype=pl.Boolean,
        )

    def _standing_in(self, cell_ids: Sequence[str], held: set[str]) -> set[str]:
        """Where files of vectors were lost, neither these nor what shall stand for them are desired: these stay."""
        captures = self._storage.catalog().captures(cell_ids, columns=("cell_id", *THINNING_COLUMNS))
        return standing_in(captures, self._storage.settings().thin_m, held)

    def _unite_takedowns(self) -> None:
        takedowns = self._storage.takedowns()
        held = [takedown_lines(store) for store in self._stores]
        takedowns.sync(chain(*held))
        self._storage.catalog().apply_takedowns()
        acts = [line for line in takedowns.lines() if "capture_id" in line]
        for store, lines in zip(self._stores, held, strict=True):
            put_takedown_lines(store, [line for line in acts if line not in lines])

    def _seen(self) -> list[Mark]:
        """The newest merge that each thing made from the catalog followed."""
        vectors = mark_of_vectors(self._storage.embeddings())
        ledger = LedgerMarks(self._storage.settings().ledger_path).all()[-1:]
        stores = (mark_of(store) for store in self._stores)
        return list({mark.merge_id: mark for mark in (vectors, *ledger, *stores) if mark}.values())

    def _has_followed(self) -> bool:
        """Whether anything was made from a catalog before there were marks."""
        ledger = self._storage.settings().ledger_path
        return bool(self._storage.embeddings().look()[0] or (ledger.exists() and Ledger(ledger).stores()))

    def _is_complete(self, *, is_first: bool) -> bool:
        """Whether the catalog holds what can be known. The very first run needs no proof: there is nothing to lose."""
        catalog = self._storage.catalog()
        return is_first or not (catalog.is_empty() or catalog.unmerged(self._storage.raw()))

    def _check_ledger(self) -> None:
        known = {mark.merge_id for mark in LedgerMarks(self._storage.settings().ledger_path).all()}
        for store in self._stores:
            if (mark := mark_of(store)) and mark.merge_id not in known:
                raise StaleLedgerError(
                    f"the ledger does not know what {store.store_key} was last published from (merge {mark.generation}"
                    f" of installation {mark.installation_id}): it is lost, or older; {RECONCILE}"
                )


def _refusal(what: str, removed: int, published: int, most: int, before: int = 0) -> str:
    also = f", {before} were within a week" * bool(before)
    return (
        f"{what}: {removed} of {published} would be deleted{also}, and at most {most} are unless somebody asks for it."
        f" If it is right, once with `--max-removals {removed + before}`, in Dagster with `max_removals`"
    )


def _what_is_wrong(mark: Mark | None, unknown: Sequence[Mark]) -> str:
    newest = max((mark.generation for mark in unknown), default=0)
    what = f"what was made from the catalog followed its merge {newest}" if newest else "much was made from a catalog"
    if mark is None:
        return f"{what}, and this one was just made: the one before is lost"
    return f"{what}, which this one (at merge {mark.generation}) does not know: it is older, or another one"


def _owner(id_: str) -> str:
    return id_.rpartition("/")[0]


def _start(id_: str) -> str:
    return id_.partition(":")[0][:_SHORT]


def _starts(places: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(source[:_SHORT], cell_id) for source, cell_id in places}


@lru_cache(maxsize=2)
def _ids_of(capture_ids: frozenset[str]) -> frozenset[str]:
    views: Iterable[str] = (vector_id(capture_id, view) for capture_id in capture_ids for view in range(VIEWS))
    return capture_ids.union(views)
