"""Open licenses: which captures may be indexed, what each license asks for, and how platforms spell it.

Here: SPDX-like ids, links, what is asked, and one reader for ids, names and addresses. Not here: any source's
attribution text (each source builds its own, as its platform asks), or names that mean something on one platform only.

The reader lets through what it knows word by word; one word that it does not know, and nothing is said. A text that
says NC or ND anywhere, in whatever language, is never open.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class License:
    """An open license. `asks` says in plain words what a reuser must do."""

    id: str
    url: str
    asks: str


_BY = "name the creator, link the license, say if changed"
_BY_SA = f"{_BY}; share adaptations under the same license"

_CC = "https://creativecommons.org"
_CC_VERSIONS = ("1.0", "2.0", "2.5", "3.0", "4.0")
_PORTS = {
    "1.0": "fi il nl",
    "2.0": "at au be br ca cl de es fr hr it jp kr nl pl tw uk za",
    "2.1": "au ca es jp",
    "2.5": "ar au bg br ca ch cn co dk es hr hu il in it mk mt mx my nl pe pl pt scotland se si tw za",
    "3.0": "am at au az br ca ch cl cn cr cz de ec ee eg es fr ge gr gt hk hr ie igo it lu nl no nz ph pl pr pt ro rs"
    " sg th tw ug us ve vn za",
}
"""All official ports of BY and BY-SA: the same terms in the words of a country's law. Version 4.0 has none."""


def _creative_commons() -> Iterator[License]:
    for kind, asks in (("by", _BY), ("by-sa", _BY_SA)):
        for version in sorted({*_CC_VERSIONS, *_PORTS}):
            for port in ([""] if version in _CC_VERSIONS else []) + _PORTS.get(version, "").split():
                id_ = "-".join(filter(None, ("CC", kind.upper(), version, port.upper())))
                yield License(id_, f"{_CC}/licenses/{kind}/{version}/{port}{'/' if port else ''}", asks)


_OGL = "https://www.nationalarchives.gov.uk/doc/open-government-licence/version"
_OGL_ASKS = "show the provider's attribution statement, link the license"
_DL_DE = "https://www.govdata.de/dl-de"
_DL_DE_ASKS = "name the provider, the license with its link and where the data are from; say if changed"
_ETALAB_ASKS = "name the source and the date of the data"
_LAL_ASKS = (
    "name the creator, link the license, say where the original is; share copies and adaptations under the same license"
)

OPEN_LICENSES: dict[str, License] = {
    license.id: license
    for license in (
        License("CC0-1.0", f"{_CC}/publicdomain/zero/1.0/", "nothing"),
        License("PDM-1.0", f"{_CC}/publicdomain/mark/1.0/", "nothing"),
        *_creative_commons(),
        *(License(f"OGL-UK-{n}.0", f"{_OGL}/{n}/", _OGL_ASKS) for n in (1, 2, 3)),
        License("OGL-Canada-2.0", "https://open.canada.ca/en/open-government-licence-canada", _OGL_ASKS),
        License("DL-DE-BY-1.0", f"{_DL_DE}/by-1-0", _DL_DE_ASKS),
        License("DL-DE-BY-2.0", f"{_DL_DE}/by-2-0", _DL_DE_ASKS),
        License("DL-DE-ZERO-2.0", f"{_DL_DE}/zero-2-0", "nothing"),
        License("etalab-1.0", "https://www.etalab.gouv.fr/wp-content/uploads/2014/05/Open_Licence.pdf", _ETALAB_ASKS),
        License("etalab-2.0", "https://spdx.org/licenses/etalab-2.0.html", _ETALAB_ASKS),
        License(
            "ODbL-1.0",
            "https://opendatacommons.org/licenses/odbl/1-0/",
            "name the database, link the license; share databases made from it under the same license",
        ),
        License("LAL-1.2", "https://artlibre.org/licence/lal/licence-art-libre-12/", _LAL_ASKS),
        License("LAL-1.3", "https://artlibre.org/licence/lal/", _LAL_ASKS),
    )
}
OF_DATABASES = frozenset({"ODbL-1.0"})
"""Said of a collection, these cover the collection and not the images in it."""

_RESTRICTED = re.compile(r"\bn[cd]\b|[ck]omm?+er[ckz]|deriv|afgeleid|bearbeit|modif")
"""NC and ND, in the languages of Western Europe."""


@lru_cache(1000)
def is_restricted(text: str | None) -> bool:
    """Whether a license's name or address says that commerce or changes are not free, or speaks of them at all."""
    return _RESTRICTED.search(_plain(text).replace("_", " ")) is not None


@lru_cache(1000)
def open_license(spelling: str | None) -> str | None:
    """The id of the open license that an id, a name or an address means; None for any other, and for a name in doubt.

    Of several that are offered (`4.0-3.0-2.5`, `CC-BY-4.0 OR etalab-2.0`) the newest.
    """
    text = _plain(spelling)
    if is_restricted(text):
        return None
    if (found := _of_address(text)) is not None:
        return found or None
    offers = [_offered(offer) for offer in f" {_words(text)} ".split(" or ")]
    return newest(offers) if all(offer is not None for offer in offers) else None


@lru_cache(1000)
def license_of_url(url: str | None) -> str | None:
    """The same for what has to be an address."""
    text = _plain(url)
    return None if is_restricted(text) else _of_address(text) or None


def newest(ids: Iterable[str | None]) -> str | None:
    """Of some open licenses the one of the highest version, the least demanding first; None if there is none."""
    known = sorted(filter(None, ids), key=list(OPEN_LICENSES).index)
    return max(known, key=_version, default=None)


def _version(id_: str) -> str:
    return next(part for part in id_.split("-") if part[0].isdigit())


_LONGEST = 500
_DASHES = re.compile(r"[\u2010-\u2015\u2212]")
_GLUED = re.compile(r"\b(ogl|fal|lal|lo|by|sa|odbl|etalab)v?(?=\d)")
_BETWEEN_WORDS = re.compile(r"[\s\-_/,;:()\[\]|]++")
_SAYINGS = (
    ("creative commons", "cc"),
    ("creativecommons", "cc"),
    ("cc 0", "cc0"),
    ("cc zero", "cc0"),
    ("license", "licence"),
    *((words, "by") for words in ("attribution", "naamsvermelding", "namensnennung")),
    *((words, "sa") for words in ("share alike", "sharealike", "gelijkdelen", "gelijk delen")),
    ("weitergabe unter gleichen bedingungen", "sa"),
    ("partage dans les mêmes conditions", "sa"),
    *((words, "+") for words in ("or any later version", "or any later", "or later version", "or later", "all")),
    ("ccby", "cc by"),
    ("ccbysa", "cc by sa"),
    ("fr lo", "licence ouverte 1"),
    *((word, "") for word in ("international", "unported", "generic", "universal", "version", "versie")),
    *((words, "") for words in ("migrated", "with disclaimers", "heirs", "stma", "deed")),  # templates, pages
)
"""What is said in other words, and what says nothing, in this order."""
_COUNTRIES = (
    "am armenia|ar argentina|at austria|au australia|az azerbaijan|be belgium|bg bulgaria|br brazil|ca canada"
    "|ch switzerland|cl chile|cn china mainland|cn china|co colombia|cr costa rica|cz czech republic|de germany"
    "|dk denmark|ec ecuador|ee estonia|eg egypt|es spain|fi finland|fr france|ge georgia|gr greece|gt guatemala"
    "|hk hong kong|hr croatia|hu hungary|ie ireland|il israel|in india|it italy|jp japan|kr south korea|kr korea"
    "|lu luxembourg|mk macedonia|mt malta|mx mexico|my malaysia|nl netherlands|no norway|nz new zealand|pe peru"
    "|ph philippines|pl poland|pr puerto rico|pt portugal|ro romania|rs serbia|se sweden|sg singapore|si slovenia"
    "|th thailand|tw taiwan|ug uganda|uk united kingdom|uk england wales|us united states|ve venezuela|vn vietnam"
    "|za south africa|igo intergovernmental organization"
)
_PORT_NAMES = tuple((name, code) for code, _, name in (pair.partition(" ") for pair in _COUNTRIES.split("|")))
_PORT_CODES = frozenset(" ".join(_PORTS.values()).split())
_STATEMENT = re.compile(r"(?:cc )?+by(?P<sa> sa\b)?+(?P<rest>(?: (?!cc\b|by\b)\S++)*+) ?")
_FAMILIES = {
    "CC0": ("cc0", "cc0 public domain dedication", "public domain dedication cc0"),
    "PDM": ("pdm", "cc pdm", "public domain mark", "cc public domain mark"),
    "OGL-UK": (
        *("ogl", "ogl uk", "uk ogl", "open government licence", "open government licence uk"),
        "uk open government licence",
    ),
    "OGL-Canada": ("ogl ca", "open government licence ca", "ca open government licence", "ca ogl lgo"),
    "DL-DE-BY": ("dl de by", "dl by de", "datenlizenz deutschland by"),
    "DL-DE-ZERO": ("dl de zero", "dl zero de", "datenlizenz deutschland zero"),
    "etalab": (
        *("etalab", "lo", "licence ouverte", "licence ouverte open licence", "etalab open licence"),
        "open licence etalab",
    ),
    "ODbL": ("odbl", "odc odbl", "open database licence", "open data commons open database licence"),
    "LAL": ("fal", "lal", "free art licence", "licence art libre"),
}  # fmt: skip
_NAMES = {tuple(name.split()): family for family, names in _FAMILIES.items() for name in names}
_WITHOUT_VERSION = {"CC0": "1.0", "PDM": "1.0", "ODbL": "1.0", "LAL": "1.3"}
"""What a name alone means: where there is one version only, or the newest is meant by whoever publishes the license."""
_NOT_OURS = frozenset({"gfdl", "gnu free documentation licence"})
"""Open as well, but not for single images: what else is offered counts."""


def _plain(text: str | None) -> str:
    """In small letters, with plain dashes and blanks, and nothing that cannot be seen; of a long text, nothing."""
    known = "" if text is None or len(text) > _LONGEST else text
    folded = _DASHES.sub("-", unicodedata.normalize("NFKC", known).casefold())
    return "".join(c for c in folded if unicodedata.category(c) != "Cf").strip()


def _words(text: str) -> str:
    """A name in the reader's words, one blank between them; versions as `3.0`, later ones that are meant too as `+`."""
    text = _BETWEEN_WORDS.sub(" ", text.replace("+", " + "))
    text = f" {_GLUED.sub(_apart, text)} "
    for said, short in (*_SAYINGS, *_PORT_NAMES):
        text = text.replace(f" {said} ", f" {short} " if short else " ")
    words: list[str] = []
    for word in text.split():
        word = word.removeprefix("v") if word[1:2].isdigit() else word
        if _is_digit(word) and words and _is_digit(words[-1]):
            word = f"{words.pop()}.{word}"  # by-2-0
        words.append(word)
    text = " ".join(f"{word}.0" if _is_digit(word) else word for word in words)
    return re.sub(r" and (?=\d)", " ", text)


def _apart(glued: re.Match[str]) -> str:
    return f"{glued[1]} "


def _is_digit(word: str) -> bool:
    return len(word) == 1 and word in "0123456789"


def _is_version(word: str) -> bool:
    return len(word) == 3 and word[1] == "." and _is_digit(word[0]) and _is_digit(word[2])


def _offered(words: str) -> str | None:
    """The license of one offer; empty for one that is known and none of ours, None for one that is not understood."""
    name = [word for word in words.split() if not _is_version(word)]
    versions = list(filter(_is_version, words.split()))
    if " ".join(name) in _NOT_OURS:
        return ""
    if (family := _family(name)) is not None:
        versions = versions or [_WITHOUT_VERSION.get(family, "")]
        return newest(id_ for version in versions if (id_ := f"{family}-{version}") in OPEN_LICENSES)
    return _of_statements(f"{words.strip().replace(' licence', '')} ")


def _family(name: Sequence[str]) -> str | None:
    """The family that a name means, or several names that mean the same one."""
    found = set()
    while name:
        length = next((n for n in range(len(name), 0, -1) if tuple(name[:n]) in _NAMES), 0)
        found.add(_NAMES.get(tuple(name[:length])))
        name = name[length or len(name) :]
    return found.pop() if len(found) == 1 else None


def _of_statements(text: str) -> str | None:
    """Of one or several statements about Creative Commons' licenses, all of which have to be understood."""
    found: list[str | None] = []
    at = 0
    while match := _STATEMENT.match(text, at):
        at = match.end()
        found.append(_of_statement("BY-SA" if match["sa"] else "BY", match["rest"].split()))
    return newest(found) if at == len(text) and all(found) else None


def _of_statement(kind: str, rest: Sequence[str]) -> str | None:
    """By versions and a port."""
    versions = [*filter(_is_version, rest), *("4.0" for word in rest if word == "+")]
    ports = [word for word in rest if not _is_version(word) and word != "+"]
    if len(ports) > 1:
        return None
    ids = ("-".join(("CC", kind, version, *ports)).upper() for version in versions)
    return newest(id_ for id_ in ids if id_ in OPEN_LICENSES)


_ADDRESS = re.compile(
    r"\A(?:(?:https?:)?+//)?+(?:www\.)?+(?P<place>[a-z0-9-]++(?:\.[a-z0-9-]++)++/[^?#]*+)(?:[?#].*+)?+"
)
_OTHER_ADDRESSES = {
    "dcat-ap.de/def/licenses/dl-by-de/1.0": "DL-DE-BY-1.0",
    "dcat-ap.de/def/licenses/dl-by-de/2.0": "DL-DE-BY-2.0",
    "dcat-ap.de/def/licenses/dl-zero-de/2.0": "DL-DE-ZERO-2.0",
    "alliance.numerique.gouv.fr/licence-ouverte-open-licence": "etalab-2.0",
    "etalab.gouv.fr/licence-ouverte-open-licence": "etalab-2.0",
    "etalab.gouv.fr/wp-content/uploads/2014/05/licence_ouverte.pdf": "etalab-1.0",
    "etalab.gouv.fr/wp-content/uploads/2017/04/etalab-licence-ouverte-v2.0.pdf": "etalab-2.0",
    "github.com/etalab/licence-ouverte/blob/master/lo.md": "etalab-2.0",
    "nationalarchives.gov.uk/doc/open-government-licence": "OGL-UK-3.0",  # the page that shows the newest
    "open.canada.ca/fr/licence-du-gouvernement-ouvert-canada": "OGL-Canada-2.0",
    "reference.data.gov.uk/id/open-government-licence": "OGL-UK-3.0",
    "opendatacommons.org/licenses/odbl": "ODbL-1.0",
    "opendatacommons.org/licenses/odbl/1.0": "ODbL-1.0",
    "opendatacommons.org/licenses/odbl/summary": "ODbL-1.0",
    "raw.githubusercontent.com/disic/politique-de-contribution-open-source/master/license": "etalab-2.0",
}
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][a-z]{2,4})?+")


def _place(text: str) -> str | None:
    """Host and path of an address, without what changes nothing; None for what is no address."""
    match = _ADDRESS.fullmatch(text)
    return match and match["place"].rstrip("/").removesuffix(".html")


_PLACES = {_place(license.url.casefold()): license.id for license in OPEN_LICENSES.values()} | _OTHER_ADDRESSES


def _of_address(text: str) -> str | None:
    """The open license at an address, in plain letters; empty for another address, None for what is none."""
    if (place := _place(text)) is None:
        return None
    host, *path = place.split("/")
    if host == "creativecommons.org":
        return _of_deed(path) or ""
    if host == "spdx.org" and path[:1] == ["licenses"]:
        return open_license(" ".join(path[1:])) or ""
    if host == "artlibre.org" and len(path) > 2 and _LANGUAGE.fullmatch(path[-1]):
        place = place.removesuffix(f"/{path[-1]}")
    return _PLACES.get(place, "")


def _of_deed(path: Sequence[str]) -> str | None:
    """Creative Commons' own: licenses/kind/version/port/language/deed."""
    branch, kind, versions, *rest = [*path, "", "", ""]
    rest = [part for part in rest if part and not part.startswith(("deed", "legalcode"))]
    if branch == "publicdomain" and kind in ("zero", "mark") and not rest:
        return open_license(f"{'cc0' if kind == 'zero' else 'pdm'} {versions}")
    port, language = (*rest, "", "")[:2]
    is_one = branch == "licenses" and kind in ("by", "by-sa") and port in _PORT_CODES | {""} and len(rest) <= 2
    return open_license(f"cc {kind} {versions} {port}") if is_one and _LANGUAGE.fullmatch(language or "en") else None
