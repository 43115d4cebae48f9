"""`make test-faults`: which tests try which class of faults, and the table of what came of it.

python -m geopin_assets_tests.faults --files          the test files of every class, for pytest
python -m geopin_assets_tests.faults --table REPORT   the table; exit code 1 unless every promise held
"""

import sys
from pathlib import Path

from geopin_assets_tests.faults.verdict import table

TESTS = Path(__file__).parents[1]
CLASSES = {
    "asked too often, told when to come back": ["http_client/test_client.py", "http_client/test_rate.py"],
    "refusals that are none, timeouts in dense cells": ["sources/mapillary", "sources/test_splitting.py"],
    "bursts of 5xx, half of all answers 5xx": ["sources/test_faults.py", "http_client/test_client.py"],
    "saturated cells, caps that change, duplicates over borders": ["sources/test_splitting.py", "sources/panoramax"],
    "lists that shift while they are read": ["sources/test_shifting.py"],
    "slow, hanging, cut and false bodies, bombs": ["sources/test_socket_faults.py", "embedding/test_untrusted.py"],
    "records that are malformed": ["sources/test_contract.py", "sources/test_crawl.py"],
    "duplicates within and over sources and runs": ["store/test_catalog.py"],
    "images that are bombs, odd or no images": ["embedding/test_decoding.py", "embedding/test_decoding_memory.py"],
    "addresses that must not be asked": ["embedding/test_untrusted.py", "embedding/test_fetching.py"],
    "ids that would be paths": ["sources/test_fields.py", "test_odd_paths.py"],
    "killed at any step": ["faults/test_killed.py", "cli/test_killed_run.py", "store/test_database.py"],
    "disks that are full, read-only or broken": ["faults/test_refused.py", "files/test_damage.py"],
    "the vector index late, partial, refusing": ["cloudflare", "index/test_publish.py", "index/test_contract.py"],
    "the database refusing, or committed after a timeout": ["index/cloudflare", "index/test_withdraw.py"],
    "sources that vanish, halve, double, drift": [
        "faults/test_weeks.py",
        "quality/test_limits.py",
        "store/test_crawl_order.py",
    ],
    "takedowns": ["defs/running/test_takedown.py", "cli/test_takedown.py", "store/test_takedowns.py"],
    "clocks, and several processes at once": ["faults/test_together.py", "files/test_lease.py", "files/test_lock.py"],
    "anything in any order": ["index/test_interleavings.py"],
    "recovery as the page says": ["docs/test_drills.py"],
    "keys that could be told": ["defs/test_secrets.py", "http_client/test_redaction.py"],
}
"""What is tried -> the tests that try it, below `geopin_assets_tests`."""


def files() -> list[str]:
    """Each once, in order."""
    return [str(TESTS / name) for name in dict.fromkeys(name for names in CLASSES.values() for name in names)]


def main(words: list[str]) -> int:
    """Print what is asked for."""
    if words == ["--files"]:
        print("\n".join(files()))
        return 0
    _, report = words
    text, is_held = table(CLASSES, Path(report).read_text(encoding="utf-8").splitlines())
    print(text)
    return int(not is_held)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
