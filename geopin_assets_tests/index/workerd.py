"""The real engine of D1 on loopback, for tests: workerd, started by miniflare.

Installed once into `.geopin/cache/workerd` (6 to 20 s) by npm, without running anybody's install scripts, and with a
node of its own when the machine's is older than 22. Where that cannot be had (no npm, no network, more than a
minute) the tests are skipped and say why.
GEOPIN_TEST_WORKERD=0 skips without trying, =1 makes a failure of what would be a skip.

Only queries exist there: no import, no time travel, no access check, no limit of 2 MB or of 30 s.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MINIFLARE = "miniflare@4.20260730.0"
_MACHINE = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine())
NODE = f"node-{platform.system().lower()}-{_MACHINE}"  # the npm package that is only the program
NODE_VERSION = "22.23.3"
MIN_NODE = 22
INSTALL_S = 60
FOLDER = Path(__file__).parents[2] / ".geopin" / "cache" / "workerd"
_SERVER = Path(__file__).parent / "d1_server.mjs"
_NPM = ("--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0", "--fetch-timeout=20000", "--loglevel=error")


class Unavailable(Exception):
    """Why the engine cannot be had here."""


@pytest.fixture(scope="session")
def workerd_url(engine_node: Path) -> Iterator[str]:
    """Address of a running engine, without a path; one empty database for all who ask."""
    with running(engine_node, _SERVER) as url:
        yield url


@pytest.fixture(scope="session")
def engine_node() -> Path:
    """A node beside an installed engine."""
    wish = os.environ.get("GEOPIN_TEST_WORKERD", "")
    if wish == "0":
        pytest.skip("GEOPIN_TEST_WORKERD=0")
    try:
        return _installed()
    except Unavailable as error:
        if wish == "1":
            raise
        pytest.skip(f"no D1 engine: {error}")


def _installed() -> Path:
    """A node that is new enough, beside an installed miniflare."""
    if not (FOLDER / "node_modules" / "miniflare").is_dir():
        _install()
    own, machines = FOLDER / "node_modules" / NODE / "bin" / "node", shutil.which("node")
    for node in (own, machines):
        if node is not None and _node_version(node) >= MIN_NODE:
            return Path(node)
    raise Unavailable(f"no node of version {MIN_NODE} or newer")


def _install() -> None:
    """Into a folder beside, moved when complete: what was interrupted is not taken for installed."""
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("no npm to install it with")
    machines = shutil.which("node")
    has_node = machines is not None and _node_version(machines) >= MIN_NODE
    wanted = [MINIFLARE] if has_node else [MINIFLARE, f"{NODE}@{NODE_VERSION}"]
    partial = FOLDER.with_name(f"{FOLDER.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        command = [npm, "install", "--prefix", str(partial), *_NPM, *wanted]
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode:
            raise Unavailable(f"npm: {' '.join(done.stderr.split())[:200]}")
        shutil.rmtree(FOLDER, ignore_errors=True)
        partial.rename(FOLDER)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"npm took more than {INSTALL_S} s") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _node_version(node: Path | str) -> int:
    try:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=120, check=False)
    except OSError:
        return 0
    found = re.match(r"v(\d+)\.", done.stdout)
    return int(found[1]) if found else 0


@contextmanager
def running(node: Path, script: Path, *arguments: Path) -> Iterator[str]:
    """The address that a script of ours prints; it ends with the block."""
    command = [node, script, FOLDER, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), "the engine did not start"
            yield url.rstrip("/")
        finally:
            server.stdin.close()
            server.wait(timeout=120)
