"""A disk that is full, read-only or broken from any step on: said as what it is, nothing lost, later all is well."""

import errno
import os
from random import Random
from typing import Any

import pytest

from geopin_assets_tests.depth import SEED, examples, some
from geopin_assets_tests.faults.conftest import Scene
from geopin_assets_tests.faults.steps import FAIL, Ended
from geopin_assets_tests.faults.verdict import note

CODES = some([errno.ENOSPC, errno.EROFS, errno.EIO])
OURS = ("StorageFullError: ", "ConfigurationError: ", "TransientError: ", "DamagedFileError: ")


def raw_words(ended: Ended) -> list[str]:
    """What was said in another voice than ours."""
    said = [ended.error] if ended.error else [text for texts in (ended.returned or {}).values() for text in texts]
    return [text for text in said if not text.startswith(OURS)]


@pytest.mark.parametrize("code", CODES, ids=map(errno.errorcode.get, CODES))
@pytest.mark.parametrize("number", range(examples(1, 12)))
def test_a_first_run(scene: Scene, first: Any, first_steps: int, number: int, code: int) -> None:
    folder, random = scene.new("refused"), Random(SEED * 100 + number + code)
    for at in sorted(int(first_steps / 4 * random.random() ** 2) + 1 for _ in range(examples(1, 2))):
        ended = scene.do("region", folder, FAIL, at, code)
        clean = ended.signal == 0 and not raw_words(ended)
        note(f"disk: {os.strerror(code)}", attempts=1, seeds=1, unclean_ends=int(not clean))
        assert clean, (ended.signal, raw_words(ended))
    last = scene.whole("region", folder)
    lost = scene.content(folder) != scene.content(str(first / "made"))
    note(f"disk: {os.strerror(code)}", recovery_s=round(last.seconds, 1), captures_lost=int(lost))
    assert not lost
