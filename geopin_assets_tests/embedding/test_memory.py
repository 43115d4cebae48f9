import asyncio
from collections.abc import Awaitable, Callable

import pytest

from geopin_assets.embedding.stages import TaskMemory


def in_loop(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 10))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_is_taken_is_free_again_when_given_back() -> None:
    async def run() -> None:
        memory = TaskMemory(100)
        await memory.take(60)
        await memory.take(40)
        assert memory.free == 0
        memory.give_back(60)
        memory.give_back(40)
        assert memory.free == 100

    in_loop(run)


def test_more_than_the_whole_is_the_whole_also_when_given_back() -> None:
    async def run() -> None:
        memory = TaskMemory(100)
        await memory.take(1_000)
        assert memory.free == 0
        memory.give_back(1_000, but=400)
        assert memory.free == 0
        memory.give_back(400)
        assert memory.free == 100

    in_loop(run)


def test_a_reservation_shrinks_to_what_was_needed_and_wakes_who_waits() -> None:
    async def run() -> None:
        memory = TaskMemory(100)
        await memory.take(80)
        waiting = asyncio.create_task(memory.take(50))
        await settle()
        assert not waiting.done()
        memory.give_back(80, but=30)
        await waiting
        assert memory.free == 20

    in_loop(run)


def test_what_is_taken_without_waiting_overtakes_nobody() -> None:
    async def run() -> None:
        memory = TaskMemory(100)
        assert memory.take_now(60) and memory.free == 40
        waiting = asyncio.create_task(memory.take(50))
        await settle()
        assert not memory.take_now(10) and memory.free == 40
        memory.give_back(60)
        await waiting
        assert memory.take_now(50) and memory.free == 0

    in_loop(run)


def test_small_ones_do_not_overtake_a_large_one() -> None:
    async def run() -> None:
        memory, served = TaskMemory(100), []

        async def take(amount: int) -> None:
            await memory.take(amount)
            served.append(amount)

        await memory.take(50)
        tasks = [asyncio.create_task(take(amount)) for amount in (90, 10, 20)]
        await settle()
        assert served == []
        memory.give_back(50)
        await settle()
        assert served == [90, 10]
        memory.give_back(90)
        await asyncio.gather(*tasks)
        assert served == [90, 10, 20]

    in_loop(run)


@pytest.mark.parametrize("is_served", [False, True])
def test_who_is_cancelled_takes_nothing_and_holds_nobody_up(is_served: bool) -> None:
    async def run() -> None:
        memory = TaskMemory(100)
        await memory.take(100)
        leaves = asyncio.create_task(memory.take(90))
        stays = asyncio.create_task(memory.take(100))
        await settle()
        if is_served:
            memory.give_back(100)  # served, but cancelled before it could run
        leaves.cancel()
        if not is_served:
            memory.give_back(100)
        await asyncio.wait([leaves])
        await stays
        assert leaves.cancelled() and memory.free == 0
        memory.give_back(100)
        assert memory.free == 100

    in_loop(run)
