import pytest

from geopin_assets.sources.wikimedia_commons.streets import Picture, other_subject, subject_of_words

STREETS = [
    "Amsterdam, straatzicht op de Herengracht vanaf de Leidsestraat.jpg",
    "Muntplein Amsterdam 2015.jpg",
    "De Munt, Amsterdam.jpg",
    "Museumplein met Rijksmuseum.jpg",
    "Exterieur VOORGEVEL - Delft - 20052345 - RCE.jpg",
    "Overzicht voor- en zijgevel - Zutphen - 20221178 - RCE.jpg",
    "Interieurstraat hoek Portretlaan.jpg",
    "Kaartenmakerstraat 3, Zwolle.jpg",
    "Schilderswijk Den Haag.jpg",
    "Muurschildering Blaak, Rotterdam.jpg",
    "Wall painting in Groningen.jpg",
    "Berlage, Plan Zuid, Vrijheidslaan.jpg",
    "ANWB-paddenstoel 21763 bij Ede.jpg",
    "Volkswagen Kever, Domplein.jpg",
    "Draaiorgel De Arabier in Utrecht.jpg",
    "Street organ in Haarlem.jpg",
    "Ministry of the Interior, The Hague.jpg",
    "Stadsarchief Amsterdam, De Bazel.jpg",
    "Documentatiecentrum Leeuwarden.jpg",
    "Luchthaven Schiphol, Aankomstpassage buiten.jpg",
    "Ondertekeningsstraat.jpg",
    "Ansichtkaartenwinkel Leidsestraat.jpg",
    "Mapstraat 3.jpg",
    "Herman_Heijermansweg_-_hoek.JPG",
]
OTHERS = [
    ("Interieur, overzicht kerkzaal - Amsterdam - 20012345 - RCE.jpg", "interior"),
    ("Kerkinterieur Oude Kerk.jpg", "interior"),
    ("Oude Kerk (Delft) interior 3.jpg", "interior"),
    ("Orgel_-_binnenaanzicht_-_Haarlem.jpg", "interior"),
    ("Preekstoel Sint-Bavo.jpg", "interior"),
    ("Portret van een onbekende man.jpg", "portrait"),
    ("Self-portrait, Leiden.jpg", "portrait"),
    ("KLM luchtfoto Rotterdam 1935.jpg", "aerial view"),
    ("Luchtopname van het Spui.jpg", "aerial view"),
    ("Utrecht aerial.jpg", "aerial view"),
    ("Bird’s-eye view of Leiden.jpg", "aerial view"),
    ("Plattegrond begane grond - Gouda.jpg", "map or plan"),
    ("Kaart van Holland.jpg", "map or plan"),
    ("Amsterdam map 1850.jpg", "map or plan"),
    ("Floor-plan of the town hall.jpg", "map or plan"),
    ("Scan 2012 blad 3.jpg", "document"),
    ("Tekening van de voorgevel.jpg", "drawing"),
    ("Drawing of a mill.jpg", "drawing"),
    ("Schilderij Vermeer.jpg", "painting"),
    ("The Milkmaid, oil painting.jpg", "painting"),
    ("Museumobject 123 zilveren beker.jpg", "museum object"),
    ("Roman coin found in Nijmegen.jpg", "museum object"),
    ("Vlinders op een bloem.jpg", "animal or plant"),
    ("Insect on a leaf.jpg", "animal or plant"),
    ("Handschrift 14e eeuw.jpg", "document"),
]
STREET_CATEGORIES = [
    "Pages with maps",
    "Media with locations",
    "PD-old-70-expired",
    "Naturalis Biodiversity Center",
    "Self-published documents",
    "Indoor arenas in the Netherlands",
    "Mural paintings in Amsterdam",
    "Map boards in the Netherlands",
    "Museums in Leiden",
    "Mint Tower (Amsterdam)",
    "Scanned images",
    "Interior courtyards in the Netherlands",
    "Rijksmonumenten in Haarlem",
]
OTHER_CATEGORIES = [
    ("Interiors of churches in Amsterdam", "interior"),
    ("Sint-Bavokerk (Haarlem) - interior", "interior"),
    ("Aerial photographs of Rotterdam", "aerial view"),
    ("Taken with DJI Mavic Air 2", "aerial view"),
    ("Old maps of Utrecht", "map or plan"),
    ("Portrait photographs of men", "portrait"),
    ("Coins of the Netherlands", "museum object"),
    ("Paintings in the Rijksmuseum Amsterdam", "painting"),
    ("Scans of letters", "document"),
    ("Media donated by Naturalis Biodiversity Center", "museum object"),
    ("PD-scan (PD-old-70-expired)", "document"),
    ("Files from the Biodiversity Heritage Library", "document"),
    ("PD-Art (PD-old-auto-expired)", "painting"),
    ("Artworks with known accession number", "painting"),
    ("Lepidoptera of the Netherlands", "animal or plant"),
]


def picture(**changed: object) -> Picture:
    known: dict[str, object] = {"title": "File:Dam.jpg", "mime": "image/jpeg", "width": 4000, "height": 3000}
    return Picture(**known | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("title", STREETS)
def test_names_of_streets_and_what_stands_in_them_stay(title: str):
    assert subject_of_words(f"File:{title}", ()) is None


@pytest.mark.parametrize(("title", "subject"), OTHERS)
def test_titles_that_name_something_else_are_left_out(title: str, subject: str):
    assert subject_of_words(f"File:{title}", ()) == subject


@pytest.mark.parametrize("category", STREET_CATEGORIES)
def test_categories_about_the_file_or_about_buildings_stay(category: str):
    assert subject_of_words("File:Dam.jpg", ("Amsterdam", category)) is None


@pytest.mark.parametrize(("category", "subject"), OTHER_CATEGORIES)
def test_categories_that_name_something_else_are_left_out(category: str, subject: str):
    assert subject_of_words("File:Dam.jpg", ("Amsterdam", category)) == subject


def test_an_ordinary_photo_may_show_a_street():
    assert other_subject(picture()) is None
    assert other_subject(picture(width=640, height=640)) is None
    assert other_subject(picture(width=3000, height=4000)) is None


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"mime": "image/png"}, "not a JPEG but image/png"),
        ({"mime": "image/svg+xml"}, "not a JPEG but image/svg+xml"),
        ({"mime": "video/webm"}, "not a JPEG but video/webm"),
        ({"width": 639}, "only 639 x 3000"),
        ({"height": 480}, "only 4000 x 480"),
        ({"width": 0, "height": 0}, "only 0 x 0"),
        ({"width": 9000}, "stitched, 9000 x 3000"),
        ({"height": 9000}, "stitched, 4000 x 9000"),
        ({"restrictions": ("trademarked", "personality")}, "restricted for personality"),
    ],
)
def test_format_size_shape_and_restrictions_are_looked_at(change: dict[str, object], subject: str):
    assert other_subject(picture(**change)) == subject


def test_a_trademark_in_the_street_keeps_nothing_out():
    assert other_subject(picture(restrictions=("trademarked", "insignia"))) is None


@pytest.mark.parametrize(
    "name", ["360° panoramas of Amsterdam", "Photo spheres in Utrecht", "Equirectangular projection"]
)
def test_a_full_sphere_is_twice_as_wide_as_high_and_called_so(name: str):
    assert picture(width=6000, height=3000, categories=(name,)).is_sphere
    assert picture(width=6000, height=3000, title=f"File:{name}.jpg").is_sphere
    assert not picture(width=6000, height=2000, categories=(name,)).is_sphere
    assert not picture(width=6000, height=3000).is_sphere
