"""The body of an answer, unpacked within bounds.

Here: the one encoding that is asked for and understood, and what comes packed unasked. Not here: the deadline
(`client.py`), what a body means (`exchange.py`). A library that follows `Content-Encoding: gzip, gzip` makes 4 GB of
3 kB between two looks at the size.
"""

import zlib

from geopin_assets.errors import PayloadError, TransientError

ENCODING = "gzip"
_PACKED = frozenset(("gzip", "x-gzip"))
_PLAIN = frozenset(("", "identity"))
_GZIP_WBITS = 31
_ANY_WBITS = 47  # gzip or deflate, by their first bytes, which are those of no image
_MEMBER = b"\x1f\x8b"
"""How a member begins: what was packed in pieces has several, one after the other. Anything else behind one is none."""
_PACKED_FIRST = (b"\x1f", b"\x78")


class Body:
    """Collects a body of at most `limit` bytes, packed or not. Raises PayloadError for an encoding nobody asked for."""

    def __init__(self, encoding: str, limit: int) -> None:
        encoding = encoding.strip().lower()
        if encoding not in _PACKED | _PLAIN:
            raise PayloadError(f"an encoding that was not asked for: {encoding[:50]!r}")
        self._gzip = zlib.decompressobj(_GZIP_WBITS) if encoding in _PACKED else None
        self._limit, self._received = limit, 0
        self._bytes: bytes | bytearray = b""

    @classmethod
    def unasked(cls, encoding: str, first: bytes, limit: int) -> "Body":
        """Of a server that packs without being asked, or says so without doing it: its `first` bytes decide."""
        body = cls("", limit)
        if encoding and first.startswith(_PACKED_FIRST):
            body._gzip = zlib.decompressobj(_ANY_WBITS)
        return body

    def add(self, chunk: bytes) -> None:
        """Take what came next. Raises TransientError for damaged bytes."""
        self._received += len(chunk)
        if self._gzip is None:
            self._keep(chunk)
            return
        try:
            self._keep(self._gzip.decompress(chunk, self._limit + 1 - len(self._bytes)))
            while self._gzip.unused_data.startswith(_MEMBER) and not self.is_too_large:
                rest, self._gzip = self._gzip.unused_data, zlib.decompressobj(_GZIP_WBITS)
                self._keep(self._gzip.decompress(rest, self._limit + 1 - len(self._bytes)))
        except zlib.error as error:
            raise TransientError(f"damaged {ENCODING}: {error}") from error

    def _keep(self, piece: bytes) -> None:
        if not self._bytes:
            self._bytes = piece  # often there is no other
            return
        if isinstance(self._bytes, bytes):
            self._bytes = bytearray(self._bytes)
        self._bytes += piece

    @property
    def is_too_large(self) -> bool:
        """Whether there is more than the limit, as it came or unpacked; nothing may be added then."""
        return max(self._received, len(self._bytes)) > self._limit

    @property
    def beginning(self) -> bytes:
        """What there is, up to the limit."""
        if isinstance(self._bytes, bytes):
            return self._bytes[: self._limit]
        return bytes(memoryview(self._bytes)[: self._limit])

    def head(self, size: int) -> bytes:
        """Its first bytes, as far as they are there."""
        return bytes(self._bytes[:size])

    def whole(self) -> bytes:
        """All of it. Raises TransientError if its end is missing."""
        if self._gzip is not None and self._received and not self._gzip.eof:
            raise TransientError(f"{ENCODING} that ends too early")
        return self.beginning
