"""Where data lives and which profile runs: the only reader of the environment.

Here: every GEOPIN_* variable, its default and its meaning. Not here: anything that connects,
opens or creates. Secrets stay in `repr`-safe fields.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from geopin_assets.errors import ConfigurationError

SANDBOX_PORT = 8791


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


SANDBOX_ACCOUNT_ID = "5a4db0c5" * 4
CLOUDFLARE_URL = "https://api.cloudflare.com/client/v4"


@dataclass(frozen=True, slots=True)
class CloudflareAccount:
    """Where to publish. The token needs the permissions Vectorize:Edit and D1:Edit."""

    account_id: str
    token: str = field(repr=False)
    base_url: str = CLOUDFLARE_URL


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that differs between two installations. Built once by `Settings.from_env`."""

    profile: Profile = Profile.SANDBOX
    data_dir: Path = Path(".geopin/sandbox")
    contact: str = ""
    """E-mail or URL put into the User-Agent, so that a source can reach whoever crawls it."""
    sandbox_port: int = SANDBOX_PORT
    trusted_hosts: frozenset[str] = frozenset()
    """Hosts that images may be fetched from although they resolve to a private address (own servers)."""
    model: str = "cosplace/ResNet50/512"
    """Which published model embeds: method, backbone, dimensions."""
    weights: str = ""
    """Path of a checkpoint of that model; empty fetches the published one (live) or falls back (sandbox)."""
    device: str = ""
    """torch device for embedding, or several with commas: a process takes a free one; empty picks the best."""
    precision: Precision = Precision.AUTO
    is_compiled: bool = False
    """Whether the model goes through torch.compile: minutes of compiling, then faster."""
    gpu_pool: str = "gpu"
    """Dagster pool of embedding runs; its limit is how many run at once."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All GEOPIN_* variables, for the per-source ones (`Source.from_settings`); may hold keys: never printed."""

    @property
    def is_sandbox(self) -> bool:
        return self.profile is Profile.SANDBOX

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.sandbox_port}"

    @property
    def publishes_to_cloudflare(self) -> bool:
        """GEOPIN_INDEX is `cloudflare` or `embedded`; the profile cloud means the former, the others the latter."""
        stated = self.text("GEOPIN_INDEX") or ("cloudflare" if self.profile is Profile.CLOUD else "embedded")
        if stated not in ("cloudflare", "embedded"):
            raise ConfigurationError(f"GEOPIN_INDEX={stated!r}: cloudflare or embedded")
        return stated == "cloudflare"

    @property
    def cloudflare(self) -> CloudflareAccount:
        """The account to publish to; in the sandbox its emulator. Raises ConfigurationError for what is missing."""
        if self.is_sandbox:
            return CloudflareAccount(SANDBOX_ACCOUNT_ID, "sandbox", f"{self.sandbox_url}/cloudflare/client/v4")
        for variable in ("GEOPIN_CLOUDFLARE_ACCOUNT_ID", "GEOPIN_CLOUDFLARE_API_TOKEN"):
            if not self.text(variable):
                raise ConfigurationError(f"publishing to Cloudflare needs {variable}: dash.cloudflare.com, API tokens")
        return CloudflareAccount(
            self.text("GEOPIN_CLOUDFLARE_ACCOUNT_ID"),
            self.text("GEOPIN_CLOUDFLARE_API_TOKEN"),
            self.text("GEOPIN_CLOUDFLARE_URL") or CLOUDFLARE_URL,
        )

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
    def reports_url(self) -> str:
        """Where a browser finds the files of `quality_dir`: beside the UI, unless GEOPIN_REPORTS_URL says otherwise."""
        return (self.text("GEOPIN_REPORTS_URL") or "http://127.0.0.1:3001").rstrip("/")

    @property
    def ui_url(self) -> str:
        """Where people open the Dagster UI: links in alerts and metadata go there, and commands ask it."""
        return (self.text("GEOPIN_UI_URL") or "http://127.0.0.1:3000").rstrip("/")

    @property
    def max_gap_share(self) -> float:
        """GEOPIN_COVERAGE_MAX_GAP_SHARE: more of the crawled land cells with a gap is an error, not a warning.

        A half: where most cells fall short, a source or its crawl is at fault rather than the streets. The
        sandbox invents a handful of streets and leaves the rest of the country empty: no share is wrong there.
        """
        return self.number("GEOPIN_COVERAGE_MAX_GAP_SHARE", 1.0 if self.is_sandbox else 0.5, low=0, high=1)

    @property
    def coverage_max_age_years(self) -> float:
        """GEOPIN_COVERAGE_MAX_AGE_YEARS: a street's shop fronts and works change within about three years."""
        return self.number("GEOPIN_COVERAGE_MAX_AGE_YEARS", 3, low=0, high=100)

    @property
    def captures_per_1000_inhabitants(self) -> float:
        """GEOPIN_COVERAGE_CAPTURES_PER_1000: ten are one every 350 m of the street that 1,000 people share."""
        return self.number("GEOPIN_COVERAGE_CAPTURES_PER_1000", 10, low=0, high=100_000)

    @property
    def daily_use_path(self) -> Path:
        return self.data_dir / "daily_use.sqlite"

    @property
    def tiles_dir(self) -> Path:
        return self.data_dir / "tiles"

    def text(self, variable: str) -> str:
        """The value of a GEOPIN_* variable without blanks around it; empty if it is not set."""
        return self.variables.get(variable, "").strip()

    def listed(self, variable: str) -> tuple[str, ...]:
        """The values of a comma-separated GEOPIN_* variable, each once, in order."""
        values = (value.strip() for value in self.text(variable).split(","))
        return tuple(dict.fromkeys(value for value in values if value))

    def number(self, variable: str, default: float, *, low: float, high: float) -> float:
        """A GEOPIN_* variable as a number. Raises ConfigurationError outside [low, high]."""
        stated = self.text(variable)
        try:
            value = float(stated) if stated else float(default)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ConfigurationError(f"{variable}={stated!r}: choose a number from {low:g} to {high:g}")
        return value

    def integer(self, variable: str, default: int, *, low: int, high: int) -> int:
        """A GEOPIN_* variable as a whole number. Raises ConfigurationError outside [low, high]."""
        stated = self.text(variable)
        if stated and not stated.isdecimal():
            raise ConfigurationError(f"{variable}={stated!r}: choose a whole number from {low} to {high}")
        return int(self.number(variable, default, low=low, high=high))

    def flag(self, variable: str) -> bool:
        """True if a GEOPIN_* variable is `1`. Raises ConfigurationError for anything but 1, 0 or nothing."""
        stated = self.text(variable)
        if stated not in ("", "0", "1"):
            raise ConfigurationError(f"{variable}={stated!r}: 1 or 0")
        return stated == "1"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read GEOPIN_* (default: os.environ). Raises ConfigurationError naming the variable that is wrong.

        The data directory is GEOPIN_DATA, else `.geopin/<profile>` beside the Dagster instance
        (DAGSTER_HOME) or here: a run started by the daemon and a command typed in the checkout
        must see the same data, and invented streets must never mix with real ones.
        """
        env = os.environ if environ is None else environ
        given = cls(variables={k: v for k, v in env.items() if k.startswith("GEOPIN_")})
        name = env.get("GEOPIN_PROFILE", Profile.SANDBOX)
        if name not in set(Profile):
            raise ConfigurationError(f"GEOPIN_PROFILE={name!r}: choose one of {', '.join(Profile)}")
        precision = given.text("GEOPIN_PRECISION") or Precision.AUTO
        if precision not in set(Precision):
            raise ConfigurationError(f"GEOPIN_PRECISION={precision!r}: choose one of {', '.join(Precision)}")
        home = Path(env.get("DAGSTER_HOME") or ".")
        port = env.get("GEOPIN_SANDBOX_PORT", str(SANDBOX_PORT))
        if not (port.isdecimal() and 0 < int(port) < 2**16):
            raise ConfigurationError(f"GEOPIN_SANDBOX_PORT={port!r}: not a port number")
        return cls(
            profile=Profile(name),
            data_dir=Path(env.get("GEOPIN_DATA") or home / ".geopin" / name).absolute(),
            contact=env.get("GEOPIN_CONTACT", ""),
            sandbox_port=int(port),
            trusted_hosts=frozenset(filter(None, env.get("GEOPIN_TRUSTED_HOSTS", "").split(","))),
            model=given.text("GEOPIN_MODEL") or cls.model,
            weights=env.get("GEOPIN_WEIGHTS", ""),
            device=given.text("GEOPIN_DEVICE"),
            precision=Precision(precision),
            is_compiled=given.flag("GEOPIN_COMPILE"),
            gpu_pool=given.text("GEOPIN_GPU_POOL") or cls.gpu_pool,
            variables=given.variables,
        )
