"""Which images are being read right now, written down before it begins: so what ends a run is known to the next one.

    {folder}/{run}.reading   a slot of 128 bytes for every image that the run reads at once
    {folder}/{run}.lock      held by the run as long as it lives
    {folder}/ended.sqlite    how many runs ended while an image was being read; and what is known to be no picture

An image that was being read when a run ended is read alone the next time; if that ends a run too, it is its fault, and
noted as a failure like any other. Here: those files. Not here: reading (`reading.py`), or what an image does to the
process that decodes it (`decoders.py`). Two writes of a few microseconds an image; the kernel keeps them, whatever
becomes of the process.
"""

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from geopin_assets.embedding.protocol import CaptureImage, Failure, FailureReason
from geopin_assets.errors import TransientError
from geopin_assets.files.damage import writing
from geopin_assets.files.lock import locked
from geopin_assets.files.losable import on_file

T = TypeVar("T")
ENDED_RUNS = 2
_SLOT_BYTES = 128
_SCHEMA = """
create table if not exists ended (image text primary key, runs integer);
create table if not exists repeated (bytes text primary key);
"""
_COUNT_UP = "insert into ended values (?, 1) on conflict (image) do update set runs = runs + 1"


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of all runs over the data whose `folder` this is."""

    folder: Path

    @contextmanager
    def of_run(self, at_once: int) -> Iterator["RunAttempts"]:
        """The attempts of a run, of so many images at once; runs that ended without a word are looked at first."""
        self._look_at_ended()
        path = self.folder / f"{os.getpid()}-{secrets.token_hex(4)}.reading"
        with locked(path.with_suffix(".lock"), patience_s=0):
            with writing(str(path)):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with writing(str(path)):
                    os.pwrite(descriptor, bytes(_SLOT_BYTES * at_once), 0)  # a full disk is noticed here, not later
                runs = self._on_file(lambda db: dict(db.execute("select image, runs from ended")))
                run = RunAttempts(self, descriptor, runs, list(range(at_once)))
                yield run
                run.forgive()
            finally:
                os.close(descriptor)
                _remove(path)
        _remove(path.with_suffix(".lock"))

    def set_runs(self, image: str, runs: int) -> None:
        """How many runs an image ended, from now on; 0 for one that was read."""

        def note(db: sqlite3.Connection) -> None:
            db.execute("insert or replace into ended values (?, ?)", (image, runs))
            db.execute("delete from ended where runs = 0")

        self._on_file(note)

    def repeated(self) -> set[str]:
        """What `add_repeated` was told in all runs so far."""
        return self._on_file(lambda db: {name for (name,) in db.execute("select bytes from repeated")})

    def add_repeated(self, name: str) -> None:
        """Remember what is sent in place of pictures."""
        self._on_file(lambda db: db.execute("insert or ignore into repeated values (?)", (name,)))

    def _look_at_ended(self) -> None:
        """What runs read that are no more."""
        with writing(str(self.folder)):
            self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob("*.reading"):
            try:
                with locked(path.with_suffix(".lock"), patience_s=0):
                    slots = path.read_bytes() if path.exists() else b""
                    self._count_up(_images(slots))
                    with writing(str(path)):
                        path.unlink(missing_ok=True)
            except TransientError:  # it lives
                continue
            _remove(path.with_suffix(".lock"))

    def _count_up(self, images: list[str]) -> None:
        self._on_file(lambda db: db.executemany(_COUNT_UP, [(image,) for image in images]))

    def _on_file(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """A damaged file is set aside: whatever ended runs before ends two more."""
        return on_file(self.folder / "ended.sqlite", _SCHEMA, work)


@dataclass(slots=True)
class RunAttempts:
    """The attempts of one run. For one thread."""

    _of: Attempts
    _descriptor: int
    _runs: dict[str, int]
    _free: list[int]
    _slots: dict[CaptureImage, int] = field(default_factory=dict)
    _blamed: list[str] = field(default_factory=list)

    def is_alone(self, image: CaptureImage) -> bool:
        """Whether nothing else may be read beside it."""
        return _key(image) in self._runs

    def blamed(self, image: CaptureImage) -> Failure | None:
        """The failure of an image that ended two runs."""
        if self._runs.get(key := _key(image), 0) < ENDED_RUNS:
            return None
        self._blamed.append(key)
        return Failure(FailureReason.ENDED_RUNS, f"being read when {ENDED_RUNS} runs ended")

    def forgive(self) -> None:
        """The failures are stored: when they are due, those images are tried again, alone."""
        for key in self._blamed:
            self._of.set_runs(key, ENDED_RUNS - 1)

    def begin(self, image: CaptureImage) -> None:
        """From now on it is to blame."""
        slot = self._slots[image] = self._free.pop()
        self._write(slot, _key(image).encode())

    def end(self, image: CaptureImage) -> None:
        """It was read, or failed like others; of no consequence for one that was not begun."""
        if (slot := self._slots.pop(image, None)) is None:
            return
        key = _key(image)
        self._free.append(slot)
        self._write(slot, b"")
        if self._runs.pop(key, 0):
            self._of.set_runs(key, 0)

    def _write(self, slot: int, content: bytes) -> None:
        with writing(f"attempts in {self._of.folder}"):
            os.pwrite(self._descriptor, content.ljust(_SLOT_BYTES, b"\0"), slot * _SLOT_BYTES)


def _remove(path: Path) -> None:
    """A disk that keeps it does no harm: the next run looks at it, and nothing is being read in it."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _key(image: CaptureImage) -> str:
    """A capture and the version of its image, in fewer bytes than a slot has."""
    version = hashlib.blake2s(image.image_version.encode(errors="replace"), digest_size=8).hexdigest()
    return f"{image.capture_id[:64]} {version}"


def _images(slots: bytes) -> list[str]:
    parts = (slots[at : at + _SLOT_BYTES].rstrip(b"\0") for at in range(0, len(slots), _SLOT_BYTES))
    return [part.decode(errors="replace") for part in parts if part]
