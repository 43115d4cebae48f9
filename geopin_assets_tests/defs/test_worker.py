"""The Worker of docs/cloudflare.md, as it stands there, on Cloudflare's engine: it finds what `geopin locate` finds."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import numpy as np
import pytest

from geopin_assets.index.protocol import MetadataStore
from geopin_assets.index.stores import SearchedIndex, SearchedStore
from geopin_assets.index.tables import TABLES, migrations, statements
from geopin_assets.locate.search import search
from geopin_assets.sandbox.server import running as stand_ins
from geopin_assets.settings import Settings
from geopin_assets_tests.index.workerd import engine_node as engine_node
from geopin_assets_tests.index.workerd import running
from geopin_assets_tests.platform import CELLS, Platform
from geopin_assets_tests.ports import free_port

PAGE = Path(__file__).parents[2] / "docs" / "cloudflare.md"
SERVER = Path(__file__).parents[1] / "index" / "worker_server.mjs"
SHARDS = {"GEOPIN_INDEX": "cloudflare", "GEOPIN_INDEX_SHARDS": "2", "GEOPIN_D1_SHARDS": "2"}
SHOWN = ("capture_id", "source", "lon", "lat", "captured_at", "license", "attribution", "creator", "page_url")


def binding(name: str) -> str:
    return name.replace("-", "_")


def everything(store: MetadataStore) -> list[dict[str, Any]]:
    """Statements that make a database what this one is."""
    made = [{"sql": sql, "params": []} for _, script in migrations() for sql in statements(script)]
    for table in TABLES.values():
        rows = store.query(f"SELECT {', '.join((*table.columns, 'row_hash'))} FROM {table.name}")  # noqa: S608
        made.append({"sql": table.upsert_sql, "params": [json.dumps(rows.rows())]})
    return made


@pytest.fixture
def published(tmp_path: Path, instance: dg.DagsterInstance) -> Iterator[Platform]:
    """Over an account of its own: what other installations left in one is theirs."""
    port = free_port()
    (tmp_path / "front-end" / "photos").mkdir(parents=True)
    with stand_ins(Settings(data_dir=tmp_path / "stand-ins", sandbox_port=port)):
        platform = Platform(tmp_path / "front-end", port)
        platform.set(**SHARDS)
        layers = platform.run(instance, sources=("panoramax", "amsterdam"), reports=False)
        assert not any(layer.failed for layer in layers.values()), layers
        yield platform


@pytest.fixture
def worker(published: Platform, tmp_path: Path, engine_node: Path) -> Iterator[str]:
    account = published.storage.settings().cloudflare
    version = published.search_index.versions().serving()
    assert version is not None
    facts = {
        "worker": re.findall(r"```js\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0],
        "databases": {binding(s.name): everything(s) for s in published.search_index.metadata().parts},
        "indexes": {binding(name): name for name in version.shard_names()},
        "api": f"{account.base_url}/accounts/{account.account_id}/vectorize/v2/indexes/",
        "token": account.token,
    }
    (tmp_path / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    with running(engine_node, SERVER, tmp_path / "facts.json") as url:
        yield url


def test_the_worker_of_the_page_finds_what_locate_finds(published: Platform, worker: str) -> None:
    """A photo, and a panorama with its twelve views; over two indexes and two databases."""
    model, search_index = published.embedding.model(), published.search_index
    version = search_index.versions().serving()
    assert version is not None
    index, store = SearchedIndex(search_index.vectors(version)), SearchedStore(search_index.metadata())
    stored = published.vectors(CELLS[1]).read()
    turned = np.random.default_rng(1).normal(scale=0.01, size=(12, model.dim))
    for source, views in (("panoramax", 1), ("amsterdam", 12)):
        vectors = stored.filter(source=source)["embedding"].to_numpy()[:views].astype(np.float32) + turned[:views]
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        answer = httpx.post(worker, json={"model_id": model.model_id, "vectors": vectors.tolist()}, timeout=60)
        assert answer.status_code == 200, answer.text
        found, expected = answer.json()["captures"], search(vectors, index, store, 10).to_dicts()
        assert len(found) == 10 and answer.json()["index"] == version.name
        assert [{name: row[name] for name in SHOWN} for row in found] == [
            {name: row[name] for name in SHOWN} for row in expected
        ]
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=1e-6)
        assert all(row["license_url"].startswith("https://") and row["source_title"] for row in found)
        assert all(row["thumbnail_url"].startswith("http") for row in found)
    refused = httpx.post(worker, json={"model_id": "another", "vectors": []}, timeout=60)
    assert (refused.status_code, refused.json()) == (409, {"error": f"embed with {model.model_id}"})
