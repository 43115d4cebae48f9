from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.errors import ConfigurationError
from geopin_assets.index.versions import IndexVersion, IndexVersions, State
from geopin_assets_tests.depth import examples
from geopin_assets_tests.files.processes import start

NOW = datetime(2026, 5, 4, tzinfo=UTC)


@pytest.fixture
def versions(tmp_path: Path) -> IndexVersions:
    return IndexVersions(tmp_path / "ledger.sqlite", "embedded")


def target(versions: IndexVersions, model_id: str) -> IndexVersion:
    return versions.publishing(model_id, 512, shards=1, now=NOW)


def test_the_first_index_serves_at_once_and_goes_on_being_the_target(versions: IndexVersions) -> None:
    assert versions.serving() is None
    first = target(versions, "a")
    assert (first.name, first.state) == ("geopin-a-v1", State.SERVING)
    assert versions.serving() == first == target(versions, "a")


def test_another_model_is_built_beside_it_and_serves_when_switched_to(versions: IndexVersions) -> None:
    first, second = target(versions, "a"), target(versions, "b")
    assert second.state is State.BUILDING and versions.serving() == first
    versions.switch(second, NOW)
    assert [(v.name, v.state) for v in versions.all()] == [
        ("geopin-a-v1", State.RETIRED),
        ("geopin-b-v1", State.SERVING),
    ]
    assert target(versions, "b").state is State.SERVING


def test_going_back_to_a_retired_model_builds_a_new_version(versions: IndexVersions) -> None:
    """The retired index has missed what was removed since."""
    target(versions, "a")
    versions.switch(target(versions, "b"), NOW)
    assert target(versions, "a").name == "geopin-a-v2"


def test_a_rebuild_is_the_target_until_it_serves(versions: IndexVersions) -> None:
    first = target(versions, "a")
    again = versions.rebuild("a", 512, shards=2, now=NOW)
    assert (again.name, again.shards) == ("geopin-a-v2", 2)
    assert versions.rebuild("a", 512, shards=3, now=NOW) == again == target(versions, "a")
    assert versions.serving() == first


def test_the_index_in_use_is_not_dropped_and_names_are_never_used_again(versions: IndexVersions) -> None:
    first = target(versions, "a")
    with pytest.raises(ConfigurationError, match="searches use"):
        versions.drop(first, NOW)
    versions.switch(versions.rebuild("a", 512, shards=1, now=NOW), NOW)
    versions.drop(versions.named("geopin-a-v1"), NOW)
    with pytest.raises(ConfigurationError, match="no index 'geopin-a-v1': geopin-a-v2"):
        versions.named("geopin-a-v1")
    assert versions.rebuild("a", 512, shards=1, now=NOW).name == "geopin-a-v3"


def test_backends_know_nothing_of_each_other(versions: IndexVersions, tmp_path: Path) -> None:
    target(versions, "a")
    assert IndexVersions(tmp_path / "ledger.sqlite", "cloudflare:x").all() == []


@given(st.lists(st.tuples(st.sampled_from(["target", "rebuild", "switch", "drop"]), st.sampled_from("ab"))))
@settings(max_examples=examples(12, 300), deadline=None)
def test_at_most_one_serves_and_one_of_a_model_is_built(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    versions = IndexVersions(tmp_path_factory.mktemp("v") / "ledger.sqlite", "embedded")
    for step, model_id in steps:
        building = versions.building(model_id)
        if step == "target":
            target(versions, model_id)
        elif step == "rebuild" and versions.serving():
            versions.rebuild(model_id, 512, shards=1, now=NOW)
        elif step == "switch" and building:
            versions.switch(building, NOW)
        elif step == "drop":
            for version in versions.all():
                if version.state is State.RETIRED:
                    versions.drop(version, NOW)
        states = [version.state for version in versions.all()]
        assert states.count(State.SERVING) == (1 if states else 0)
        for model in "ab":
            assert sum(v.state is State.BUILDING for v in versions.all() if v.model_id == model) <= 1


def test_the_newest_retired_version_never_outlives_its_use(versions: IndexVersions) -> None:
    for days, model_id in enumerate("abc"):
        version = target(versions, model_id)
        if version.state is State.BUILDING:
            versions.switch(version, NOW + timedelta(days=days))
    assert [v.name for v in versions.outlived(NOW + timedelta(days=9))] == ["geopin-a-v1"]  # b retired last, c serves
    assert versions.outlived(NOW + timedelta(hours=1)) == []


def test_what_came_last_counts_whatever_the_clock_says(versions: IndexVersions) -> None:
    """Set back by a year between two switches, the second of which was killed before it was announced."""
    first = target(versions, "a")
    versions.switch(first, NOW)
    announced = versions.all()
    versions.switch(target(versions, "b"), NOW - timedelta(days=365))
    assert versions.news(announced) == []
    versions.adopt(announced)
    assert [(v.model_id, v.state) for v in versions.all()] == [("a", State.RETIRED), ("b", State.SERVING)]


def test_first_callers_at_once_make_one_serving_version(tmp_path: Path) -> None:
    code = """
        import sys
        from datetime import UTC, datetime
        from pathlib import Path
        from geopin_assets.index.versions import IndexVersions
        versions = IndexVersions(Path(sys.argv[1]), "embedded")
        print("ready", flush=True)
        sys.stdin.readline()
        for model in ("a", "b", "c"):
            print(versions.publishing(model, 512, shards=1, now=datetime.now(UTC)).name)
            print(versions.rebuild(model, 512, shards=1, now=datetime.now(UTC)).name)
    """
    processes = [start(code, tmp_path / "ledger.sqlite") for _ in range(4)]
    for process in processes:
        assert process.stdout
        process.stdout.readline()
    said = {process.communicate("\n")[0] for process in processes}
    found = IndexVersions(tmp_path / "ledger.sqlite", "embedded").all()
    assert [version.state for version in found].count(State.SERVING) == 1
    assert len(found) == 4  # the serving one, its rebuild, and one of each other model
    assert len(said) <= 4


def test_an_old_object_neither_drops_nor_revives(versions: IndexVersions) -> None:
    target(versions, "a")
    built = target(versions, "b")
    versions.switch(built, NOW)
    with pytest.raises(ConfigurationError, match="searches use"):
        versions.check_may_drop(built)  # read when it was being built
    with pytest.raises(ConfigurationError, match="searches use"):
        versions.drop(built, NOW)
    first = versions.named("geopin-a-v1")
    versions.drop(first, NOW)
    with pytest.raises(ConfigurationError, match="dropped meanwhile"):
        versions.switch(first, NOW)
    assert versions.serving() == versions.named(built.name)


def test_a_version_whose_index_was_deleted_is_replaced_once_in_its_state(versions: IndexVersions) -> None:
    first = target(versions, "a")
    second = versions.replaced(first, shards=2, now=NOW)
    assert (second.name, second.state, second.shards) == ("geopin-a-v2", State.SERVING, 2)
    assert versions.replaced(first, shards=2, now=NOW) == second == versions.serving(), "by whoever came second, too"
    assert [version.name for version in versions.all()] == ["geopin-a-v2"]
