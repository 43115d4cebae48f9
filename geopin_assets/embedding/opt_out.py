"""What whoever serves an image says in headers against its use: X-Robots-Tag and the TDM Reservation Protocol.

Here: reading those headers, pure. Not here: which answers count and for whom it is waived (`answers.py`).
"""

from collections.abc import Iterable, Iterator

_AGAINST = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
_WITH_VALUES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
"""Rules that have a colon themselves: what stands before it is no bot."""


def opted_out(robots: Iterable[str], reservations: Iterable[str], user_agent: str) -> str:
    """What an image's headers say against its use by `user_agent`; empty if nothing.

    `robots`, `reservations`: the values of all headers X-Robots-Tag and tdm-reservation.
    """
    us = _names(user_agent)
    for line in robots:
        for bot, rule in _rules(line.casefold()):
            if (bot is None or bot in us) and (found := _AGAINST.intersection(rule.split())):
                return f"X-Robots-Tag: {min(found)}"
    values = {value.strip(" \t\"'") for line in reservations for value in line.split(",")}
    return "tdm-reservation: 1" if "1" in values else ""


def _rules(line: str) -> Iterator[tuple[str | None, str]]:
    """(bot, rule) of `rule, rule, bot: rule, rule`; None for everybody."""
    bot: str | None = None
    for part in line.replace(";", ",").split(","):
        name, colon, rule = (text.strip() for text in part.partition(":"))
        if colon and name not in _WITH_VALUES:
            bot = name.partition("/")[0]
        yield bot, rule if colon else name


def _names(user_agent: str) -> frozenset[str]:
    """What a rule may call us: the product's name, its first word, or everybody."""
    product = user_agent.partition("/")[0].strip().casefold()
    return frozenset({"*", product, product.partition("-")[0]})
