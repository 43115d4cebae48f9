"""A file that only grows: JSON lines, each with a checksum of its own, on the disk before anyone hears of them.

    {"capture_id":"panoramax:1","check":"5d1f…","number":7}

Whoever is killed while appending leaves a torn last line, without a newline: it was never promised, so it is passed
over and cut off by the next append. Any other line that cannot be read is damage and an error, never a shorter list;
so is an end that no append can have left, or something else than a file in its place.

Here: appending (one process at a time), reading, what is left of a damaged file, and a copy of it as bytes. Not here:
what the lines say, or where copies are (whoever owns the file).
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from geopin_assets.errors import DamagedFileError
from geopin_assets.files.atomic import write_bytes
from geopin_assets.files.damage import reading, set_aside, writing
from geopin_assets.files.lock import locked
from geopin_assets.files.plain import NotPlainError, read_plain

Line = dict[str, Any]
"""Of text, whole numbers, booleans and nothing."""
_CHECK = "check"
_FIRST_PRINTABLE = 0x20


@dataclass(frozen=True, slots=True)
class Lines:
    """What a journal holds."""

    lines: list[Line]
    bad: list[int]
    """Numbers of the lines, from 1, that cannot be read."""
    whole_bytes: int
    """Where the torn line begins, if there is one."""

    def sound(self, what: str, remedy: str = "") -> list[Line]:
        """Its lines. Raises DamagedFileError naming `what` and its bad lines."""
        if self.bad:
            numbers = ", ".join(map(str, self.bad[:5]))
            raise DamagedFileError(
                f"{what}: {len(self.bad)} of its lines cannot be read (line {numbers}). {remedy}".rstrip()
            )
        return self.lines


def parse(content: bytes) -> Lines:
    """Read the bytes of a journal, or of a copy of one."""
    lines, bad = [], []
    *whole, torn = content.split(b"\n")
    whole += [] if _may_be_torn(torn, after=whole) else [torn]
    for number, text in enumerate(whole, 1):
        if (line := _line(text)) is not None:
            lines.append(line)
        else:
            bad.append(number)
    if (last := _line(torn)) is not None:  # all of it but its newline
        return Lines([*lines, last], bad, len(content))
    return Lines(lines, bad, len(content) - len(torn))


def found(content: Callable[[], bytes]) -> Lines:
    """As `parse`; one bad line where `content` raises DamagedFileError."""
    try:
        return parse(content())
    except DamagedFileError:
        return Lines([], [1], 0)


def encode(lines: Iterable[Line]) -> bytes:
    """As the file holds them."""
    return b"".join(_encoded(line | {_CHECK: check_of(line)}) + b"\n" for line in lines)


def check_of(line: Line) -> str:
    """The checksum of a line, which also names it: two lines that say the same have the same."""
    return blake2b(_encoded(line), digest_size=8).hexdigest()


class Journal:
    """The file at `path`. Safe to use from several threads and processes. `remedy`: what to do about damage."""

    def __init__(self, path: Path, *, remedy: str = "") -> None:
        self.path, self._remedy = path, remedy

    def read(self) -> list[Line]:
        """Every line, oldest first; none where there is no file. Raises DamagedFileError."""
        return parse(self.content()).sound(str(self.path), self._remedy)

    def content(self) -> bytes:
        """What the file holds, damaged or not. Raises DamagedFileError where something else than a file is."""
        try:
            with reading(str(self.path)):
                return read_plain(self.path)
        except FileNotFoundError:
            return b""
        except NotPlainError as error:
            raise DamagedFileError(f"{error}. {self._remedy}".rstrip()) from error

    def append(self, lines: Sequence[Line]) -> None:
        """Add lines, on the disk when this returns. Raises DamagedFileError, StorageFullError, changing nothing."""
        self.extend(lambda _: lines)

    def extend(
        self, decide: Callable[[list[Line]], Sequence[Line]], then: Callable[[list[Line]], None] | None = None
    ) -> list[Line]:
        """Add what follows from the lines that are there, alone meanwhile and in what comes `then`; every line."""
        with locked(self._lock):
            before = parse(self.content())
            lines = before.sound(str(self.path), self._remedy)
            if more := decide(lines):
                self._write(encode(more), before.whole_bytes)
            if then:
                then([*lines, *more])
            return [*lines, *more]

    def mend(self, decide: Callable[[list[Line]], Sequence[Line]]) -> Path | None:
        """Set a damaged file aside and write its sound lines and what follows from them; None if nothing was bad."""
        with locked(self._lock):
            before = found(self.content)
            if not before.bad:
                return None
            place = set_aside(self.path)
            write_bytes(self.path, encode([*before.lines, *decide(before.lines)]))
            return place

    @property
    def _lock(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    def _write(self, content: bytes, end: int) -> None:
        """At the end of the last whole line. What the disk does not take is cut off again."""
        with writing(str(self.path)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                os.ftruncate(descriptor, end)
                if end and os.pread(descriptor, 1, end - 1) != b"\n":
                    content = b"\n" + content
                try:
                    _write_all(descriptor, content, end)
                    os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, end)
                    raise
            finally:
                os.close(descriptor)
            _sync_folder(self.path.parent)


def _write_all(descriptor: int, content: bytes, at: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, at)
        content, at = content[written:], at + written


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _may_be_torn(tail: bytes, after: Sequence[bytes]) -> bool:
    """Whether an append that was cut off can have left it: the beginning of a line, zeros where a disk lost power."""
    written = tail.rstrip(b"\0")
    return written[:1] == b"{" and min(written) >= _FIRST_PRINTABLE if written else bool(after) or not tail


def _line(text: bytes) -> Line | None:
    try:
        line = orjson.loads(text)
        check = line.pop(_CHECK)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return None
    return line if isinstance(line, dict) and check == check_of(line) else None


def _encoded(line: Line) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_SORT_KEYS)
