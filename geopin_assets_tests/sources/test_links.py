from collections.abc import Sequence
from contextlib import AbstractContextManager

import pytest

from geopin_assets.errors import BudgetSpent, ConfigurationError, PermanentError, TransientError
from geopin_assets.sources.base import Source
from geopin_assets.sources.links import BATCH, LinkedCapture, LinkLoss, Links, Renewal
from geopin_assets_tests.sources.expiring import NOW, Expiring, World, link, links_of, source_named

GOOD, EXPIRED = 18, 9


def capture(id_: str, image_url: str | None = None, source: str = "expiring") -> LinkedCapture:
    return LinkedCapture(f"{source}:{id_}", source, id_, link(id_, EXPIRED) if image_url is None else image_url)


def renewed(world: World, *captures: LinkedCapture) -> Renewal:
    with links_of(world) as links:
        return links.renew(captures)


def test_an_expired_link_is_replaced_and_a_good_one_is_left_alone() -> None:
    world = World({id_: link(id_, GOOD) for id_ in "abc"})
    renewal = renewed(world, capture("a"), capture("b", link("b", GOOD)), capture("c"))
    assert renewal == Renewal(fresh={"expiring:a": link("a", GOOD), "expiring:c": link("c", GOOD)}, requests=1)
    assert world.asked == [["a", "c"]]


def test_a_placeholder_in_place_of_a_link_is_renewed_too() -> None:
    assert renewed(World({"a": link("a", GOOD)}), capture("a", "expiring:a")).fresh == {"expiring:a": link("a", GOOD)}


def test_a_source_with_nothing_expired_is_not_even_opened() -> None:
    world = World()
    assert renewed(world, capture("a", link("a", GOOD)), capture("b", source="lasting")) == Renewal()
    assert (world.opened, world.asked) == ([], [])


def test_a_capture_that_its_source_does_not_have_any_more_is_gone() -> None:
    renewal = renewed(World({"a": link("a", GOOD)}), capture("a"), capture("b"))
    assert set(renewal.fresh) == {"expiring:a"}
    assert renewal.lost == {"expiring:b": LinkLoss.GONE}
    assert not renewal.errors


@pytest.mark.parametrize(
    "error",
    [
        TransientError("expiring: answered 503"),
        BudgetSpent("expiring: today's budget is spent"),
        PermanentError("expiring: answered 403"),
        ConfigurationError("expiring: no token"),
        KeyError("a mistake of the source's own, which may quote token=secret"),
    ],
)
def test_a_source_that_cannot_be_asked_leaves_its_captures_expired_and_says_why(error: Exception) -> None:
    renewal = renewed(World(error=error), capture("a"), capture("b", source="lasting"))
    assert renewal.lost == {"expiring:a": LinkLoss.EXPIRED}
    assert type(error).__name__ in renewal.errors["expiring"]
    assert "secret" not in renewal.errors["expiring"]


def test_a_source_that_cannot_be_opened_leaves_its_captures_expired() -> None:
    def refuse(name: str) -> AbstractContextManager[Source]:
        raise ConfigurationError("expiring is disabled: set GEOPIN_EXPIRING_TOKEN")

    with Links(refuse, source_named, now=lambda: NOW) as links:
        renewal = links.renew([capture("a", "expiring:a")])
    assert renewal.lost == {"expiring:a": LinkLoss.EXPIRED}
    assert "GEOPIN_EXPIRING_TOKEN" in renewal.errors["expiring"]


def test_a_source_that_fails_holds_back_no_other() -> None:
    class Failing(Expiring):
        name = "failing"

        def image_urls(self, ids: Sequence[str], tally: object) -> dict[str, str]:
            raise TransientError("failing: answered 503")

    world = World({"b": link("b", GOOD)})
    sources: dict[str, type[Expiring]] = {"failing": Failing, "expiring": Expiring}

    class Opened:
        def __init__(self, name: str) -> None:
            self.source = sources[name](world)

        def __enter__(self) -> Source:
            return self.source

        def __exit__(self, *_: object) -> None:
            pass

    with Links(Opened, sources.__getitem__, now=lambda: NOW) as links:  # type: ignore[arg-type]
        renewal = links.renew([capture("a", "failing:a", source="failing"), capture("b", "expiring:b")])
    assert renewal.lost == {"failing:a": LinkLoss.EXPIRED}
    assert renewal.fresh == {"expiring:b": link("b", GOOD)}


def test_what_a_source_gave_before_it_failed_is_kept() -> None:
    ids = [f"{number:04d}" for number in range(2 * BATCH + 1)]
    world = World({id_: link(id_, GOOD) for id_ in ids}, error=TransientError("503"), fails_after=1)
    renewal = renewed(world, *[capture(id_) for id_ in ids])
    assert [len(asked) for asked in world.asked] == [BATCH, BATCH]
    assert set(renewal.fresh) == {f"expiring:{id_}" for id_ in ids[:BATCH]}
    assert set(renewal.lost) == {f"expiring:{id_}" for id_ in ids[BATCH:]}


@pytest.mark.parametrize("junk", ["", "expiring:a", "file:///etc/passwd", "http://user:pw@host/", 7, None, ["x"]])
def test_a_new_link_that_is_none_costs_that_capture_alone(junk: object) -> None:
    renewal = renewed(World({"a": junk, "b": link("b", GOOD)}), capture("a"), capture("b"))
    assert set(renewal.fresh) == {"expiring:b"}
    assert set(renewal.lost) == {"expiring:a"}


def test_a_new_link_that_has_expired_already_is_not_taken() -> None:
    renewal = renewed(World({"a": link("a", EXPIRED)}), capture("a"))
    assert (renewal.fresh, renewal.lost) == ({}, {"expiring:a": LinkLoss.EXPIRED})


def test_links_of_a_source_that_is_not_registered_any_more_are_left_alone() -> None:
    assert renewed(World(), capture("a", source="forgotten")) == Renewal()


def test_a_source_is_opened_once_for_many_cells_and_closed_at_the_end() -> None:
    world = World({id_: link(id_, GOOD) for id_ in "ab"})
    with links_of(world) as links:
        for id_ in "ab":
            assert links.renew([capture(id_)]).fresh
        assert world.opened == ["expiring"]
        assert world.open_now == 1
    assert world.open_now == 0


def test_ids_that_were_not_asked_for_are_not_taken() -> None:
    class Generous(Expiring):
        def image_urls(self, ids: Sequence[str], tally: object) -> dict[str, str]:
            return {"a": link("a", GOOD), "other": link("other", GOOD)}

    class Opened:
        def __enter__(self) -> Source:
            return Generous(World())

        def __exit__(self, *_: object) -> None:
            pass

    with Links(lambda name: Opened(), source_named, now=lambda: NOW) as links:  # type: ignore[arg-type, return-value]
        assert set(links.renew([capture("a")]).fresh) == {"expiring:a"}
