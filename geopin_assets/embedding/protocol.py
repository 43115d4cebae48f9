"""What the parts of this room are to each other: pixels, images, a fetcher, a model, an embedder, a failure.

Here too: why an image could not be embedded, the rows that remember it, and when it is tried again. Not here: any
part that does something. Importing this imports neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from geopin_assets.embedding.stages import TaskMemory


class FailureReason(StrEnum):
    """Why a capture has no vector. Classed by what another attempt would change."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    """Too many requests, ours or everybody's. Says nothing of the image, so it does not count as an attempt."""
    REFUSED = "refused"
    """400, 401, 403 …: often a signed address that expired after all; the next attempt, or crawl, brings a new one."""
    NOT_READY = "not_ready"
    """202: the server is still making it."""
    NOT_UNDERSTOOD = "not_understood"
    """No image and no error either: a status out of place, or headers larger than anybody's."""
    TOO_MANY_REDIRECTS = "too_many_redirects"
    NOT_AN_IMAGE = "not_an_image"
    """Something else with status 200: often an error page."""
    DAMAGED = "damaged"
    """Cut short or undecodable: often a connection that broke."""
    CRASHED = "crashed"
    """Decoding it ended the process that did it, twice; often its memory was needed elsewhere."""
    ENDED_RUNS = "ended_runs"
    """Not tried: it was being read, alone the second time, when two runs ended without a word."""
    HOST_DOWN = "host_down"
    """Not tried: the host had failed too often just before, or asked for a long pause. Does not count as an attempt."""
    LINK_EXPIRED = "link_expired"
    """Not tried: the address had expired and its source gave no other. Does not count as an attempt."""
    GONE = "gone"
    """Not tried: the source, asked for an address, did not have the capture. The next crawls will show if it is so."""

    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    """An address that may not be fetched: private network, another scheme, outside the photo folder."""
    OPTED_OUT = "opted_out"
    """Whoever serves it does not want it used so, and says so in headers (`opt_out.py`)."""
    UNSUPPORTED = "unsupported"
    """An image, but of another format than JPEG, PNG and WebP, or of a rare kind of those."""
    TOO_LARGE = "too_large"
    TOO_COSTLY = "too_costly"
    """Decoding it takes more time or memory than an image may."""
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    BLACK = "black"
    """Nothing to see, nearly everywhere. A server may have the picture another time."""
    ONE_COLOR = "one_color"
    """The same in another color: what is sent in place of a picture, or what is left of a damaged one."""
    BLURRED = "blurred"
    """These and the next seven: a picture, but of no use for finding its place (`quality.py`)."""
    DARK = "dark"
    OVEREXPOSED = "overexposed"
    VEILED = "veiled"
    """Hardly any contrast: fog, a wet or dirty windscreen all over."""
    NO_DETAIL = "no_detail"
    """Sky, a wall, snow: even nearly everywhere."""
    INDOOR = "indoor"
    """A room, by the network of scenes, where one is configured (`model/scenes.py`)."""
    IN_VEHICLE = "in_vehicle"
    """The inside of a car, bus or train, likewise."""
    WINDSCREEN = "windscreen"
    """Drops, reflections or a dashboard in one place all along a drive (`drives.py`)."""
    PADDING = "padding"
    """Of a view: most of it lies outside of what the panorama shows."""
    REPEATED = "repeated"
    """The very bytes that were sent for other captures of the source: in place of a picture."""

    @property
    def is_transient(self) -> bool:
        """Whether another attempt may succeed."""
        return self in _TRANSIENT

    @property
    def is_of_host(self) -> bool:
        """Whether it speaks of the host rather than of this image."""
        return self in _OF_HOST

    @property
    def is_attempt(self) -> bool:
        """Whether something was found out about this image; what was not is tried again, however often."""
        return self not in _SAYS_NOTHING


_R = FailureReason
FLAWS = frozenset(
    {_R.DARK, _R.OVEREXPOSED, _R.NO_DETAIL, _R.VEILED, _R.BLURRED, _R.INDOOR, _R.IN_VEHICLE, _R.WINDSCREEN}
)
"""What `quality.py` and `drives.py` find: of use or not is a matter of thresholds, and of GEOPIN_LEAVE_OUT."""
_OF_HOST = frozenset({_R.TIMEOUT, _R.UNREACHABLE, _R.SERVER_ERROR, _R.RATE_LIMITED})
_SAYS_NOTHING = frozenset({_R.HOST_DOWN, _R.LINK_EXPIRED, _R.RATE_LIMITED})
_ANOTHER_TIME = {_R.REFUSED, _R.NOT_READY, _R.NOT_UNDERSTOOD, _R.TOO_MANY_REDIRECTS, _R.NOT_AN_IMAGE, _R.DAMAGED}
_ANOTHER_TIME |= {_R.BLACK, _R.ONE_COLOR, _R.REPEATED}
_TRANSIENT = _OF_HOST | _SAYS_NOTHING | _ANOTHER_TIME | {_R.CRASHED, _R.ENDED_RUNS, _R.GONE}


@dataclass(frozen=True, slots=True)
class Failure:
    """One image that could not be had. `detail` is for a log line, without secrets."""

    reason: FailureReason
    detail: str = ""
    not_before: datetime | None = None
    """When the host will be ready to talk about it."""


BACK_OFF = (timedelta(hours=6), timedelta(days=1), timedelta(days=3), timedelta(days=7))
"""Wait after the first, second, … failed attempt; one more failure is final."""
LONGEST_WAIT = BACK_OFF[-1]
"""A time to try again that is further ahead was noted by a wrong clock, and counts as come."""


def next_try_at(
    reason: FailureReason, attempts: int, now: datetime, not_before: datetime | None = None
) -> datetime | None:
    """When a capture that failed `attempts` times (0: was not tried yet) is tried again; None for never.

    At most LONGEST_WAIT from now, whatever a server asks for.
    """
    if not reason.is_transient or attempts > len(BACK_OFF):
        return None
    backed_off = now + BACK_OFF[max(attempts - 1, 0)]
    return min(max(backed_off, not_before or backed_off), now + LONGEST_WAIT)


VIEWS = 12
"""Of a panorama, one every 30 degrees; a flat image has one."""

if TYPE_CHECKING:
    Image: TypeAlias = NDArray[np.uint8]
    """Upright RGB image, uint8 [height, width, 3]."""
else:  # as annotations see it when the module that they stand in is loaded
    Image = object


@dataclass(frozen=True, slots=True)
class CaptureImage:
    """The image of a capture of a cell, in the version it has now."""

    cell_id: str
    capture_id: str
    source: str
    source_capture_id: str
    image_url: str
    """As the catalog knows it; it may have expired."""
    image_version: str
    is_pano: bool
    center_deg: float | None
    """Bearing of the image center, degrees clockwise from true north; None if unknown."""


FetchImage = Callable[[str], Awaitable[bytes | Failure]]


class Fetcher(Protocol):
    """Where image bytes come from; `fetching.ImageFetcher` for real."""

    def lanes(self, host: str) -> int:
        """Requests that may run at once against a host (a scheme for local files)."""

    def session(self, memory: TaskMemory) -> AbstractAsyncContextManager[FetchImage]:
        """Yields `fetch(url)`, which returns a Failure and does not raise for a bad image.

        The bytes it returns are taken from the memory, and given back by the caller.
        """


PREPROCESSING = "p2"
"""Part of `model_id`: change it with anything that changes what the network sees."""


@dataclass(frozen=True, slots=True)
class Model:
    """Which model made, or will make, vectors: known without loading it."""

    model_id: str
    """Architecture, dimension, weights hash and preprocessing version: vectors of two ids never share an index."""
    dim: int
    is_place_recognition: bool
    """False for the sandbox's stand-in, whose vectors say how an image looks, not where it is."""
    side_px: int = 512
    """Of what it sees: shorter side of a flat image, both of a view. No more than that needs is decoded."""
    is_square: bool = False
    """Whether flat images are squeezed into a square of that side."""

    @property
    def label(self) -> str:
        """Text to show wherever its vectors are shown."""
        if self.is_place_recognition:
            return self.model_id
        return f"{self.model_id}: not a place-recognition model: sandbox stand-in"


STAND_IN = Model("thumbnail-512-p2", dim=512, is_place_recognition=False, side_px=64)
"""What the sandbox uses where there are no weights (`model/thumbnail.py`)."""


def embedding_schema(dim: int) -> pl.Schema:
    """Columns of the stored vectors of a model of `dim` dimensions."""
    import polars as pl  # not where images are decoded

    return pl.Schema(
        {"vector_id": pl.String(), "capture_id": pl.String(), "source": pl.String(), "view": pl.Int16()}
        | {"left_out": pl.Int16()}
        | dict.fromkeys(("blur", "light", "clipped", "contrast", "detail", "indoor", "in_vehicle"), pl.Float32())
        | {"heading_deg": pl.Float64(), "model_id": pl.String(), "image_version": pl.String()}
        | {"embedding": pl.Array(pl.Float16(), dim)}
    )


class Embedder(Protocol):
    """Turns images into unit vectors. Preprocessing lives with the model, so that it cannot be forgotten."""

    model: Model

    @property
    def batch_size(self) -> int:
        """Images per `embed` call that suit the device; any other number works too."""

    def preprocess(self, image: Image) -> Image:
        """Resize and crop to what the model takes, uint8 [h, w, 3]; images of equal shape can share a batch."""

    def embed(self, batch: Sequence[Image]) -> NDArray[np.float32]:
        """Embed preprocessed images of one shape: float32 [N, dim], rows of unit L2 norm, in order.

        May be called from another thread than the one that loaded the model, by one at a time.
        """
