import pytest

from geopin_assets.http_client import Body


def test_a_body_that_came_in_one_piece_is_not_copied() -> None:
    body, piece = Body("", 1_000), b"x" * 1_000
    body.add(piece)
    assert body.whole() is piece and body.head(2) == b"xx" and not body.is_too_large


@pytest.mark.parametrize("size", [1, 3, 10])
def test_pieces_are_put_together_up_to_the_limit(size: int) -> None:
    sent, body = bytes(range(10)), Body("", 7)
    for start in range(0, len(sent), size):
        body.add(sent[start : start + size])
    assert body.beginning == sent[:7] and body.head(3) == sent[:3] and body.is_too_large
