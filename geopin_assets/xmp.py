"""XMP in a file of whatever format: properties by namespace, written as attributes or as elements, in any packet.

Here: finding them in bytes of unknown origin, in time that grows with their length. Not here: what they mean
(`sphere.py`, sources). Importing this imports nothing.
"""

import re
from functools import cache

GPANO = b"http://ns.google.com/photos/1.0/panorama/"
_BEFORE, _BEHIND = 2**16, 2**20
"""Bytes looked at around where a namespace is first named."""
_PREFIXES = 4


def properties(data: bytes, namespace: bytes) -> dict[str, str]:
    """Simple properties by local name; of several packets that state one, the first that is not empty.

    The prefix is whatever the packet declares for the namespace.
    """
    if (first := data.find(namespace)) < 0:
        return {}
    packets = data[max(0, first - _BEFORE) : first + _BEHIND]
    found: dict[str, str] = {}
    for prefix in list(dict.fromkeys(_declared(namespace).findall(packets)))[:_PREFIXES]:
        for name, value in _stated(prefix).findall(packets):
            if text := value.decode("utf-8", "replace").strip():
                found.setdefault(name.decode(), text)
    return found


@cache
def _declared(namespace: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"xmlns:([A-Za-z_][\w.-]{0,30}+)\s{0,20}+=\s{0,20}+[\"']" + re.escape(namespace) + rb"[\"']")


def _stated(prefix: bytes) -> re.Pattern[bytes]:
    value = rb"(?:\s{0,20}+=\s{0,20}+[\"']|[^<>=]{0,20}+>|\s[^<>]{0,200}+>)([^\"'<]{0,200}+)[\"'<]"
    return re.compile(rb"(?<![\w./:-])" + re.escape(prefix) + rb":(\w{1,60}+)" + value)
