"""Words by which titles and categories of Commons say that a picture shows no street. Data only.

Phrases are matched as whole words, in lower case, with hyphens as spaces; `*` is the rest of a word. Only words that
nobody uses of a street are here: no "munt" (a square in Amsterdam), no "kever" (a car), no "paddenstoel" (a signpost),
no "plan" (a quarter: Plan Zuid), no "museum" and no "indoor" in categories (buildings, seen from outside).
"""

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
        *(
            "media donated by naturalis*",
            "holotype*",
            "herbarium*",
            "specimens",
            "fossil",
            "fossils",
            "fossiel",
            "fossielen",
            "skulls",
            "schedels",
        ),
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
