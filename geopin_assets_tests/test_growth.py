"""The measure of growth tells what is quadratic from what is linear, also where a step of memory lies between."""

import time

from geopin_assets_tests.growth import MOST, growth


def test_quadratic_is_told_from_linear() -> None:
    def comparing(text: str) -> int:
        return sum(text.count("b") for _ in range(0, len(text), 64))

    assert growth(comparing, "a") > MOST
    assert growth(lambda text: sum(map(ord, text)), "a") < MOST


def test_one_step_is_no_growth() -> None:
    def stepping(text: str) -> None:
        until = time.thread_time() + (0.001 if len(text) < 2048 else 0.02)
        while time.thread_time() < until:
            pass

    assert growth(stepping, "a") < MOST
