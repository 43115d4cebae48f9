"""The sandbox's own streets: a few invented ones, and every drive that its sources made along them.

Here: the tables of streets and drives. Not here: the city around them (`city.py`), how a drive becomes shots
(`world.py`).

All of it is deterministic: positions, dates and ids follow from these tables. Most streets lie in the
cells around r090c051 in Amsterdam, one in Utrecht; cell r091c051 stays empty.
"""

from datetime import UTC, datetime
from functools import cache

from geopin_assets.sandbox.streets.world import Drive, Quirk, Street, World, shots

GRACHT = Street("Zandbakgracht", 4.8740, 52.3740, 60, 240, is_canal=True)
STRAAT = Street("Speelstraat", 4.8860, 52.3835, 120, 180)
CORNER = Street("Hoeklaan", 4.8936, 52.37, 0, 160)  # along the edge of two columns, its middle on a cell corner
MIDDLE = Street("Middenweg", 4.87895, 52.379, 90, 140)  # along the line where cell r090c051 is split in quarters
KADE = Street("Emmerkade", 4.9080, 52.3760, 210, 160)
PLEIN = Street("Schepplein", 4.8750, 52.3610, 30, 160)
DREEF = Street("Glijbaandreef", 4.9100, 52.3580, 300, 160)
UTRECHT = Street("Wipkade", 5.1230, 52.0880, 60, 180, is_canal=True)


def _at(year: int, month: int, day: int, hour: int = 10) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


_PANORAMAX = (
    Drive(source="panoramax", name="gracht-flat", street=GRACHT, from_m=-100, step_m=6.6, count=31, right_m=11,
          started_at=_at(2024, 6, 1), creator="fietser_020",
          quirks=((4, Quirk.JUNK_DATE), (9, Quirk.NO_HEADING), (14, Quirk.NO_FIELD_OF_VIEW), (19, Quirk.HIDDEN))),
    Drive(source="panoramax", name="straat-flat", street=STRAAT, from_m=-70, step_m=15, count=10, right_m=1.5,
          started_at=_at(2023, 10, 14), creator="Stadsarchief", license="etalab-2.0",
          quirks=((3, Quirk.NON_OPEN), (7, Quirk.NO_LICENSE))),
    Drive(source="panoramax", name="corner-flat", street=CORNER, from_m=-60, step_m=20, count=7, jitter_m=0,
          started_at=_at(2025, 3, 8), creator="fietser_020"),
    Drive(source="panoramax", name="middle-flat", street=MIDDLE, from_m=-40, step_m=20, count=5, jitter_m=0,
          started_at=_at(2024, 9, 21), creator="fietser_020"),
    Drive(source="panoramax", name="plein-flat", street=PLEIN, from_m=64, step_m=-16, count=9, right_m=-1.5,
          turn_deg=180, started_at=_at(2016, 9, 3), creator="oud_beeld"),
    Drive(source="panoramax", name="utrecht-flat", street=UTRECHT, from_m=-72, step_m=18, count=9, right_m=10.5,
          started_at=_at(2024, 8, 17), creator="domstad", quirks=((2, Quirk.NON_OPEN), (5, Quirk.JUNK_DATE))),
    Drive(source="panoramax", name="kade-360", street=KADE, from_m=-50, step_m=25, count=5, right_m=-1,
          started_at=_at(2022, 5, 19), creator="rondkijker", is_pano=True),
    Drive(source="panoramax", name="straat-360", street=STRAAT, from_m=-50, step_m=25, count=5, right_m=-2, turn_deg=90,
          started_at=_at(2021, 11, 6), creator="rondkijker", is_pano=True),
)  # fmt: skip
_AMSTERDAM = (
    Drive(source="amsterdam", name="straat-2019", street=STRAAT, from_m=-70, step_m=20, count=8, right_m=1,
          started_at=_at(2019, 4, 24), is_pano=True),
    Drive(source="amsterdam", name="gracht-2021", street=GRACHT, from_m=-100, step_m=18, count=12, right_m=10.5,
          started_at=_at(2021, 7, 13), is_pano=True),
    Drive(source="amsterdam", name="kade-2023", street=KADE, from_m=-70, step_m=20, count=8, right_m=1,
          started_at=_at(2023, 3, 22), is_pano=True),
    Drive(source="amsterdam", name="corner-2025", street=CORNER, from_m=-40, step_m=20, count=5, jitter_m=0,
          started_at=_at(2025, 9, 4, 6), is_pano=True),
    Drive(source="amsterdam", name="dreef-2025", street=DREEF, from_m=-60, step_m=20, count=7, right_m=1,
          started_at=_at(2025, 9, 5, 8), is_pano=True),
)  # fmt: skip
_OWN_PHOTOS = (
    Drive(source="own_photos", name="gracht-survey", street=GRACHT, from_m=98, step_m=-24, count=8, right_m=10,
          turn_deg=180, started_at=_at(2025, 7, 2), quirks=((3, Quirk.POSITION_IN_TABLE),)),
    Drive(source="own_photos", name="straat-survey", street=STRAAT, from_m=-60, step_m=30, count=5, right_m=-1,
          started_at=_at(2025, 1, 15), quirks=((2, Quirk.NO_HEADING), (4, Quirk.NO_GPS))),
    Drive(source="own_photos", name="plein-survey", street=PLEIN, from_m=56, step_m=-22, count=6, right_m=1,
          turn_deg=180, started_at=_at(2018, 5, 30), quirks=((6, Quirk.TRUNCATED),)),
    Drive(source="own_photos", name="utrecht-survey", street=UTRECHT, from_m=-60, step_m=24, count=6, right_m=10.5,
          started_at=_at(2025, 2, 11), quirks=((1, Quirk.POSITION_IN_TABLE), (4, Quirk.POSITION_IN_TABLE))),
    Drive(source="own_photos", name="kade-pano", street=KADE, from_m=-15, step_m=30, count=2, is_pano=True,
          turn_deg=30, started_at=_at(2024, 4, 9)),
)  # fmt: skip
_QUERIES = (
    Drive(source="query", name="query-gracht", street=GRACHT, from_m=27, step_m=1, count=1, right_m=11.5, turn_deg=2,
          started_at=_at(2026, 5, 4)),
    Drive(source="query", name="query-straat", street=STRAAT, from_m=6, step_m=1, count=1, right_m=1.2, turn_deg=1,
          started_at=_at(2026, 4, 18)),
    Drive(source="query", name="query-kade", street=KADE, from_m=1.5, step_m=1, count=1, right_m=-0.5, turn_deg=-1,
          started_at=_at(2026, 8, 23)),
)  # fmt: skip
_OTHERS = (
    Drive(source="mapillary", name="straat-mly", street=STRAAT, from_m=-60, step_m=12, count=10, right_m=1.5,
          started_at=_at(2025, 5, 11), creator="kaart_maker",
          quirks=((2, Quirk.NO_HEADING), (5, Quirk.JUNK_DATE), (8, Quirk.NO_CREATOR))),
    Drive(source="mapillary", name="plein-mly-360", street=PLEIN, from_m=-40, step_m=20, count=4, right_m=1,
          started_at=_at(2023, 7, 2), creator="rondom", is_pano=True),
    Drive(source="kartaview", name="dreef-kv", street=DREEF, from_m=-60, step_m=20, count=7, right_m=1.5,
          started_at=_at(2020, 8, 9), creator="chauffeur_9",
          quirks=((2, Quirk.NO_HEADING), (3, Quirk.NULL_ISLAND), (5, Quirk.NO_DATE), (6, Quirk.JUNK_DATE))),
    Drive(source="mapilio", name="kade-mapilio", street=KADE, from_m=-40, step_m=20, count=5, right_m=1,
          started_at=_at(2024, 2, 18), creator="77", quirks=((3, Quirk.NO_HEADING),)),
    Drive(source="wikimedia_commons", name="gracht-commons", street=GRACHT, from_m=-60, step_m=22, count=6, right_m=12,
          started_at=_at(2014, 6, 7), creator="Beeldbank",
          quirks=((2, Quirk.NOT_STREET), (4, Quirk.NON_OPEN), (5, Quirk.NO_DATE))),
    Drive(source="flickr", name="straat-flickr", street=STRAAT, from_m=-50, step_m=20, count=6, right_m=-1,
          started_at=_at(2013, 8, 24), creator="stadswandelaar", license="CC-BY-SA-2.0",
          quirks=((2, Quirk.NOT_STREET), (3, Quirk.NON_OPEN), (4, Quirk.NO_DATE))),
    Drive(source="europeana", name="gracht-europeana", street=GRACHT, from_m=-30, step_m=40, count=3, right_m=12,
          started_at=_at(2008, 4, 4), creator="Stadsarchief", license="CC-BY-4.0", quirks=((2, Quirk.NON_OPEN),)),
    Drive(source="stac", name="dreef-stac", street=DREEF, from_m=-50, step_m=25, count=5, right_m=-1,
          started_at=_at(2024, 11, 5), creator="Gemeente Zandbak", license="CC0-1.0",
          quirks=((2, Quirk.NO_LICENSE), (4, Quirk.NO_HEADING))),
)  # fmt: skip


@cache
def build_world() -> World:
    """The streets whose captures have every quirk. Their "query" shots are published by no source."""
    drives = (*_PANORAMAX, *_AMSTERDAM, *_OWN_PHOTOS, *_OTHERS, *_QUERIES)
    return World(tuple(shot for drive in drives for shot in shots(drive)))
