"""`make test-faults`: which tests try which class of faults, and the table of what came of it.

python -m geopin_assets_tests.faults --files          the test files of every class, for pytest
python -m geopin_assets_tests.faults --files long     those that are tried at full depth
python -m geopin_assets_tests.faults --table REPORT   the table; exit code 1 unless every promise held
"""

import sys
from pathlib import Path

from geopin_assets_tests.faults.verdict import table

TESTS = Path(__file__).parents[1]
CLASSES = {
    "1 asked too often, told when to come back": ["http_client/test_client.py", "http_client/test_rate.py"],
    "2 refusals that are none, timeouts in dense cells": ["sources/mapillary", "sources/kartaview"],
    "3 bursts of 5xx, half of all answers 5xx": ["sources/test_faults.py", "http_client/test_client.py"],
    "4 saturated cells, caps that change, floors": ["sources/test_splitting.py", "sources/panoramax"],
    "5 slow, hanging, cut and false bodies": [
        "sources/test_socket_faults.py",
        "http_client/test_transport.py",
        "embedding/test_untrusted.py",
    ],
    "6 records that are malformed": ["sources/test_contract.py", "sources/test_crawl.py", "sources/test_fields.py"],
    "7 duplicates within and over sources and runs": ["store/test_catalog.py"],
    "8 images that are bombs, odd or no images": [
        "embedding/test_decoding.py",
        "embedding/test_decoding_memory.py",
        "embedding/test_decoders.py",
    ],
    "9 addresses that must not be asked": [
        "embedding/test_canaries.py",
        "embedding/test_hosts.py",
        "embedding/test_fetching.py",
    ],
    "10 ids that would be paths": ["sources/test_fields.py", "test_odd_paths.py"],
    "11 killed at any step": [
        "faults/test_killed.py",
        "cli/test_killed_run.py",
        "store/test_database.py",
        "embedding/test_attempts.py",
    ],
    "12 disks that are full, read-only or broken": [
        "faults/test_refused.py",
        "files/test_damage.py",
        "files/test_atomic.py",
    ],
    "13 the vector index late, partial, refusing": ["cloudflare", "index/test_publish.py", "index/test_contract.py"],
    "14 the database refusing, or committed after a timeout": ["index/cloudflare", "index/test_withdraw.py"],
    "15 sources that vanish, halve, double, drift": [
        "faults/test_weeks.py",
        "quality/test_limits.py",
        "defs/test_evidence.py",
    ],
    "16 takedowns": [
        "defs/running/test_takedown.py",
        "cli/test_takedown.py",
        "store/test_takedowns.py",
        "defs/test_covered_by.py",
    ],
    "17 clocks, and several processes at once": [
        "faults/test_together.py",
        "store/test_crawl_order.py",
        "files/test_lease.py",
        "files/test_lock.py",
    ],
    "18 anything in any order": ["index/test_interleavings.py", "index/test_two_publishers.py"],
    "lists that shift while they are read": ["sources/test_shifting.py"],
    "stores and records that differ": ["index/test_sync.py", "defs/running/test_reconcile.py"],
    "foreign text that makes readers slow": ["test_regexes.py"],
    "pages and programs that are not let in": ["cli/test_door.py"],
    "keys that could be told": ["defs/test_secrets.py", "http_client/test_redaction.py"],
    "runs near their limit": ["faults/test_handed_on.py", "defs/running/test_materialize.py"],
    "recovery as the page says": ["docs/test_drills.py"],
}
"""What is tried -> the tests that try it, below `geopin_assets_tests`. Those with numbers are what every reliable
crawler is asked about; the others went wrong here, or in projects like this one."""
AT_FULL_DEPTH = ("faults/", "docs/test_drills.py", "index/test_interleavings.py")
"""The others are as deep as in `make test`; `make test-long` goes deeper into them."""


def files(*, is_long: bool | None = None) -> list[str]:
    """Each once; the last classes first, as they wait, which leaves time for others at the end."""
    named = dict.fromkeys(name for names in [*CLASSES.values()][::-1] for name in names)
    return [str(TESTS / name) for name in named if is_long in (None, name.startswith(AT_FULL_DEPTH))]


def main(words: list[str]) -> int:
    """Print what is asked for."""
    if words[0] == "--files":
        print("\n".join(files(is_long=words[1:] == ["long"])))
        return 0
    _, report = words
    text, is_held = table(CLASSES, Path(report).read_text(encoding="utf-8").splitlines())
    print(text)
    return int(not is_held)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
