"""Which addresses are connected to when strangers choose them: `canaries.py` listens on all of them."""

import json
import os
import subprocess
import sys

import pytest

from geopin_assets_tests.embedding.canaries import PUBLIC
from geopin_assets_tests.faults.verdict import note

Outcomes = dict[str, list]
ALONE = (["unshare", "--user", "--map-root-user", "--net"], ["unshare", "--net"])


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcomes]:
    """Of the program, run in a network of its own, with a proxy in its environment."""
    canaries = [sys.executable, "-W", "error", "-m", "geopin_assets_tests.embedding.canaries"]
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"), "http://127.0.0.1:80")
    printed = subprocess.run(
        [*own_network(), *canaries], capture_output=True, text=True, env=os.environ | proxies, timeout=120
    )
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout)


def own_network() -> list[str]:
    for command in ALONE:
        try:
            if subprocess.run([*command, "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0:
                return command
        except FileNotFoundError:
            break
    pytest.skip("a network namespace cannot be made here (unshare and ip, and the permission for them)")


@pytest.mark.parametrize("part", ["literals", "names", "redirects"])
def test_no_address_but_public_ones_is_ever_connected_to(outcomes: dict[str, Outcomes], part: str) -> None:
    assert len(outcomes[part]) >= 7
    forbidden = sum(address != PUBLIC for _, reached in outcomes[part].values() for address in reached)
    note("addresses that must not be asked", attempts=len(outcomes[part]), forbidden_connections=forbidden)
    for url, (outcome, reached) in outcomes[part].items():
        assert outcome in ("not_allowed", "unreachable", "not_found"), url  # some spellings resolve to nothing
        assert set(reached) <= {PUBLIC}, url


def test_an_address_that_resolves_is_called_not_allowed(outcomes: dict[str, Outcomes]) -> None:
    refused = {
        url for part in ("literals", "names") for url, (said, _) in outcomes[part].items() if said == "not_allowed"
    }
    for host in ("127.0.0.1", "127.1", "0x7f.1", "①②⑦.⓪.⓪.①", "[::127.0.0.1]", "metadata.example", "mixed.example"):
        assert f"http://{host}/image" in refused


def test_a_name_that_rebinds_is_not_followed_to_its_new_address(outcomes: dict[str, Outcomes]) -> None:
    assert outcomes["rebinding"] == {
        "http://rebinding.example/first": ["fetched", [PUBLIC]],
        "http://rebinding.example/second": ["fetched", [PUBLIC]],
        "http://rebinding.example:8080/image": ["not_allowed", []],
        "8080": ["", []],
    }


def test_public_addresses_are_connected_to_without_the_proxy_of_the_environment(outcomes: dict[str, Outcomes]) -> None:
    assert list(outcomes["public"].values()) == [["fetched", [PUBLIC]]] * 2


def test_the_canaries_would_have_sung(outcomes: dict[str, Outcomes]) -> None:
    """The same addresses, trusted, are reached."""
    assert all(outcome == "fetched" for outcome, _ in outcomes["trusted"].values())
    reached = {address for _, addresses in outcomes["trusted"].values() for address in addresses}
    assert reached >= {"127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "64:ff9b::7f00:1"}
