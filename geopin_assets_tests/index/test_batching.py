"""Rows that come frame by frame are cut to size, and sent with no more in memory than is under way."""

from collections.abc import Iterator
from itertools import chain
from threading import Event

import polars as pl
import pytest

from geopin_assets.index.batching import ahead, in_chunks, last_alone


@pytest.mark.parametrize("sizes", [[0], [7], [0, 3, 0, 10, 1], [4, 4], [1] * 9])
def test_chunks_hold_all_rows_in_their_order_and_only_the_last_is_smaller(sizes: list[int]) -> None:
    numbers = iter(range(100))
    frames = [pl.DataFrame({"n": [next(numbers) for _ in range(size)]}, schema={"n": pl.Int64}) for size in sizes]
    chunks = [chunk["n"].to_list() for chunk in in_chunks(frames, 4)]
    assert list(chain(*chunks)) == list(range(sum(sizes)))
    assert all(len(chunk) == 4 for chunk in chunks[:-1]) and all(chunks)


def test_no_more_items_are_taken_than_are_worked_on_and_one() -> None:
    taken, done = [0], [0]

    def items() -> Iterator[int]:
        for number in range(20):
            taken[0] += 1
            assert number - done[0] <= 3
            yield number

    for result in last_alone(lambda number: number * 2, items(), 2):
        assert result == done[0] * 2
        done[0] += 1
    assert done == taken == [20]


def test_a_failure_ends_the_sending_and_is_raised() -> None:
    tried: list[int] = []

    def work(number: int) -> int:
        tried.append(number)
        if number == 3:
            raise ValueError("no")
        return number

    with pytest.raises(ValueError, match="no"):
        list(last_alone(work, iter(range(100)), 2))
    assert 3 in tried and max(tried) <= 5


def test_the_next_item_is_made_while_one_is_used_and_no_more() -> None:
    made = [Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number
        raise ValueError("broke")

    with ahead(items()) as following:
        assert next(following) == 0
        assert made[1].wait(120) and not made[2].is_set()
        assert [next(following) for _ in range(3)] == [1, 2, 3]
        with pytest.raises(ValueError, match="broke"):
            next(following)
