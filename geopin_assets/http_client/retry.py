"""Which failures are tried again, after how long, and when it is over.

Here: the policy, on tenacity. Not here: what makes an answer a failure (`client.py`).
"""

from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential_jitter

from geopin_assets.errors import SourceUnavailable, TransientError

_backoff = wait_exponential_jitter(initial=1, max=30, jitter=1)


def retrying(*, attempts: int, max_wait_s: float, sleep: Callable[[float], None]) -> Retrying:
    """Try TransientErrors up to `attempts` times, 1, 2, 4, … s apart plus jitter, or as long as the server asks.

    The last error is raised as it is, at once if the server asks for more than `max_wait_s`.
    """
    return Retrying(
        retry=retry_if_exception(_is_worth_another_attempt),
        stop=lambda state: state.attempt_number >= attempts or _asked_wait_s(state) > max_wait_s,
        wait=lambda state: max(_asked_wait_s(state), _backoff(state)),
        sleep=sleep,
        reraise=True,
    )


def _is_worth_another_attempt(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, SourceUnavailable)


def _asked_wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after_s or 0.0) if isinstance(error, TransientError) else 0.0
