"""An instance elsewhere, asked through its webserver: launch a backfill, re-execute it, how far it is, what failed.

Here: questions and what the answers mean. Not here: which cells, or what a person sees of it (`backfill.py`).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from gql import Client, GraphQLRequest
from gql.transport import Transport
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.requests import RequestsHTTPTransport

from geopin_assets.defs.running.backfills import BackfillState
from geopin_assets.errors import PermanentError, TransientError

_TIMEOUT_S = 120
_EVENTS_AT_ONCE = 1000
_ERROR = "__typename ... on Error { message }"
_LAUNCH = f"""
mutation($params: LaunchBackfillParams!) {{
  answer: launchPartitionBackfill(backfillParams: $params) {{ ... on LaunchBackfillSuccess {{ backfillId }} {_ERROR} }}
}}"""
_RETRY = f"""
mutation($params: ReexecutionParams) {{
  answer: reexecutePartitionBackfill(reexecutionParams: $params) {{
    ... on LaunchBackfillSuccess {{ backfillId }} {_ERROR}
  }}
}}"""
_BACKFILL = f"""
query($id: String!) {{ answer: partitionBackfillOrError(backfillId: $id) {{
  ... on PartitionBackfill {{
    status title error {{ message }}
    assetBackfillData {{ assetBackfillStatuses {{ ... on AssetPartitionsStatusCounts {{
      numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed
    }} }} }}
  }}
  {_ERROR}
}} }}"""
_FAILED_RUNS = f"""
query($id: String!) {{ answer: runsOrError(
  filter: {{statuses: [FAILURE], tags: [{{key: "dagster/backfill", value: $id}}]}}
) {{ ... on Runs {{ results {{ runId }} }} {_ERROR} }} }}"""
_EVENTS = f"""
query($run: ID!, $after: String, $limit: Int) {{ answer: logsForRun(runId: $run, afterCursor: $after, limit: $limit) {{
  ... on EventConnection {{ cursor hasMore events {{
    ... on ExecutionStepFailureEvent {{ error {{ message }} failureMetadata {{ metadataEntries {{
      label ... on JsonMetadataEntry {{ jsonString }}
    }} }} }}
    ... on RunFailureEvent {{ error {{ message }} message }}
  }} }}
  {_ERROR}
}} }}"""
_CELLS = f"""
query($key: AssetKeyInput!) {{ answer: assetNodeOrError(assetKey: $key) {{
  ... on AssetNode {{ assetPartitionStatuses {{ ... on DefaultPartitionStatuses {{ materializedPartitions }} }} }}
  {_ERROR}
}} }}"""
_DAEMON = """{ instance { daemonHealth { daemonStatus(daemonType: "BACKFILL") { healthy } } } }"""


class Webserver:
    """The webserver at `url`, behind the door of `geopin ui` or not. `transport` replaces HTTP in tests.

    Every method raises TransientError when nothing answers there, PermanentError when the answer is no.
    """

    def __init__(self, url: str, *, token: str = "", transport: Transport | None = None) -> None:
        self.url = url.rstrip("/")
        self._client = Client(transport=transport or _http(f"{self.url}/graphql", token))

    def launch(self, key: str, cell_ids: Sequence[str], *, title: str, tags: dict[str, str]) -> str:
        """Start a backfill of one asset; its id."""
        params = {
            "assetSelection": [{"path": key.split("/")}],
            "partitionNames": list(cell_ids),
            "title": title,
            "tags": [{"key": name, "value": value} for name, value in tags.items()],
        }
        return str(self._ask(_LAUNCH, params=params)["backfillId"])

    def retry(self, backfill_id: str) -> str:
        """Start a backfill of what another one, which has ended, did not finish; the id of the new one."""
        params = {"parentRunId": backfill_id, "strategy": "FROM_FAILURE"}
        return str(self._ask(_RETRY, params=params)["backfillId"])

    def state(self, backfill_id: str) -> BackfillState:
        """How far it is."""
        found = self._ask(_BACKFILL, id=backfill_id)
        counts = (found["assetBackfillData"] or {"assetBackfillStatuses": []})["assetBackfillStatuses"]
        cells, done, failed = (
            sum(asset[f"numPartitions{what}"] for asset in counts) for what in ("Targeted", "Materialized", "Failed")
        )
        error = (found["error"] or {"message": ""})["message"]
        return BackfillState(found["title"] or backfill_id, found["status"], cells, done, failed, error)

    def failures(self, backfill_id: str) -> Iterator[tuple[str, str]]:
        """(cell or run, error) of the backfill's runs that failed; of a run with many, those it shows itself."""
        for run in self._ask(_FAILED_RUNS, id=backfill_id)["results"]:
            yield from self._failures_of_run(run["runId"])

    def materialized(self, key: str) -> set[str]:
        """Cells of an asset whose latest attempt was not a failure."""
        found = self._ask(_CELLS, key={"path": key.split("/")})
        return set(found["assetPartitionStatuses"]["materializedPartitions"])

    def has_daemon(self) -> bool:
        """Whether something is there that starts the runs of backfills."""
        return bool(self._execute(_DAEMON, {})["instance"]["daemonHealth"]["daemonStatus"]["healthy"])

    def _failures_of_run(self, run_id: str) -> Iterator[tuple[str, str]]:
        """Its failed cells; where the run ended without naming any, the run itself."""
        cursor, has_more, cells, ending = None, True, dict[str, str](), ""
        while has_more:
            page = self._ask(_EVENTS, run=run_id, after=cursor, limit=_EVENTS_AT_ONCE)
            cursor, has_more = page["cursor"], page["hasMore"]
            for event in filter(None, page["events"]):
                cells |= _failed_cells(event)
                ending = (event.get("error") or {}).get("message") or event.get("message") or ending
        yield from cells.items() or [(f"run {run_id[:8]}", _first_line(ending) or "ended early")]

    def _ask(self, question: str, **variables: Any) -> dict[str, Any]:
        """The one `answer` of a question."""
        answer = self._execute(question, variables)["answer"]
        if "message" in answer:
            raise PermanentError(f"Dagster at {self.url} refuses: {_first_line(answer['message'])}")
        return dict(answer)

    def _execute(self, question: str, variables: dict[str, Any]) -> dict[str, Any]:
        try:
            return dict(self._client.execute(GraphQLRequest(question, variable_values=variables)))
        except TransportQueryError as error:
            said = "; ".join(str(e.get("message", e)) for e in error.errors or [])
            raise PermanentError(f"Dagster at {self.url} refuses: {_first_line(said)}") from error
        except (TransportError, OSError) as error:
            raise TransientError(
                f"no Dagster webserver answers at {self.url}: start it with `make ui`, or say --url"
            ) from error


def _http(address: str, token: str) -> RequestsHTTPTransport:
    """Directly: what the environment sends through a proxy does not reach this machine."""
    headers = {"Authorization": b"Bearer " + token.encode()} if token else {}
    return RequestsHTTPTransport(address, headers=headers, timeout=_TIMEOUT_S, proxies={"http": "", "https": ""})


def _failed_cells(event: dict[str, Any]) -> dict[str, str]:
    """What `ranges.py` put on a step's failure."""
    entries = (event.get("failureMetadata") or {"metadataEntries": []})["metadataEntries"]
    return next((orjson.loads(entry["jsonString"]) for entry in entries if entry["label"] == "failed"), {})


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
