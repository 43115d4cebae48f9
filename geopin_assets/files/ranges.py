"""Something that is read in ranges, as a file for libraries that seek in one. Not here: where ranges come from."""

import io
from collections.abc import Callable


class Ranges(io.RawIOBase):
    """So many bytes, of which `read` gives some: from where, and how many."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size, self._at = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        wanted = left if size < 0 else min(size, left)
        found = self._read(self._at, wanted) if wanted else b""
        self._at += len(found)
        return found
