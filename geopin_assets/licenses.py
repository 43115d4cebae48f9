"""Open licenses: which captures may be indexed, and what each license asks for.

Here: SPDX-like ids, links, and how the sources' spellings map to them. Not here: any source's
attribution text (each source builds its own, as its platform asks).
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class License:
    """An open license. `asks` says in plain words what a reuser must do."""

    id: str
    url: str
    asks: str


_BY = "name the creator, link the license, say if changed"
_BY_SA = f"{_BY}; share adaptations under the same license"

OPEN_LICENSES: dict[str, License] = {
    license.id: license
    for license in (
        License("CC0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/", "nothing"),
        License("PDM-1.0", "https://creativecommons.org/publicdomain/mark/1.0/", "nothing"),
        License("CC-BY-1.0", "https://creativecommons.org/licenses/by/1.0/", _BY),
        License("CC-BY-2.0", "https://creativecommons.org/licenses/by/2.0/", _BY),
        License("CC-BY-2.5", "https://creativecommons.org/licenses/by/2.5/", _BY),
        License("CC-BY-3.0", "https://creativecommons.org/licenses/by/3.0/", _BY),
        License("CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/", _BY),
        License("CC-BY-1.0-NL", "https://creativecommons.org/licenses/by/1.0/nl/", _BY),
        License("CC-BY-2.5-NL", "https://creativecommons.org/licenses/by/2.5/nl/", _BY),
        License("CC-BY-3.0-NL", "https://creativecommons.org/licenses/by/3.0/nl/", _BY),
        License("CC-BY-SA-1.0", "https://creativecommons.org/licenses/by-sa/1.0/", _BY_SA),
        License("CC-BY-SA-2.0", "https://creativecommons.org/licenses/by-sa/2.0/", _BY_SA),
        License("CC-BY-SA-2.5", "https://creativecommons.org/licenses/by-sa/2.5/", _BY_SA),
        License("CC-BY-SA-3.0", "https://creativecommons.org/licenses/by-sa/3.0/", _BY_SA),
        License("CC-BY-SA-4.0", "https://creativecommons.org/licenses/by-sa/4.0/", _BY_SA),
        License("CC-BY-SA-1.0-NL", "https://creativecommons.org/licenses/by-sa/1.0/nl/", _BY_SA),
        License("CC-BY-SA-2.5-NL", "https://creativecommons.org/licenses/by-sa/2.5/nl/", _BY_SA),
        License("CC-BY-SA-3.0-NL", "https://creativecommons.org/licenses/by-sa/3.0/nl/", _BY_SA),
        License("etalab-2.0", "https://spdx.org/licenses/etalab-2.0.html", "name the source and the date of the data"),
    )
}

_BY_SPELLING = {id_.casefold(): id_ for id_ in OPEN_LICENSES}
_CC_URL = re.compile(
    r"(?:https?:)?//(?:www\.)?creativecommons\.org/(?P<branch>licenses|publicdomain)/(?P<kind>[a-z-]+)/(?P<version>\d\.\d)"
    r"(?:/(?P<port>[a-z]{2,3}))?(?:/|/deed(?:\.[a-z-]+)?|/legalcode(?:\.[a-z-]+)?)?"
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
