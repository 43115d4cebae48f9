"""Which files of Commons show a street: by format, size, title, categories and restrictions.

Here: pure rules and their words, on the careful side: what is not clearly something else stays. Not here: reading a
page (`read.py`).

Phrases are matched as whole words, in lower case, with hyphens as spaces; `*` is the rest of a word. Only words that
nobody uses of a street are here: no "munt" (a square in Amsterdam), no "kever" (a car), no "paddenstoel" (a signpost),
no "plan" (a quarter: Plan Zuid), no "museum" and no "indoor" in categories (buildings, seen from outside).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

HARMLESS = (
    *("ministry of the interior", "interior courtyard*", "interior design*", "drawing room*", "chalk drawing*"),
    *("wall painting*", "mural painting*", "street painting*", "pavement painting*", "trompe l'oeil painting*"),
    *("pages with maps", "self published document*", "map board*", "street organ*"),
)
"""Taken out before anything is looked for."""

ANYWHERE = {
    "interior": (
        *("*interieur", "*interieurs", "interior", "interiors", "indoors", "binnenaanzicht*", "preekstoel", "pulpit*"),
        *("kerkorgel*", "church organ*", "pipe organ*", "plafondschildering*", "altaarstuk*", "altarpiece*"),
    ),
    "portrait": (
        *("portret van", "portretten", "portretfoto*", "zelfportret*", "staatsieportret*", "portrait of"),
        *("portraits", "portraits of", "portrait photograph*", "self portrait*", "headshot*"),
    ),
    "aerial view": (
        *("*luchtfoto*", "*luchtopname*", "dronefoto*", "drone foto*", "drone photo*", "drone picture*"),
        *("aerial photo*", "aerial view*", "aerial picture*", "aerial image*", "aerial shot*", "aerial panoram*"),
        *("vanuit de lucht", "from the air", "from an airplane*", "bird's eye view*", "orthophoto*"),
        *("satellite image*", "satellite picture*", "satellietfoto*", "satellietbeeld*", "taken with dji mavic*"),
        *("taken with dji phantom*", "taken with dji mini*", "taken with dji air*"),
    ),
    "map or plan": (
        *("*plattegrond*", "landkaart*", "stadskaart*", "kaart van", "topografische kaart*", "kadasterkaart*"),
        *("map of", "maps of", "old map*", "street map*", "floor plan*", "ground plan*", "site plan*", "minuutplan*"),
    ),
    "drawing": (
        *("tekening", "tekeningen", "pentekening*", "bouwtekening*", "bestektekening*", "drawing", "drawings"),
        *("architectural drawing*", "blueprint*", "sketch of", "schets van", "gravure*", "engravings", "etching*"),
        *("ets van", "litho", "lithograph*", "prent", "prenten", "woodcut*", "watercolor*", "watercolour*", "aquarel*"),
        *("diagram*", "schematic*", "screenshot*", "logo's", "logos"),
    ),
    "painting": (
        *("schilderij", "schilderijen", "painting", "paintings", "oil on canvas", "olieverf*", "pd art"),
        *("artworks with known accession number*", "artworks with wikidata item*"),
    ),
    "document": (
        *("document", "documents", "documenten", "manuscript", "manuscripts", "manuscripten", "handschrift*"),
        *("oorkonde*", "krantenknipsel*", "newspaper clipping*", "postzegel*", "postage stamp*", "sheet music"),
        *("bladmuziek", "book cover*", "boekomslag*", "book illustration*", "scans of", "book scan*"),
        *("pd scan", "biodiversity heritage library", "internet archive book images"),
    ),
    "museum object": (
        *("museum object*", "museumobject*", "museumstuk*", "museum artefact*", "museum artifact*", "exhibits in"),
        *("archaeological find*", "archeologische vondst*", "bodemvondst*", "potscherf*", "potscherven"),
        *("media donated by naturalis*", "holotype*", "herbarium*", "specimens", "fossil", "fossils", "fossiel"),
        *("fossielen", "skulls", "schedels"),
        *("coin", "coins", "munten", "muntstuk*", "banknote*", "bankbiljet*", "medals", "medaille*"),
    ),
    "animal or plant": (
        *("insect", "insects", "insecten", "butterflies", "vlinders", "moths", "nachtvlinder*", "beetles", "kevers"),
        *("dragonflies", "libellen", "bumblebees", "hommels", "lepidoptera", "coleoptera", "hymenoptera", "odonata"),
        *("diptera", "araneae", "fungi", "lichens", "macro photo*", "macro shot*", "close up photo*"),
    ),
}
"""What a title or a category can show -> its phrases."""

IN_TITLES = {
    "interior": ("indoor",),
    "portrait": ("portret", "portrait"),
    "aerial view": ("aerial", "satellite"),
    "map or plan": ("kaart", "map"),
    "document": ("scan", "scans", "ingescand"),
}
"""Words too common in names of categories."""

FULL_CIRCLE = (
    *("360° panoram*", "360 degree panoram*", "photo sphere*", "photosphere*", "spherical panoram*"),
    *("equirectangular*", "bolpanorama*", "kogelpanorama*"),
)
"""What titles and categories of equirectangular images say."""

RESTRICTIONS = ("personality", "currency", "costume", "2257")
"""Restrictions that name another subject than a street: persons, money, dressed-up people."""


MIN_SIDE_PX = 640
MAX_ASPECT = 2.2  # wider or higher ones are stitched: straight streets bend in them
_SPHERE_TOLERANCE = 0.02  # of 2:1


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a file without looking at it."""

    title: str
    """With namespace and extension, as Commons writes it."""
    mime: str
    width: int
    height: int
    categories: tuple[str, ...] = ()
    restrictions: tuple[str, ...] = ()

    @property
    def aspect(self) -> float:
        """The longer side in shorter ones; infinite for a picture without sides."""
        shorter = min(self.width, self.height)
        return max(self.width, self.height) / shorter if shorter > 0 else float("inf")

    @property
    def is_sphere(self) -> bool:
        """Whether it is a full sphere: 2:1, and called so."""
        return abs(self.width - 2 * self.height) <= 2 * _SPHERE_TOLERANCE * self.height and any(
            _SPHERE.search(_plain(text)) for text in (self.title, *self.categories)
        )


def other_subject(picture: Picture) -> str | None:
    """What a file shows instead of a street, in a few words, or None if it may show one."""
    if picture.mime != "image/jpeg":
        return f"not a JPEG but {picture.mime}"
    if min(picture.width, picture.height) < MIN_SIDE_PX:
        return f"only {picture.width} x {picture.height}"
    if picture.aspect > MAX_ASPECT:
        return f"stitched, {picture.width} x {picture.height}"
    if named := sorted(set(picture.restrictions).intersection(RESTRICTIONS)):
        return f"restricted for {named[0]}"
    return subject_of_words(picture.title, picture.categories)


def subject_of_words(title: str, categories: Iterable[str]) -> str | None:
    """The first subject other than a street that a title or a category names."""
    name = _plain(title.removeprefix("File:").rpartition(".")[0] or title)
    if found := _TITLES.search(name):
        return found.lastgroup and found.lastgroup.replace("_", " ")
    for category in categories:
        if found := _CATEGORIES.search(_plain(category)):
            return found.lastgroup and found.lastgroup.replace("_", " ")
    return None


def _pattern(phrases: Iterable[str]) -> str:
    """Any of the phrases as whole words."""
    escaped = (re.escape(phrase).replace(r"\*", r"\w{0,60}") for phrase in phrases)
    return rf"(?<!\w)(?:{'|'.join(escaped)})(?!\w)"


def _subjects(*tables: Mapping[str, tuple[str, ...]]) -> re.Pattern[str]:
    """One group for each subject, named after it."""
    names = dict.fromkeys(name for table in tables for name in table)
    phrases = {name: [phrase for table in tables for phrase in table.get(name, ())] for name in names}
    return re.compile("|".join(f"(?P<{name.replace(' ', '_')}>{_pattern(phrases[name])})" for name in names))


_SPHERE = re.compile(_pattern(FULL_CIRCLE))
_HARMLESS = re.compile(_pattern(HARMLESS))
_TITLES, _CATEGORIES = _subjects(ANYWHERE, IN_TITLES), _subjects(ANYWHERE)


def _plain(text: str) -> str:
    """Lower case, single spaces for hyphens and underscores, without the harmless phrases."""
    return _HARMLESS.sub(" ", " ".join(re.sub(r"[-_–]", " ", text).replace("’", "'").casefold().split()))
