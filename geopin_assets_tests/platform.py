"""A whole platform in a folder, over a sandbox: what end-to-end tests run."""

import atexit
import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path

import dagster as dg

from geopin_assets.cells import cell
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.graph import GRAPH
from geopin_assets.defs.resources import Embedding, SearchIndex, Storage
from geopin_assets.defs.running.local_run import LayerResult, run_region
from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.vectors import CellVectors
from geopin_assets.index.protocol import MetadataStore, VectorIndex
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.images import amsterdam_jpeg, panoramax_jpeg
from geopin_assets_tests.embedding.kept_decoders import KeptDecoders

CELLS = ("nh-amsterdam-r089c051", "nh-amsterdam-r089c052")
SOURCES = ("panoramax", "amsterdam", "own_photos")
BELOW_RAW = tuple(row.key for row in GRAPH if row.cells_per_run and row.above)


_decoders = KeptDecoders()
atexit.register(_decoders.close)


class Kept(Embedding):
    """Its images are decoded in processes that stay for the next run: starting them takes 0.3 s of CPU."""

    def decoders(self) -> Decoders:
        return _decoders


def paint() -> None:
    """What runs over CELLS ask the sandbox for: 1 s of CPU for each process that paints it itself."""
    world = build_world()
    for box in (cell(cell_id).bbox for cell_id in CELLS):
        for source, jpeg, size in (("panoramax", panoramax_jpeg, "sd"), ("amsterdam", amsterdam_jpeg, 4000)):
            for shot in world.of(source):
                if box.contains(shot.lon, shot.lat):
                    jpeg(shot, size)


class Installation:
    """A whole platform with a data folder of its own, set up as an operator does: by GEOPIN_* variables."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.overrides = {"GEOPIN_DATA": str(folder / "data"), **variables}
        self.set()

    def set(self, **variables: str) -> None:
        """Set GEOPIN_* variables from now on, as an operator who changes them and starts everything anew."""
        self.overrides |= variables
        self.storage = Storage(overrides=self.overrides)
        self.search_index = SearchIndex(overrides=self.overrides)
        self.embedding = Kept(overrides=self.overrides)
        self.__dict__.pop("definitions", None)

    @cached_property
    def definitions(self) -> dg.Definitions:
        """Built when a run first asks for them: that takes longer than most of what tests do without one."""
        return build_definitions(overrides=self.overrides, embedding=Kept(overrides=self.overrides))

    def copy(self, folder: Path) -> "Installation":
        """The same, with whatever lies beside its data, to do as one likes with."""
        shutil.copytree(Path(self.overrides["GEOPIN_DATA"]).parent, folder, dirs_exist_ok=True)
        return Installation(folder, {name: text for name, text in self.overrides.items() if name != "GEOPIN_DATA"})

    def vectors(self, cell_id: str) -> CellVectors:
        """The stored vectors of a cell."""
        return self.storage.vectors(self.embedding.model()).cell(cell_id)

    @property
    def index(self) -> VectorIndex:
        """The only shard of the index that publishing goes to."""
        (part,) = self.search_index.vectors(self.search_index.publishing(self.embedding.model())).parts
        return part

    @property
    def rows(self) -> MetadataStore:
        """The only shard of the metadata."""
        (part,) = self.search_index.metadata().parts
        return part


class Platform(Installation):
    """An installation over the sandbox that the session shares; `more` variables."""

    def __init__(self, folder: Path, port: int, **more: str) -> None:
        variables = {
            "GEOPIN_PROFILE": "sandbox",
            "GEOPIN_SANDBOX_PORT": str(port),
            "GEOPIN_OWN_PHOTOS_DIR": str(folder / "photos"),
            "GEOPIN_OWN_PHOTOS_LICENSE": "CC0-1.0",
            "GEOPIN_OWN_PHOTOS_ATTRIBUTION": "Survey",
        }
        super().__init__(folder, variables | more)
        self.port = port

    def run(
        self,
        instance: dg.DagsterInstance,
        cells: tuple[str, ...] = CELLS,
        sources: tuple[str, ...] = SOURCES,
        *,
        reports: bool = True,
    ) -> dict[str, LayerResult]:
        """What each layer did. Reports come last and take as long as all before: without them where none is read."""
        layers = run_region(self.definitions, instance, cells, sources)
        return {layer.asset: layer for layer in (layers if reports else islice(layers, len(sources) + len(BELOW_RAW)))}

    def checks(self, instance: dg.DagsterInstance) -> list[dg.AssetCheckEvaluation]:
        """What the checks of all that is stored say now: of the reports, only this one is made."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        ended = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(["quality", "integrity"])])
        return list(ended.get_asset_check_evaluations())

    def is_in_sync(self, instance: dg.DagsterInstance) -> bool:
        """Whether the index holds what the catalog wants."""
        (check,) = (check for check in self.checks(instance) if check.check_name == "index_in_sync")
        return check.passed

    def captures(self) -> dict[str, int]:
        """Captures per source in the catalog."""
        rows = self.storage.catalog().query("select source, count(*) from captures group by source")
        return dict(rows.iter_rows())

    def tell_sandbox(self, method: str, body: object = None) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, "/faults", None if body is None else json.dumps(body))
        assert connection.getresponse().status < 300
        connection.close()


@dataclass(frozen=True)
class Ran:
    """A platform after one run of all cells and sources of the tests, its instance, and what the run did."""

    platform: Platform
    instance: dg.DagsterInstance
    layers: dict[str, LayerResult]
