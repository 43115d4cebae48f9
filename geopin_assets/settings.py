"""Settings: everything that differs between two installations, read once, and what follows from it.

Here: the only reader of the environment, paths, addresses, the account to publish to. Not here: which variables there
are and what they mean (`variables.py`), or anything that connects, opens or creates.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import unquote

from pydantic import Field, ModelWrapValidatorHandler, SecretStr, TypeAdapter, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from geopin_assets.environment import (
    PREFIX,
    Given,
    Whole,
    bare,
    complaints,
    keys_in,
    refuse_unknown,
    shown,
    variable_of,
)
from geopin_assets.errors import ConfigurationError
from geopin_assets.s3_access import S3Access
from geopin_assets.variables import (
    CLOUDFLARE_URL,
    PATTERNS,
    PER_SOURCE,
    VARIABLES,
    OfEmbedding,
    OfExchange,
    OfOperating,
    OfPublishing,
    OfSources,
    Precision,
    Profile,
)

__all__ = ["CloudflareAccount", "Precision", "Profile", "Settings"]

SANDBOX_ACCOUNT_ID = "5a4db0c5" * 4
MAX_REQUESTS_PER_SECOND = 1000.0  # more than one client reaches
MAX_REQUESTS_PER_DAY = 100_000_000
T = TypeVar("T")
_RATE = TypeAdapter(Annotated[float, Field(gt=0, le=MAX_REQUESTS_PER_SECOND, allow_inf_nan=False)])
_BUDGET = TypeAdapter(Annotated[Whole, Field(ge=0, le=MAX_REQUESTS_PER_DAY)])


@dataclass(frozen=True, slots=True)
class CloudflareAccount:
    """Where to publish. The token needs the permissions Vectorize:Edit and D1:Edit."""

    account_id: str
    token: str = field(repr=False)
    base_url: str = CLOUDFLARE_URL


class Settings(OfExchange, OfOperating, OfSources, OfPublishing, OfEmbedding):
    """Everything that differs between two installations. Built once by `Settings.from_env`; code may set fields too."""

    wrong: Mapping[str, str] = Field(default={}, repr=False, exclude=True)
    """Variables of sources with a value that cannot be used, and why: it switches off those sources only."""
    s3: S3Access = Field(default=S3Access(), repr=False, exclude=True)
    """Who asks S3 servers, where code says so."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read GEOPIN_* (default: os.environ). Raises ConfigurationError naming the variable that is wrong.

        The data directory is GEOPIN_DATA, else `.geopin/<profile>` beside the Dagster instance
        (DAGSTER_HOME) or here: a run started by the daemon and a command typed in the checkout
        must see the same data, and invented streets must never mix with real ones.
        """
        env = os.environ if environ is None else environ
        variables = sorted((name, value) for name, value in env.items() if name.startswith(PREFIX))
        return cls._read(tuple(variables), Path(env.get("DAGSTER_HOME") or ".").absolute())

    @classmethod
    @lru_cache(maxsize=8)
    def _read(cls, variables: tuple[tuple[str, str], ...], home: Path) -> "Settings":
        """Once for the same words: a run asks hundreds of times, at 2 ms each."""
        return cls(variables=dict(variables), home=home)

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
        values = [getattr(self, name) for name, field in type(self).model_fields.items() if not field.exclude]
        keys = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        for value in values:
            texts = value if isinstance(value, tuple) else (value,)
            keys += [key for text in texts if isinstance(text, str) for key in keys_in(text)]
        return tuple(dict.fromkeys(filter(None, (*keys, *map(unquote, keys)))))

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        return ((name, shown(getattr(self, name))) for name, field in type(self).model_fields.items() if field.repr)

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
    def catalog_path(self) -> Path:
        return self.data_dir / "catalog.duckdb"

    @property
    def takedowns_path(self) -> Path:
        return self.data_dir / "takedowns.jsonl"

    @property
    def index_dir(self) -> Path:
        return self.data_dir / "index"

    @property
    def ledger_path(self) -> Path:
        return self.data_dir / "ledger.sqlite"

    @property
    def stores_path(self) -> Path:
        return self.data_dir / "stores.jsonl"

    @property
    def is_over_s3(self) -> bool:
        """Whether the store, or the folder of own photos, is in a bucket."""
        return "://" in self.store or "://" in self.own_photos_dir

    @property
    def is_worker(self) -> bool:
        """Whether this machine has only the store in common with the one whose catalog it is."""
        return self.store != str(self.data_dir) and not self.catalog_path.exists() and not self.ledger_path.exists()

    @property
    def folders(self) -> list[Path]:
        """Where files of ours are on this machine: the data directory, and the store if it is another folder."""
        own, store = self.data_dir, Path(self.store)
        return [own] if "://" in self.store or store.is_relative_to(own) else [own, store]

    @property
    def notices_dir(self) -> Path:
        return self.data_dir / "notices"

    @property
    def daily_use_path(self) -> Path:
        return self.data_dir / "daily_use.sqlite"

    @property
    def use_place(self) -> Path | str:
        """Where rates, pauses and budgets are kept: a file of this machine, or the Postgres that several share."""
        return self.postgres_url or self.daily_use_path

    @property
    def attempts_dir(self) -> Path:
        return self.data_dir / "attempts"

    @property
    def tiles_dir(self) -> Path:
        return self.data_dir / "tiles"
