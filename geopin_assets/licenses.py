"""Open licenses: which captures may be indexed, and what each license asks for.

Here: SPDX-like ids, links, and how the sources' spellings map to them. Not here: any source's
attribution text (each source builds its own, as its platform asks).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class License:
    """An open license. `asks` says in plain words what a reuser must do."""

    id: str
    url: str
    asks: str


_BY = "name the creator, link the license, say if changed"
_BY_SA = f"{_BY}; share adaptations under the same license"

_CC = "https://creativecommons.org"
_VERSIONS = ("1.0", "2.0", "2.5", "3.0", "4.0")
_PORTS = {
    "nl": ("1.0", "2.0", "2.5", "3.0"),
    "be": ("2.0",),
    "de": ("2.0", "2.5", "3.0"),
    "lu": ("3.0",),
    "fr": ("2.0", "3.0"),
    "at": ("2.0", "2.5", "3.0"),
    "ch": ("2.5", "3.0"),
    "es": ("2.0", "2.5", "3.0"),
    "it": ("2.0", "2.5", "3.0"),
    "uk": ("2.0",),
    "us": ("3.0",),
    "igo": ("3.0",),
}
"""National ports of versions below 4.0: the same terms in the words of a country's law."""


def _attribution_licenses() -> Iterator[License]:
    for kind, asks in (("by", _BY), ("by-sa", _BY_SA)):
        for version in _VERSIONS:
            yield License(f"CC-{kind.upper()}-{version}", f"{_CC}/licenses/{kind}/{version}/", asks)
        for port, versions in _PORTS.items():
            for version in versions:
                id_ = f"CC-{kind.upper()}-{version}-{port.upper()}"
                yield License(id_, f"{_CC}/licenses/{kind}/{version}/{port}/", asks)


OPEN_LICENSES: dict[str, License] = {
    license.id: license
    for license in (
        License("CC0-1.0", f"{_CC}/publicdomain/zero/1.0/", "nothing"),
        License("PDM-1.0", f"{_CC}/publicdomain/mark/1.0/", "nothing"),
        *_attribution_licenses(),
        License("etalab-2.0", "https://spdx.org/licenses/etalab-2.0.html", "name the source and the date of the data"),
    )
}

_BY_SPELLING = {id_.casefold(): id_ for id_ in OPEN_LICENSES}
_CC_URL = re.compile(
    r"(?:https?:)?//(?:www\.)?creativecommons\.org/(?P<branch>licenses|publicdomain)/(?P<kind>[a-z-]++)/(?P<version>\d\.\d)"
    r"(?:/(?P<port>[a-z]{2,3}))?(?:/|/deed(?:\.[a-z-]++)?|/legalcode(?:\.[a-z-]++)?)?"
)
_PUBLIC_DOMAIN = {"zero": "CC0", "mark": "PDM"}


def open_license(spelling: str | None) -> str | None:
    """The id of an open license for a source's spelling (any case), or None when it is not one of ours."""
    return _BY_SPELLING.get((spelling or "").strip().casefold())


def license_of_url(url: str | None) -> str | None:
    """The id of the open Creative Commons license or mark at an address, with its port; None for any other."""
    match = _CC_URL.fullmatch((url or "").strip().casefold())
    if match is None:
        return None
    if match["branch"] == "publicdomain":
        return open_license(f"{_PUBLIC_DOMAIN.get(match['kind'], '')}-{match['version']}")
    return open_license("-".join(filter(None, ("cc", match["kind"], match["version"], match["port"]))))
