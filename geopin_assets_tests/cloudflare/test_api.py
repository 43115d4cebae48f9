"""What all of Cloudflare's services share: access, the rate limit, faults, the socket, and state that stays."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from geopin_assets.sandbox.server import create_app, running
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.settings import Settings
from geopin_assets_tests.cloudflare import CloudflareEmulator, CloudflareFault, Lag, Limits
from geopin_assets_tests.cloudflare.faults import D1_RETRY, D1_TOO_MUCH
from geopin_assets_tests.cloudflare.transport import Account, CloudflareTransport
from geopin_assets_tests.index.frames import Clock
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.sandbox.transport import asgi_client

INDEXES = "vectorize/v2/indexes"
INDEX = f"{INDEXES}/streets"
NDJSON = {"Content-Type": "application/x-ndjson"}
DIM = 32


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def opened(folder: Path | None = None, **parts: Any) -> Iterator[Account]:
    with CloudflareEmulator(folder, **{"lag": Lag(mutation_s=0, count_s=0), **parts}) as emulator:
        yield Account(emulator)


@pytest.fixture
def account(clock: Clock) -> Iterator[Account]:
    with opened(clock=clock) as account:
        yield account


def make_index(account: Account) -> None:
    account.result("POST", INDEXES, json={"name": "streets", "config": {"dimensions": DIM, "metric": "cosine"}})


def make_database(account: Account, name: str = "captures") -> str:
    return account.result("POST", "d1/database", json={"name": name})["uuid"]


def vector(id_: str) -> bytes:
    return orjson.dumps({"id": id_, "values": [0.5] * DIM})


def upsert(account: Account, id_: str) -> httpx.Response:
    return account("POST", f"{INDEX}/upsert", content=vector(id_), headers=NDJSON)


def stored(account: Account, *ids: str) -> list[str]:
    return [found["id"] for found in account.result("POST", f"{INDEX}/get_by_ids", json={"ids": list(ids)})]


# --- access --------------------------------------------------------------------------------------


def test_a_token_is_asked_for(account: Account) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": "sandbox"}, {"Authorization": ""}):
        assert account.refusal("GET", INDEXES, headers=headers) == (401, 10000, "Authentication error")


def test_another_account_is_none_of_its_business(account: Account) -> None:
    url = f"{account.emulator.base_url}/accounts/{'0' * 32}/{INDEXES}"
    assert account.refusal("GET", url) == (403, 10000, "Authentication error")


@pytest.mark.parametrize("path", ["vectorize/v2", "vectorize/v1/indexes", "d1/databases", "d1/database/x/y", "r2"])
def test_there_is_no_route_to_anything_else(account: Account, path: str) -> None:
    status, code, message = account.refusal("GET", path)
    assert (status, code) == (404, 7003)
    assert message.startswith("Could not route to ")


def test_an_account_id_has_32_hexadecimal_digits(account: Account) -> None:
    assert account.refusal("GET", f"{account.emulator.base_url}/accounts/mine/{INDEXES}")[:2] == (404, 7003)


def test_a_refusal_has_the_envelope(account: Account) -> None:
    assert account("GET", f"{INDEXES}/none").json() == {
        "result": None,
        "success": False,
        "errors": [{"code": 3000, "message": 'vectorize.index.not_found - Index name "none"'}],
        "messages": [],
    }


# --- rate ----------------------------------------------------------------------------------------


def test_1200_requests_in_five_minutes_are_answered_and_then_none_for_five_minutes(clock: Clock) -> None:
    with opened(clock=clock) as account:
        for left in reversed(range(1200)):
            answer = account("GET", INDEXES)
            assert (answer.status_code, answer.headers["x-ratelimit-remaining"]) == (200, str(left))
        clock.sleep(10)
        text = "Please wait and consider throttling your request speed"
        assert account.refusal("GET", "d1/database") == (429, 971, text)
        assert account("GET", INDEXES).headers["retry-after"] == "300"
        clock.sleep(299)
        assert account("GET", INDEXES).headers["retry-after"] == "1"
        clock.sleep(1)
        assert account("GET", INDEXES).status_code == 200


def test_requests_are_forgotten_after_five_minutes(clock: Clock) -> None:
    with opened(clock=clock, limits=Limits(requests_per_window=2)) as account:
        account.result("GET", INDEXES)
        clock.sleep(200)
        account.result("GET", "d1/database")
        clock.sleep(100)
        answer = account("GET", INDEXES)
        assert (answer.status_code, answer.headers["x-ratelimit-limit"]) == (200, "2")
        assert answer.headers["x-ratelimit-reset"] == "200"
        assert answer.headers["ratelimit"] == '"default";r=0;t=200'
        assert answer.headers["ratelimit-policy"] == '"default";q=2;w=300'
        assert account("GET", INDEXES).status_code == 429


def test_refused_requests_count_too(clock: Clock) -> None:
    with opened(clock=clock, limits=Limits(requests_per_window=1)) as account:
        assert account("GET", INDEXES, headers={"Authorization": ""}).status_code == 401
        assert account("GET", INDEXES).status_code == 429


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "status"}, 500),
        ({"kind": "status", "status": 504}, 504),
        ({"kind": "unsuccessful"}, 200),
        ({"kind": "reset"}, httpx.ReadError),
        ({"kind": "hang"}, httpx.ReadTimeout),
    ],
)
def test_a_failure_leaves_open_whether_the_work_was_done(
    account: Account, fault: dict[str, Any], outcome: Any, committed: bool
) -> None:
    make_index(account)
    account.emulator.faults.append(CloudflareFault(**fault, committed=committed, path="*/upsert", times=1))
    if isinstance(outcome, int):
        answer = upsert(account, "1")
        assert (answer.status_code, answer.json()["success"], answer.json()["result"]) == (outcome, False, None)
    else:
        with pytest.raises(outcome):
            upsert(account, "1")
    assert stored(account, "1") == ["1"] * committed
    assert upsert(account, "2").json()["success"] is True


def test_a_truncated_answer_is_half_of_one(account: Account) -> None:
    make_index(account)
    account.emulator.faults.append(CloudflareFault(kind="truncated", times=1))
    answer = upsert(account, "1")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()
    assert stored(account, "1") == ["1"]


def test_a_request_can_be_told_to_come_back_later(account: Account) -> None:
    account.emulator.faults.append(CloudflareFault(status=429, retry_after_s=7, times=1))
    answer = account("GET", INDEXES)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert account("GET", INDEXES).status_code == 200


@pytest.mark.parametrize("message", [*D1_RETRY, *D1_TOO_MUCH])
def test_d1_can_say_everything_that_it_says_in_trouble(account: Account, message: str) -> None:
    id_ = make_database(account)
    account.emulator.faults.append(CloudflareFault(service="d1", code=7500, message=message, times=1))
    body = {"sql": "SELECT 1"}
    assert account.refusal("POST", f"d1/database/{id_}/query", json=body) == (500, 7500, message)
    assert account.result("POST", f"d1/database/{id_}/query", json=body)[0]["results"] == [{"1": 1}]


def test_a_lost_mutation_is_never_seen_and_a_later_one_is(account: Account) -> None:
    make_index(account)
    account.emulator.faults.append(CloudflareFault(kind="lost", access="write", times=1))
    upsert(account, "1")
    last = upsert(account, "2").json()["result"]["mutationId"]
    assert stored(account, "1", "2") == ["2"]
    assert account.result("GET", f"{INDEX}/info")["processedUpToMutation"] == last


def test_a_stuck_mutation_holds_up_everything_until_faults_are_cleared(account: Account) -> None:
    make_index(account)
    first = upsert(account, "1").json()["result"]["mutationId"]
    account.emulator.faults.append(CloudflareFault(kind="stuck", path="*/upsert", times=1))
    upsert(account, "2")
    upsert(account, "3")
    assert stored(account, "1", "2", "3") == ["1"]
    assert account.result("GET", f"{INDEX}/info")["processedUpToMutation"] == first
    account.emulator.clear_faults()
    assert stored(account, "1", "2", "3") == ["1", "2", "3"]


def test_an_outage_can_be_of_one_service(account: Account) -> None:
    account.emulator.faults.append(CloudflareFault(service="d1", status=503))
    assert account("GET", "d1/database").status_code == 503
    assert account("GET", INDEXES).status_code == 200


def test_an_outage_can_be_of_writes_or_of_reads(account: Account) -> None:
    make_index(account)
    query = f"d1/database/{make_database(account)}/query"
    account.emulator.faults.append(CloudflareFault(access="write", status=503))
    assert upsert(account, "1").status_code == 503
    assert account("POST", query, json={"sql": "CREATE TABLE t (a)"}).status_code == 503
    assert account("POST", query, json={"batch": [{"sql": "SELECT 1"}, {"sql": "DELETE FROM t"}]}).status_code == 503
    assert account("POST", query, json={"sql": " select 1"}).status_code == 200
    assert stored(account, "1") == []
    account.emulator.clear_faults()
    account.emulator.faults.append(CloudflareFault(access="read", status=503))
    assert upsert(account, "1").status_code == 200
    assert account("POST", query, json={"sql": "SELECT 1"}).status_code == 503


def test_a_fault_can_let_some_pass_and_meet_a_share_of_the_rest(account: Account) -> None:
    def statuses(**how: Any) -> list[int]:
        account.emulator.faults[:] = [CloudflareFault(**how)]
        return [account("GET", INDEXES).status_code for _ in range(8)]

    assert statuses(after=2, times=3) == [200, 200, 500, 500, 500, 200, 200, 200]
    assert statuses(share=0.5) == [200, 500] * 4
    assert statuses(after=1, share=0.5, times=2) == [200, 200, 500, 200, 500, 200, 200, 200]


def test_a_share_can_be_drawn_and_is_the_same_for_the_same_seed(account: Account) -> None:
    def met(seed: int) -> list[bool]:
        account.emulator.faults[:] = [CloudflareFault(share=0.3, seed=seed)]
        return [account("GET", INDEXES).status_code == 500 for _ in range(60)]

    assert met(1) == met(1) != met(2)
    dice = random.Random(1)
    assert met(1) == [dice.random() < 0.3 for _ in range(60)]


@pytest.mark.parametrize("wrong", [{"kind": "rain"}, {"access": "all"}, {"share": 0}, {"share": 2}])
def test_a_fault_that_means_nothing_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CloudflareFault(**wrong)


# --- in the sandbox ------------------------------------------------------------------------------


def test_the_switchboard_of_the_sandbox_sets_and_clears_faults_of_cloudflare() -> None:
    with CloudflareEmulator(origin="http://sandbox.test/cloudflare") as emulator:
        app = create_app(build_world(), "http://sandbox.test", cloudflare=emulator)
        headers = {"Authorization": f"Bearer {emulator.token}"}
        url = f"{emulator.base_url}/accounts/{emulator.account_id}/{INDEXES}"
        fault = {"source": "cloudflare", "kind": "status", "status": 503, "service": "vectorize", "times": 1}
        with asgi_client(app) as client:
            assert client.post("/faults", json=fault).json() == {"faults": 1, "vanished": 0}
            assert client.get(url, headers=headers).status_code == 503
            assert client.get(url, headers=headers).status_code == 200
            assert client.get("/stats").json() == {"cloudflare.vectorize.list_indexes": 2}
            client.post("/faults", json=fault)
            client.delete("/faults")
            assert client.get(url, headers=headers).status_code == 200
            assert client.post("/faults", json={**fault, "kind": "rain"}).status_code == 400


def test_a_sandbox_without_cloudflare_refuses_its_faults() -> None:
    with asgi_client(create_app(build_world(), "http://sandbox.test")) as client:
        assert client.post("/faults", json={"source": "cloudflare", "kind": "hang"}).status_code == 400
        assert client.get("/cloudflare/client/v4/").status_code == 404


def test_over_a_socket_everything_is_as_without_and_stays_when_the_sandbox_starts_anew(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, sandbox_port=free_port())
    with running(settings) as url, over_socket(url) as client:
        config = {"name": "streets", "config": {"dimensions": DIM, "metric": "cosine"}}
        assert client.post(INDEXES, json=config).status_code == 201
        id_ = client.post("d1/database", json={"name": "captures"}).json()["result"]["uuid"]
        sql = {"sql": "CREATE TABLE t (a); INSERT INTO t VALUES (?1)", "params": ["é"]}
        assert client.post(f"d1/database/{id_}/query", json=sql).json()["success"] is True
        client.post(f"{INDEX}/upsert", content=vector("1"), headers=NDJSON).raise_for_status()
        for kind, error, within_s in (("hang", httpx.ReadTimeout, 2), ("reset", httpx.RemoteProtocolError, 60)):
            fault = {"source": "cloudflare", "kind": kind, "committed": True, "path": "*/upsert", "times": 1}
            client.post(f"{url}/faults", json=fault).raise_for_status()
            with pytest.raises(error):
                client.post(f"{INDEX}/upsert", content=vector(kind), headers=NDJSON, timeout=within_s)
    with running(settings) as url, over_socket(url) as client:
        answer = client.post(f"d1/database/{id_}/query", json={"sql": "SELECT a FROM t"}).json()
        assert answer["result"][0]["results"] == [{"a": "é"}]
        assert len(client.get("d1/database").json()["result"]) == 1
        ids = {"ids": ["1", "hang", "reset"]}
        seen: list[Any] = []
        while len(seen) < 3:  # the mutations' lag passes
            seen = client.post(f"{INDEX}/get_by_ids", json=ids).json()["result"]
        assert sorted(found["id"] for found in seen) == sorted(ids["ids"])


def over_socket(url: str) -> httpx.Client:
    with CloudflareEmulator(origin=f"{url}/cloudflare") as same:
        base, token = f"{same.base_url}/accounts/{same.account_id}/", same.token
    return httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, trust_env=False)


def test_a_folder_keeps_everything_that_was_accepted(tmp_path: Path, clock: Clock) -> None:
    lag = Lag(mutation_s=60, count_s=0)
    with opened(tmp_path, clock=clock, lag=lag) as account:
        make_index(account)
        id_ = make_database(account)
        account.result("POST", f"d1/database/{id_}/query", json={"sql": "CREATE TABLE t (a)"})
        mutation = upsert(account, "1").json()["result"]["mutationId"]
    with opened(tmp_path, clock=clock, lag=lag) as account:
        assert stored(account, "1") == []
        clock.sleep(60)
        assert stored(account, "1") == ["1"]
        assert account.result("GET", f"{INDEX}/info")["processedUpToMutation"] == mutation
        assert upsert(account, "2").json()["result"]["mutationId"] != mutation
        assert account.result("GET", f"d1/database/{id_}")["num_tables"] == 1


def test_memory_keeps_nothing() -> None:
    for _ in range(2):
        with opened() as account:
            assert account.result("GET", INDEXES) == account.result("GET", "d1/database") == []
            make_index(account)
            make_database(account)


def test_requests_are_counted_by_what_they_are(account: Account) -> None:
    make_index(account)
    upsert(account, "1")
    upsert(account, "2")
    assert account.emulator.requests == {"vectorize.create_index": 1, "vectorize.upsert": 2}


def test_an_emulator_can_be_served_on_its_own() -> None:
    with CloudflareEmulator() as emulator, asgi_client(emulator.app()) as client:
        headers = {"Authorization": f"Bearer {emulator.token}"}
        url = f"/client/v4/accounts/{emulator.account_id}/{INDEXES}"
        assert client.get(url, headers=headers).json()["result"] == []
        with httpx.Client(transport=CloudflareTransport(emulator), base_url=emulator.origin, headers=headers) as same:
            assert same.get(url).json() == client.get(url, headers=headers).json()
