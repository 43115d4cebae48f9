"""Every GEOPIN_* variable: its type, default, bounds and meaning, and whether it is secret.

Here: that table, in sections. Not here: how text becomes a value (`environment.py`), or what follows from the values
(`settings.py`). `docs/settings.md` is made from this module.

To add one, add a field: its name is the variable's, in small letters without GEOPIN_; the text below it is its meaning.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from geopin_assets.environment import (
    UNSET,
    Address,
    ByProfile,
    Flag,
    Hosts,
    Listed,
    Whole,
    bucket_and_prefix,
    listed,
    variable_of,
)

SANDBOX_PORT = 8791
CLOUDFLARE_URL = "https://api.cloudflare.com/client/v4"
Index = Literal["embedded", "cloudflare"]
Flaw = Literal["blurred", "dark", "overexposed", "veiled", "no_detail", "indoor", "in_vehicle", "windscreen", "none"]
Flaws = Annotated[frozenset[Flaw], BeforeValidator(lambda given: listed(given) if isinstance(given, str) else given)]
PER_SOURCE = re.compile(r"GEOPIN_([A-Z0-9_]{1,60}?)_(?:REQUESTS_PER_SECOND|PER_DAY)")
"""Variables that every source has: which exist is known where the sources are."""
PATTERNS = {
    "GEOPIN_<SOURCE>_REQUESTS_PER_SECOND": "another rate for one source, e.g. your own server (not "
    "Mapillary, whose kinds of requests have their own)",
    "GEOPIN_<SOURCE>_<KIND>_PER_DAY": "another daily budget, e.g. of Mapillary's `TILES`, `SEARCH`, `ENTITY`",
}


class Precision(StrEnum):
    """What the backbone computes in. auto: fp16 on GPUs that have it, else fp32 · bf16 is less exact than both."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


def _folder(path: Path) -> Path:
    """Absolute. Raises ValueError for one that the catalog's database cannot be in: it takes nothing but UTF-8."""
    if b"?" in str(path.absolute()).encode():
        raise ValueError("DuckDB keeps no database below a folder with a ? in its name")
    return path.absolute()


def _store(address: str) -> str:
    """Absolute where it is a folder. Raises ValueError for one that no library finds."""
    address.encode()
    if "://" not in address:
        return str(Path(address).expanduser().absolute())
    bucket_and_prefix(address)
    return address.rstrip("/")


class Profile(StrEnum):
    """sandbox: loopback stand-ins, embedded index · live: real sources, embedded index · cloud: Cloudflare too."""

    SANDBOX = "sandbox"
    LIVE = "live"
    CLOUD = "cloud"


class Installation(BaseSettings):
    """Where and what."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=False,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    variables: Mapping[str, str] = Field(default={}, repr=False, exclude=True)
    """All GEOPIN_* variables as they were given; may hold keys: never printed."""
    home: Path = Field(default=Path(), exclude=True)
    """Where Dagster keeps its history (DAGSTER_HOME)."""
    profile: Profile = Profile.SANDBOX
    """`sandbox` (stand-ins, nothing leaves this machine), `live` (real sources) or `cloud` (live, published to
    Cloudflare)"""
    data_dir: Annotated[Path, AfterValidator(_folder)] = Field(
        default_factory=lambda known: known["home"] / ".geopin" / known["profile"], validation_alias="GEOPIN_DATA"
    )
    """where all data goes; by default `.geopin/<profile>` in DAGSTER_HOME, or where the command is typed"""
    store: Annotated[str, AfterValidator(_store)] = Field(default_factory=lambda known: str(known["data_dir"]))
    """where what several machines share goes: a folder, or `s3://bucket/prefix`; by default the data directory"""
    s3_endpoint_url: str = ""
    """S3 server other than Amazon's, as for Cloudflare R2: of the store, and of a bucket of own photos"""
    contact: str = ""
    """e-mail or URL in the User-Agent, for sources to reach whoever crawls; without it Wikimedia Commons is off"""
    postgres_url: str = ""
    """Postgres in which several machines keep what they must agree on: rates, pauses and budgets of a day, leases; as
    `postgresql://user:password@host/database`. Without it files in the data directory do, for one machine"""
    sandbox_port: Whole = Field(default=SANDBOX_PORT, ge=1, le=65_535)
    """port of the stand-ins on 127.0.0.1"""


class OfEmbedding(Installation):
    """Images and the model."""

    model: str = "cosplace/ResNet50/512"
    """which published model embeds: `{method}/{backbone}/{dimensions}`, and `/{dimensions}` more to whiten it to"""
    weights: str = ""
    """path of a checkpoint of that model; without it the published one is fetched (the sandbox falls back)"""
    whitening: str = ""
    """path of what `geopin whiten` made, for a model that is whitened; without it where that command put it"""
    device: str = ""
    """torch device, or several with commas: each run takes a free one; without it cuda, else mps, else cpu"""
    precision: Precision = Precision.AUTO
    """of the backbone; `auto` is fp16 on GPUs that have it, else fp32; the head is always fp32"""
    is_compiled: Flag = Field(default=False, validation_alias="GEOPIN_COMPILE")
    """`1` compiles the model with torch.compile: minutes of compiling, then faster"""
    leave_out: Flaws = frozenset(get_args(Flaw)) - {"windscreen", "none"}
    """flaws for which an image or view gets no vector, with commas; `none` keeps all. `windscreen` has to be asked for:
    of a drive behind wet or mirroring glass, or over a dashboard, it leaves out all"""
    scenes: str = ""
    """folder with a ResNet18 of Places365 and its list of categories: rooms and insides of vehicles are told, too"""
    gpu_pool: str = "gpu"
    """Dagster pool of embedding runs; its limit is how many run at once"""
    thin_m: float = Field(default=0, ge=0, le=1000)
    """images of one sequence that look the same way get a vector only if so far from each other, meters; `0`: all of
    them. Another value changes every cell with the next merge"""
    verify_weights: str = ""
    """path of XFeat's weights, by which answers are verified; without it the published ones are fetched"""
    trusted_hosts: Hosts = frozenset()
    """hosts that images may come from although their address is private (own servers)"""
    ignore_opt_out: Hosts = frozenset()
    """hosts whose images are used although their headers are against it (`X-Robots-Tag: noai`, `tdm-reservation: 1`),
    as their owners agreed; `*` for all"""


class OfPublishing(Installation):
    """The published index."""

    index: Index = Field(default_factory=ByProfile[Index]("embedded", cloud="cloudflare"))
    """where it is: files in the data directory, or Cloudflare"""
    cloudflare_account_id: str = ""
    """account to publish to"""
    cloudflare_api_token: SecretStr = UNSET
    """its token, which may edit Vectorize and D1"""
    cloudflare_url: Address = CLOUDFLARE_URL
    """another address of the API"""
    d1_database: str = "geopin"
    """name of the database"""
    index_shards: Whole = Field(default=1, ge=1, le=100)
    """parts of a new index"""
    d1_shards: Whole = Field(default=1, ge=1, le=100)
    """parts of the metadata"""
    publish_max_rows: Whole = Field(default=2_000_000, ge=0, le=10**12)
    """rows that one publish run may write"""
    publish_max_requests: Whole = Field(default=20_000, ge=0, le=10**9)
    """requests that one publish run may send"""
    mass_removal: Whole = Field(default=50_000, ge=0, le=10**9)
    """vectors deleted together at most; more is a new version of the index"""
    max_removal_share: float = Field(default=0.2, ge=0, le=1)
    """share of an index, or of its rows, that runs of a week delete at most without being asked (`--max-removals`)"""
    removal_floor: Whole = Field(default=100, ge=0, le=10**9)
    """so many are always deleted where a crawl shows that they are gone, whatever share that is"""
    monthly_budget_usd: float | None = Field(default=None, ge=0, le=10**9)
    """what a month at Cloudflare may cost before a check warns; only writing, storing and searching are counted"""


class OfSources(Installation):
    """Sources. A wrong value switches off only the source that it belongs to."""

    mapillary_token: SecretStr = UNSET
    """client token of Mapillary; off without"""
    mapillary_max_area_deg2: float = Field(default=0.009, ge=2.5e-5, le=1)
    """largest box asked, square degrees"""
    mapillary_max_side_deg: float = Field(default=1.0, ge=0.005, le=1)
    """largest box asked, by its longer side, degrees"""
    mapillary_split_at: Whole = Field(default=1000, ge=10, le=2000)
    """an answer this long is divided, of the 2000 that are promised"""
    mapillary_tile_days: float = Field(default=7.0, ge=0, le=365)
    """how long a tile is kept, days"""
    mapillary_position: Literal["computed", "original"] = "computed"
    """position and heading as Mapillary computed them from the images, or as the device wrote them; either where there
    is no other"""
    kartaview_area: Literal["box", "circle"] = "box"
    """`circle` should the API refuse boxes"""
    kartaview_images: Literal["storage", "cdn"] = "storage"
    """`cdn` should the storage hosts refuse"""
    is_mapilio_enabled: Flag = Field(default=False, validation_alias="GEOPIN_ENABLE_MAPILIO")
    """`1` switches Mapilio on: its license is contested and its operator wants to be asked"""
    wikimedia_commons_token: SecretStr = UNSET
    """owner-only OAuth token, raises Wikimedia's limits; not needed"""
    flickr_api_key: SecretStr = UNSET
    """key of Flickr; off without"""
    europeana_api_key: SecretStr = UNSET
    """key of Europeana; off without"""
    stac_urls: Listed = ()
    """roots of STAC APIs; off without"""
    stac_collections: Listed = ()
    """only these collections; without it all"""
    stac_license: str = ""
    """used where items and collections state none"""
    stac_attribution: str = ""
    """used where items and collections state none"""
    stac_token: SecretStr = UNSET
    """bearer token, sent to those APIs only"""
    panoramax_urls: Listed = ()
    """base addresses of Panoramax instances, asked instead of the federated catalog"""
    panoramax_limit: Whole = Field(default_factory=ByProfile(1000, sandbox=25), ge=1, le=10_000)
    """pictures per search; an answer this long divides the box"""
    amsterdam_api_key: SecretStr = UNSET
    """sent as `X-Api-Key`; not needed today"""
    own_photos_dir: str = ""
    """folder of photos, or `s3://bucket/prefix`; without it the sandbox's own, and off with real sources"""
    own_photos_ignore: Listed = ()
    """files and folders of it that are not read: patterns as in a .gitignore, between commas"""
    own_photos_crs: str = ""
    """system of the coordinates in tables that state none, as `EPSG:28992`"""
    own_photos_clock_offset_s: float = Field(default=0, ge=-(10**9), le=10**9)
    """seconds that clocks of cameras were behind, for photos that a GPX track places"""
    own_photos_license: str = ""
    """required with the folder"""
    own_photos_attribution: str = ""
    """required with the folder"""
    own_photos_creator: str = ""
    """who took them"""
    own_photos_page_url: str = ""
    """base of their pages, which the file name is appended to"""
    own_photos_max_error_m: float = Field(default=100, ge=0, le=100_000)
    """photos whose receiver states a larger error of the position are left out, meters; `0` keeps all"""
    own_photos_needs_fix: Flag = True
    """`0` keeps photos whose receiver says that it had no fix, as some drones say of good positions"""


class OfOperating(Installation):
    """Checks, reports and alerts."""

    coverage_max_gap_share: float = Field(default_factory=ByProfile(0.5, sandbox=0.2), ge=0, le=1)
    """share of the crawled land cells with a gap above which `coverage_gaps` is an error, not a warning. A half: where
    most cells fall short, a source or its crawl is at fault rather than the streets. Lower in the sandbox, for
    the demo to show a failed check"""
    coverage_max_age_years: float = Field(default=3, ge=0, le=100)
    """a cell needs a capture at most this old: shop fronts and works change within about three years"""
    coverage_captures_per_1000: float = Field(default_factory=ByProfile(10, sandbox=0.25), ge=0, le=100_000)
    """captures that a cell needs for every 1,000 inhabitants: ten are one every 350 m of the street they share. The
    sandbox has one street a cell"""
    streets: str = ""
    """OpenStreetMap extract (.osm.pbf) of the streets whose coverage is measured, by municipality; needs the extra
    `streets`"""
    max_source_loss: float = Field(default=0.2, ge=0, le=1)
    """share of its captures a source may lose in a week before nothing is published; 1 lets all pass"""
    max_embedding_failures: float = Field(default=0.05, ge=0, le=1)
    """share of captures that may be without a vector before a check warns"""
    ui_url: Address = "http://127.0.0.1:3000"
    """where the UI is: links in alerts, on assets and of commands go there. `geopin ui` answers to that name too, e.g.
    of a reverse proxy in front of it"""
    reports_url: Address = Field(default_factory=lambda known: f"{known['ui_url']}/reports")
    """where a browser finds the map and the notice; by default `/reports` of the UI, which serves them"""
    ui_token: SecretStr = UNSET
    """what a browser must know to use `geopin ui`: asked for as the password of any user. Without it whoever can reach
    127.0.0.1 may use it"""
    alert_webhook: SecretStr = UNSET
    """address of a webhook that takes Slack's JSON; without it nobody is told"""


class OfExchange(Installation):
    """What others may take, and follow."""

    export_region: str = "all"
    """what `exchange/publication` publishes: a region as in `--region`"""
    export_without: Listed = ("mapilio",)
    """sources whose captures are not passed on: Mapilio's terms are against taking its metadata in bulk"""
    notice_areas: str = ""
    """GeoJSON of areas that somebody wants to hear of, with a webhook each, which is a secret"""
    takedown_days: Whole = Field(default=7, ge=0, le=365)
    """days after a publish in which whoever has a copy must have removed what was taken down"""


SECTIONS = (Installation, OfEmbedding, OfPublishing, OfSources, OfOperating, OfExchange)
"""In the order shown to people; the first line of each is its heading."""


def fields_of(section: type[Installation]) -> list[tuple[str, FieldInfo]]:
    """The variables that a section itself declares, in order."""
    own = ((name, field) for name, field in section.model_fields.items() if name in section.__annotations__)
    return [(variable_of(name, field), field) for name, field in own if not field.exclude]


def heading(section: type[Installation]) -> str:
    """What a section is called where people read it."""
    return (section.__doc__ or "").partition(".")[0]


VARIABLES = {
    variable: next(name for name, known in section.model_fields.items() if known is field)
    for section in SECTIONS
    for variable, field in fields_of(section)
}
"""Every variable, and the field that it sets."""
