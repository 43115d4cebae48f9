import pytest

from geopin_assets.http_client.exchange import Answer, asked_wait_s

NOW_S = 1_750_000_000.0  # 2025-06-15 15:06:40 UTC


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        *(("0", 0), (" 120 ", 120), ("Sun, 15 Jun 2025 15:07:40 GMT", 60), ("Sun, 15 Jun 2025 15:00:00 GMT", 0)),
        *(("Sun, 15 Jun 2025 17:07:40 +0200", 60), ("Sun, 15 Jun 2025 15:07:40", 60)),
        *(("", None), ("soon", None), ("-5", None), ("1.5", None), ("Sun, 99 Jun 2025", None)),
        *(("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None), ("Mon, 01 Jan 2030 00:00:00 +99999999", None)),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(header: str, wait_s: float | None) -> None:
    assert asked_wait_s(header, NOW_S) == wait_s


def test_a_429_that_says_nothing_means_a_minute_and_a_503_means_nothing() -> None:
    answers = [Answer(status, {"retry-after": "soon"}, b"") for status in (429, 503)]
    assert [answer.retry_after_s(NOW_S) for answer in answers] == [60, None]
