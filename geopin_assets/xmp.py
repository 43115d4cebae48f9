"""XMP in bytes of unknown origin: the simple properties of a namespace, whatever prefix the writer gave it.

Here: what a packet, or a file with packets in it, says, in time that grows with its length. Not here: the packets of a
photo (`sources/own_photos/packets.py`), or what properties mean. Importing this imports little.

Read by pattern, as packets of strangers are cut off, or lack an end or a declaration: what can be read of them counts.
"""

import re
from html import unescape

GPANO = b"http://ns.google.com/photos/1.0/panorama/"
EXIF = b"http://ns.adobe.com/exif/1.0/"
XMP = b"http://ns.adobe.com/xap/1.0/"
PHOTOSHOP = b"http://ns.adobe.com/photoshop/1.0/"
DJI = b"http://www.dji.com/drone-dji/1.0/"
_USUAL = {GPANO: b"GPano", EXIF: b"exif", XMP: b"xmp", PHOTOSHOP: b"photoshop", DJI: b"drone-dji"}
"""Prefixes that mean a namespace also where no packet says so."""
_BEFORE, _BEHIND = 2**16, 2**20
"""Bytes looked at around where it is first named: packets hold depth maps and sound too."""
_MOST_PREFIXES = 4
_DECLARED = re.compile(rb"(?<![\w:.-])xmlns(?::([\w.-]{1,40}+))?+\s{0,20}+=\s{0,20}+[\"']([^\"'<>]{1,100}+)[\"']")
_ATTRIBUTE = rb"\s{0,20}+=\s{0,20}+(?:\"([^\"<]{0,200}+)\"|'([^'<]{0,200}+)')"
_ELEMENT = rb"(?:\s{1,20}+(?:xmlns|xml|rdf)(?::\w{1,20}+)?+=[\"'][^\"'<>]{0,100}+[\"']){0,2}+\s{0,20}+>([^<]{0,200}+)<"


def properties(data: bytes, namespace: bytes) -> dict[str, str]:
    """By local name, attributes and elements; of several that state one, the first that is not empty."""
    usual = _USUAL.get(namespace, b"")
    named = [at for name in (namespace.rstrip(b"/"), usual + b":") if (at := data.find(name)) >= 0]
    if not named:
        return {}
    packets = data[max(0, min(named) - _BEFORE) : min(named) + _BEHIND]
    declared = {prefix: uri.rstrip(b"/") == namespace.rstrip(b"/") for prefix, uri in _DECLARED.findall(packets)}
    prefixes = [prefix for prefix, is_it in ({usual: True} | declared).items() if is_it]
    found: dict[str, str] = {}
    for prefix in prefixes[:_MOST_PREFIXES]:
        for name, *values in _stated(prefix).findall(packets):
            if text := unescape(b"".join(values).decode("utf-8", "replace")).strip():
                found.setdefault(name.decode(), text)
    return found


def _stated(prefix: bytes) -> re.Pattern[bytes]:
    """Attributes have no default namespace: without a prefix it is elements only."""
    if not prefix:
        return re.compile(rb"<(\w{1,60}+)" + _ELEMENT)
    return re.compile(
        rb"(?<![\w/:.-])" + re.escape(prefix) + rb":(\w{1,60}+)(?:" + _ATTRIBUTE + rb"|" + _ELEMENT + rb")"
    )
