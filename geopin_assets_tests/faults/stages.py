"""Where a piece of work is at each of its steps, so that kills fall on every stage, and not where most steps are.

Here: steps by their stage, and choosing among them. Not here: counting steps (`steps.py`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

_PLACES = {
    "crawling": r"/data/raw/",
    "merging": r"/catalog\.duckdb",
    "embedding": r"/data/embeddings/",
    "publishing": r"/data/(index/|ledger\.sqlite|stores\.jsonl)",
    "reporting": r"/data/quality/",
    "taking down": r"/takedowns\.jsonl",
}
_MADE_ONCE = re.compile(
    r".*?(catalog\.duckdb|ledger\.sqlite|metadata\.sqlite|stores\.jsonl|takedowns\.jsonl|daily_use\.sqlite"
    r"|[^/]+\.lance|history/\w+\.db|schedules/\w+\.db|installation[^/]*)"
)
BIRTH, BIRTH_STEPS = "first creation", 12
"""So many steps of each database are its birth."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The stage of each step of a piece of work."""

    stages: Sequence[str]

    @classmethod
    def read(cls, told: Path, folder: str) -> "Steps":
        """From the lines that the steps left. Requests belong to the stage that files were last written in."""
        stages, stage, made = [], "beginning", Counter[str]()
        for line in told.read_text().splitlines():
            if line == "network":
                stages.append(f"asking while {stage}")
                continue
            stage = next((name for name, place in _PLACES.items() if re.search(place, line)), stage)
            if line.startswith(folder) and (name := _MADE_ONCE.match(line)):
                made[name[1]] += 1
                stages.append(BIRTH if made[name[1]] <= BIRTH_STEPS else stage)
            else:
                stages.append(stage)
        return cls(stages)

    def chosen(self, random: Random, count: int) -> list[int]:
        """Steps of so many stages, the first being 1: stages in turns, in a random order, then any of their steps."""
        by_stage = defaultdict(list)
        for number, stage in enumerate(self.stages, 1):
            by_stage[stage].append(number)
        turns = [
            stage for _ in range(count // len(by_stage) + 1) for stage in random.sample([*by_stage], len(by_stage))
        ]
        return [random.choice(by_stage[stage]) for stage in turns[:count]]

    def __len__(self) -> int:
        return len(self.stages)
