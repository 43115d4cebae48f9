"""How the text of an environment variable becomes a typed setting, and what is said where it cannot.

Here: what surrounds a value, the types of settings, what each allows, the nearest name that exists. Not here: which
variables there are (`variables.py`).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BeforeValidator, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from geopin_assets.errors import ConfigurationError

PREFIX = "GEOPIN_"
TEST_PREFIX = "GEOPIN_TEST_"
"""What tests are told; the platform reads none of these."""
_FLAGS = {"1": True, "0": False, "true": True, "false": False}
T = TypeVar("T")


def bare(text: str) -> str:
    """A value without blanks, line ends and one pair of quotes around it: files of variables often keep those."""
    text = text.strip()
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text[0] not in text[1:-1]
    return text[1:-1].strip() if is_quoted else text


def _only(reads: Callable[[str], object]) -> BeforeValidator:
    """Reads text with `reads`; what code hands over is left as it is."""
    return BeforeValidator(lambda value: reads(value) if isinstance(value, str) else value)


def _flag(text: str) -> bool:
    return _FLAGS[text.lower()] if text.lower() in _FLAGS else _refuse(text)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else _refuse(text)


def _refuse(text: str) -> Any:
    raise ValueError(text)


def listed(text: str) -> tuple[str, ...]:
    """Values between commas, each once, in order, none of them empty."""
    return tuple(dict.fromkeys(filter(None, map(bare, text.split(",")))))


Flag = Annotated[bool, _only(_flag)]
Whole = Annotated[int, _only(_whole)]
Listed = Annotated[tuple[str, ...], _only(listed)]
Hosts = Annotated[frozenset[str], _only(lambda text: listed(text.casefold()))]
Address = Annotated[str, _only(lambda text: text.rstrip("/"))]
UNSET = SecretStr("")


_KEY = re.compile("key|token|secret|passw|pwd|auth|sig|credential", re.IGNORECASE)
_RAW_PASSWORD = re.compile(r"(?![^/?#&;\s@]*+@)[^/@:?#&;\s]*+:(?!\d*+(?:[/?#]|$))")
"""What stands before one with what ends the part before the @ in any other address: as it was given to somebody, and
typed."""
_QUOTED = re.compile(r"(?<!\w)(\w++)\s*+=\s*+'([^']++)'")
_BUCKET = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def keys_in(address: str) -> tuple[str, ...]:
    """What in an address opens a door, as it is written there: a password (or a lone user name), and values of keys.

    Also where its scheme was forgotten, or what it says is a list of words, as Postgres takes them.
    """
    before, has_scheme, rest = address.removeprefix("mailto:").partition("://")
    raw = _RAW_PASSWORD.match(rest) if has_scheme else None
    password, _, host = rest[raw.end() :].rpartition("@") if raw else ("", "", "")
    if password:
        return password, *keys_in(f"://{host}")
    if quoted := [value for name, value in _QUOTED.findall(before) if _KEY.search(name)]:
        return *quoted, *keys_in(_QUOTED.sub("", before))
    authority, *fields = re.split(r"[?&;#\s]", rest if has_scheme else before)
    user = authority.partition("/")[0].rpartition("@")[0]
    keys = [value for name, _, value in (field.partition("=") for field in (authority, *fields)) if _KEY.search(name)]
    return tuple(filter(None, [user.partition(":")[2] or (user if has_scheme else ""), *keys]))


def without_keys(address: str) -> str:
    """An address to show."""
    for key in keys_in(address):
        address = address.replace(key, "***")
    return re.sub("(?<=//)[^/@?]++@", "***@", address)


def bucket_and_prefix(address: str) -> tuple[str, str]:
    """What `s3://bucket/prefix` names. Raises ConfigurationError for anything else, or one with a key in it."""
    scheme, _, rest = address.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    folders = prefix.split("/") if prefix else []
    is_plain = prefix.isprintable() and "?" not in prefix and not {"", ".", ".."}.intersection(folders)
    if scheme.lower() != "s3" or not _BUCKET.fullmatch(bucket) or not is_plain:
        said = without_keys(address).partition("?")[0]
        raise ConfigurationError(f"{said}: a store is a local path or s3://bucket/prefix, without a key")
    return bucket, prefix


def shown(value: object) -> str:
    """A value as a person writes it; nothing that opens a door."""
    if isinstance(value, SecretStr):
        return "***" if value else ""
    if isinstance(value, tuple | frozenset):
        return ", ".join(shown(item) for item in (sorted(value) if isinstance(value, frozenset) else value))
    if value is None or isinstance(value, bool | float):
        return "" if value is None else f"{value:.0f}" if value == round(value) else f"{value:g}"
    return without_keys(str(value))


class ByProfile(Generic[T]):
    """A default that depends on the profile: `sandbox`, `live` or `cloud`, where it is not `others`."""

    def __init__(self, others: T, **profiles: T) -> None:
        self.others, self.profiles = others, profiles

    def __call__(self, known: dict[str, Any]) -> T:
        return self.profiles.get(known["profile"], self.others)


class Given(PydanticBaseSettingsSource):
    """The variables that were given, as values of the fields that they set."""

    def __init__(self, owner: type[BaseSettings], variables: Mapping[str, str]) -> None:
        super().__init__(owner)
        self._variables = variables

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return bare(self._variables.get(variable_of(field_name, field), "")) or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def variable_of(name: str, field: FieldInfo) -> str:
    """The variable that sets a field: its name, unless the field says another."""
    return str(field.validation_alias or f"{PREFIX}{name.upper()}")


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is never shown."""
    return field.annotation is SecretStr


def allowed(field: FieldInfo) -> str:
    """What a variable may hold, after "choose …"."""
    kind = field.annotation
    kinds = set(get_args(kind)) | {kind}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return f"one of {', '.join(kind)}"
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if kind is bool:
        return "1 or 0"
    if {int, float} & kinds:
        low, high = (next(getattr(m, end) for m in field.metadata if hasattr(m, end)) for end in ("ge", "le"))
        return f"a{' whole' if kind is int else ''} number from {_plain(low)} to {_plain(high)}"
    if SecretStr in kinds:
        return "a secret"
    if kinds & {tuple[str, ...], frozenset[str]}:
        return "a list with commas"
    return "a path in UTF-8, without ?" if kind is Path else "text"


def complaints(error: ValidationError, fields: Mapping[str, FieldInfo], given: Mapping[str, object]) -> dict[str, str]:
    """Why each field's value is refused, by its name. Shows the value, unless it is secret."""
    found = {}
    for name in (str(e["loc"][0]) for e in error.errors() if e["type"] != "default_factory_not_called"):
        if name in fields:
            is_shown = name in given and not is_secret(fields[name])
            shown = f"={without_keys(str(given[name]))!r}" if is_shown else ""
            found[name] = f"{variable_of(name, fields[name])}{shown}: choose {allowed(fields[name])}"
    return found


def refuse_unknown(variables: Iterable[str], known: Iterable[str]) -> None:
    """Raises ConfigurationError for a GEOPIN_ variable that nothing reads, naming the nearest that something does."""
    names = set(known)
    for variable in sorted(variables):
        if variable not in names and not variable.startswith(TEST_PREFIX):
            raise ConfigurationError(f"nothing knows {variable}: {nearest(variable, names)}")


def nearest(variable: str, known: Iterable[str]) -> str:
    """The question whether another variable was meant."""
    (meant,) = get_close_matches(variable, list(known), n=1, cutoff=0)
    return f"is it {meant} that you mean?"


def _plain(number: float) -> str:
    return f"{number:.0f}" if number == round(number) else f"{number:g}"
