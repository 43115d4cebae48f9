"""Every GEOPIN_* variable: its type, default, bounds and meaning, and whether it is secret.

Here: the only reader of the environment, and what follows from it (paths, addresses). Not here: how text becomes a
value (`variables.py`), or anything that connects, opens or creates. `docs/settings.md` is made from this module.

To add one, add a field: its name is the variable's, in small letters without GEOPIN_; the text below it is its meaning.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from geopin_assets.errors import ConfigurationError
from geopin_assets.variables import (
    PATTERNS,
    PER_SOURCE,
    PREFIX,
    UNSET,
    Address,
    ByProfile,
    Flag,
    Given,
    Hosts,
    Listed,
    Whole,
    bare,
    complaints,
    is_secret,
    refuse_unknown,
    variable_of,
)

SANDBOX_PORT = 8791
SANDBOX_ACCOUNT_ID = "5a4db0c5" * 4
CLOUDFLARE_URL = "https://api.cloudflare.com/client/v4"
MAX_REQUESTS_PER_SECOND = 1000.0  # more than one client reaches
MAX_REQUESTS_PER_DAY = 100_000_000
Index = Literal["embedded", "cloudflare"]
T = TypeVar("T")


class Precision(StrEnum):
    """What the backbone computes in. auto: fp16 on GPUs that have it, else fp32 · bf16 is less exact than both."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


class Profile(StrEnum):
    """sandbox: loopback stand-ins, embedded index · live: real sources, embedded index · cloud: Cloudflare too."""

    SANDBOX = "sandbox"
    LIVE = "live"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class CloudflareAccount:
    """Where to publish. The token needs the permissions Vectorize:Edit and D1:Edit."""

    account_id: str
    token: str = field(repr=False)
    base_url: str = CLOUDFLARE_URL


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
    data_dir: Annotated[Path, AfterValidator(Path.absolute)] = Field(
        default_factory=lambda known: known["home"] / ".geopin" / known["profile"], validation_alias="GEOPIN_DATA"
    )
    """where all data goes; by default `.geopin/<profile>` in DAGSTER_HOME, or where the command is typed"""
    contact: str = ""
    """e-mail or URL in the User-Agent, for sources to reach whoever crawls; without it Wikimedia Commons is off"""
    sandbox_port: Whole = Field(default=SANDBOX_PORT, ge=1, le=65_535)
    """port of the stand-ins on 127.0.0.1"""


class OfEmbedding(Installation):
    """Images and the model."""

    model: str = "cosplace/ResNet50/512"
    """which published model embeds: `{method}/{backbone}/{dimensions}`"""
    weights: str = ""
    """path of a checkpoint of that model; without it the published one is fetched (the sandbox falls back)"""
    device: str = ""
    """torch device, or several with commas: each run takes a free one; without it cuda, else mps, else cpu"""
    precision: Precision = Precision.AUTO
    """of the backbone; `auto` is fp16 on GPUs that have it, else fp32; the head is always fp32"""
    is_compiled: Flag = Field(default=False, validation_alias="GEOPIN_COMPILE")
    """`1` compiles the model with torch.compile: minutes of compiling, then faster"""
    gpu_pool: str = "gpu"
    """Dagster pool of embedding runs; its limit is how many run at once"""
    trusted_hosts: Hosts = frozenset()
    """hosts that images may come from although their address is private (own servers)"""


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
    s3_endpoint_url: str = ""
    """S3 server of that folder other than Amazon's, as for Cloudflare R2"""
    own_photos_license: str = ""
    """required with the folder"""
    own_photos_attribution: str = ""
    """required with the folder"""
    own_photos_creator: str = ""
    """who took them"""
    own_photos_page_url: str = ""
    """base of their pages, which the file name is appended to"""


class OfOperating(Installation):
    """Checks, reports and alerts."""

    coverage_max_gap_share: float = Field(default_factory=ByProfile(0.5, sandbox=1.0), ge=0, le=1)
    """share of the crawled land cells with a gap above which `coverage_gaps` is an error, not a warning. A half: where
    most cells fall short, a source or its crawl is at fault rather than the streets. The sandbox has few streets"""
    coverage_max_age_years: float = Field(default=3, ge=0, le=100)
    """a cell needs a capture at most this old: shop fronts and works change within about three years"""
    coverage_captures_per_1000: float = Field(default_factory=ByProfile(10, sandbox=0.25), ge=0, le=100_000)
    """captures that a cell needs for every 1,000 inhabitants: ten are one every 350 m of the street they share. The
    sandbox has one street a cell"""
    max_source_loss: float = Field(default=0.2, ge=0, le=1)
    """share of its captures a source may lose in a week before nothing is published; 1 lets all pass"""
    max_embedding_failures: float = Field(default=0.05, ge=0, le=1)
    """share of captures that may be without a vector before a check warns"""
    reports_url: Address = "http://127.0.0.1:3001"
    """where a browser finds the map and the notice; `geopin ui` serves them there if it is this machine"""
    ui_url: Address = "http://127.0.0.1:3000"
    """where the Dagster UI is: for links, and for commands that ask it"""
    alert_webhook: SecretStr = UNSET
    """address of a webhook that takes Slack's JSON; without it nobody is told"""


class Settings(OfOperating, OfSources, OfPublishing, OfEmbedding):
    """Everything that differs between two installations. Built once by `Settings.from_env`; code may set fields too."""

    wrong: Mapping[str, str] = Field(default={}, repr=False, exclude=True)
    """Variables of sources with a value that cannot be used, and why: it switches off those sources only."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read GEOPIN_* (default: os.environ). Raises ConfigurationError naming the variable that is wrong.

        The data directory is GEOPIN_DATA, else `.geopin/<profile>` beside the Dagster instance
        (DAGSTER_HOME) or here: a run started by the daemon and a command typed in the checkout
        must see the same data, and invented streets must never mix with real ones.
        """
        env = os.environ if environ is None else environ
        variables = {name: value for name, value in env.items() if name.startswith(PREFIX)}
        return cls(variables=variables, home=Path(env.get("DAGSTER_HOME") or "."))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Fields that code sets, then `variables`; never the environment behind its back."""
        return init_settings, Given(settings_cls, init_settings().get("variables", {}))

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, given: dict[str, Any], build: ModelWrapValidatorHandler[Self]) -> Self:
        fields, variables = cls.model_fields, given.get("variables", {})
        refuse_unknown((name for name in variables if not PER_SOURCE.fullmatch(name)), (*VARIABLES, *PATTERNS))
        try:
            return build(given)
        except ValidationError as error:
            wrong = complaints(error, fields, given)
            if not wrong:
                raise
            if others := [said for name, said in wrong.items() if name not in OfSources.__annotations__]:
                raise ConfigurationError("; ".join(others)) from error
        told = {variable_of(name, fields[name]): said for name, said in wrong.items()}
        return build({name: value for name, value in given.items() if name not in wrong} | {"wrong": told})

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that no message, log or page may show."""
        values = (getattr(self, name) for name, field in type(self).model_fields.items() if is_secret(field))
        return tuple(value.get_secret_value() for value in values if value)

    def wrong_for(self, source: str) -> str:
        """What is wrong with a source's own variables; empty if nothing is."""
        mine = (f"{PREFIX}{source}_".upper(), f"{PREFIX}ENABLE_{source}".upper())
        return "; ".join(said for variable, said in self.wrong.items() if variable.startswith(mine))

    def is_set(self, variable: str) -> bool:
        """Whether a variable has a value, whether or not it is a good one."""
        return bool(bare(self.variables.get(variable, "")))

    def requests_per_second(self, source: str) -> float | None:
        """GEOPIN_<SOURCE>_REQUESTS_PER_SECOND, None where it is not set. Raises ConfigurationError for a wrong one."""
        variable = f"{PREFIX}{source.upper()}_REQUESTS_PER_SECOND"
        return self._per_source(variable, _RATE, f"a number above 0, at most {MAX_REQUESTS_PER_SECOND:g}")

    def requests_per_day(self, source: str, kind: str) -> int | None:
        """GEOPIN_<SOURCE>_<KIND>_PER_DAY, None where it is not set. Raises ConfigurationError for a wrong one."""
        variable = f"{PREFIX}{source}_{kind}_PER_DAY".upper()
        return self._per_source(variable, _BUDGET, f"a whole number from 0 to {MAX_REQUESTS_PER_DAY}")

    def _per_source(self, variable: str, kind: TypeAdapter[T], allowed: str) -> T | None:
        text = bare(self.variables.get(variable, ""))
        try:
            return kind.validate_python(text) if text else None
        except ValidationError as error:
            raise ConfigurationError(f"{variable}={text!r}: choose {allowed}") from error

    @property
    def is_sandbox(self) -> bool:
        return self.profile is Profile.SANDBOX

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.sandbox_port}"

    @property
    def publishes_to_cloudflare(self) -> bool:
        return self.index == "cloudflare"

    @property
    def cloudflare(self) -> CloudflareAccount:
        """The account to publish to; in the sandbox its emulator. Raises ConfigurationError for what is missing."""
        if self.is_sandbox:
            return CloudflareAccount(SANDBOX_ACCOUNT_ID, "sandbox", f"{self.sandbox_url}/cloudflare/client/v4")
        for variable in ("GEOPIN_CLOUDFLARE_ACCOUNT_ID", "GEOPIN_CLOUDFLARE_API_TOKEN"):
            if not getattr(self, VARIABLES[variable]):
                raise ConfigurationError(f"publishing to Cloudflare needs {variable}: dash.cloudflare.com, API tokens")
        token = self.cloudflare_api_token.get_secret_value()
        return CloudflareAccount(self.cloudflare_account_id, token, self.cloudflare_url)

    @property
    def raw_dir(self) -> Path:
        return self.data_dir / "raw"

    @property
    def embeddings_dir(self) -> Path:
        return self.data_dir / "embeddings"

    @property
    def catalog_path(self) -> Path:
        return self.data_dir / "catalog.duckdb"

    @property
    def index_dir(self) -> Path:
        return self.data_dir / "index"

    @property
    def ledger_path(self) -> Path:
        return self.data_dir / "ledger.sqlite"

    @property
    def quality_dir(self) -> Path:
        return self.data_dir / "quality"

    @property
    def daily_use_path(self) -> Path:
        return self.data_dir / "daily_use.sqlite"

    @property
    def tiles_dir(self) -> Path:
        return self.data_dir / "tiles"


_RATE = TypeAdapter(Annotated[float, Field(gt=0, le=MAX_REQUESTS_PER_SECOND, allow_inf_nan=False)])
_BUDGET = TypeAdapter(Annotated[Whole, Field(ge=0, le=MAX_REQUESTS_PER_DAY)])
VARIABLES = {variable_of(name, field): name for name, field in Settings.model_fields.items() if not field.exclude}
"""Every variable, and the field that it sets."""
SECTIONS = (Installation, OfEmbedding, OfPublishing, OfSources, OfOperating)
"""In the order shown to people; the first line of each is its heading."""
