"""A server over a real socket whose list changes between its pages, in the words of every source that pages.

`between(request)` is called before each page of a list is cut, with how many were cut before; it may change `records`.
Pages have 4 records where a source asks for as many as it may, and fewer where it asks for fewer.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from geopin_assets.http_client import HttpClient
from geopin_assets.sources.amsterdam import Amsterdam
from geopin_assets.sources.base import Source
from geopin_assets.sources.europeana import Europeana
from geopin_assets.sources.flickr import Flickr
from geopin_assets.sources.kartaview import KartaView
from geopin_assets.sources.stac import Stac
from geopin_assets_tests.sources.recordings import amsterdam, europeana, flickr, kartaview, stac

PER_PAGE = 4


@dataclass
class Shifting:
    """The list: ids of records, in the order of the pages."""

    records: list[str]
    between: Callable[[int], None] = lambda cut: None
    cut: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)
    """(offset, size) of every page."""

    def page(self, offset: int, size: int) -> tuple[list[str], int]:
        self.between(self.cut)
        self.cut += 1
        self.asked.append((offset, size))
        return self.records[offset : offset + size], len(self.records)


Answer = tuple[int, Any]


def _size(asked: str | int, most: int) -> int:
    return max(1, int(asked) * PER_PAGE // most)


def of_amsterdam(query: Mapping[str, str], shown: Shifting) -> Answer:
    number, size = int(query.get("page", "1")), _size(query["page_size"], 1000)
    records, count = shown.page((number - 1) * size, size)
    if number > 1 and not records:
        return 404, {"detail": "Invalid page."}
    following = urlencode({**query, "page": number + 1}) if number * size < count else None
    links = {"next": {"href": following and f"http://127.0.0.1/panorama/panoramas/?{following}"}}
    found = [amsterdam.RECORD | {"pano_id": id_} for id_ in records]
    return 200, {"_links": links, "count": count, "_embedded": {"panoramas": found}}


def of_kartaview(query: Mapping[str, str], shown: Shifting) -> Answer:
    size = _size(query["ipp"], 1000)
    records, count = shown.page((int(query["page"]) - 1) * size, size)
    found = [kartaview.RECORD | {"id": id_} for id_ in records]
    return 200, kartaview.PAGES[0] | {"currentPageItems": found, "totalFilteredItems": [str(count)]}


def of_flickr(query: Mapping[str, str], shown: Shifting) -> Answer:
    if query["method"] != "flickr.photos.search":
        return 200, flickr.LICENSES
    size = _size(query["per_page"], 250)
    records, count = shown.page((int(query["page"]) - 1) * size, size)
    return 200, flickr.page([flickr.RECORD | {"id": id_} for id_ in records], count, -(-count // size))


def of_europeana(query: Mapping[str, str], shown: Shifting) -> Answer:
    """With a cursor that is nothing but an offset, the worst there may be."""
    offset, size = int(query["cursor"].replace("*", "0")), _size(query["rows"], 100)
    records, count = shown.page(offset, size)
    found = [europeana.RECORD | {"id": id_} for id_ in records]
    following = {"nextCursor": str(offset + size)} if records else {}
    return 200, {**europeana.PAGES[0], "items": found, "totalResults": count, "nextCursor": None} | following


def of_stac(query: Mapping[str, str], shown: Shifting) -> Answer:
    if "limit" not in query:
        return 200, stac.COLLECTION
    offset, size = int(query.get("token", "0")), _size(query["limit"], 250)
    records, count = shown.page(offset, size)
    found = [stac.RECORD | {"id": id_} for id_ in records]
    address = f"{query['here']}?{urlencode({**query, 'token': offset + size})}"
    links = [{"rel": "next", "href": address}] if offset + size < count else []
    return 200, {"type": "FeatureCollection", "features": found, "links": links}


@dataclass(frozen=True)
class Paged:
    """A source that pages: how it answers, how it is built, where its record lies, and its own id of a record."""

    answer: Callable[[Mapping[str, str], Shifting], Answer]
    build: Callable[[HttpClient, str], Source]
    cell: Any
    id_of: Callable[[str], str] = str


PAGED = {
    "amsterdam": Paged(
        of_amsterdam,
        lambda client, url: Amsterdam(client, endpoint=url, now=lambda: amsterdam.NOW),
        amsterdam.CELL,
    ),
    "kartaview": Paged(
        of_kartaview,
        lambda client, url: KartaView(client, endpoint=url, now=lambda: kartaview.NOW, sleep=lambda _: None),
        kartaview.CELL,
    ),
    "flickr": Paged(
        of_flickr,
        lambda client, url: Flickr(client, api_key="key", endpoint=url, now=lambda: flickr.NOW),
        flickr.CELL,
    ),
    "europeana": Paged(
        of_europeana,
        lambda client, url: Europeana(client, api_key="key", endpoint=url, now=lambda: europeana.NOW),
        europeana.CELL,
    ),
    "stac": Paged(
        of_stac,
        lambda client, url: Stac(client, urls=[url], prefix="here", now=lambda: stac.NOW),
        stac.CELL,
        lambda id_: f"here/{stac.DRIVE}/{id_}",
    ),
}


class Server:
    """Shows one list after another to one source after another."""

    def __init__(self) -> None:
        self.shown = Shifting([])
        self.answer = of_amsterdam
        self.url = ""
        self.client = HttpClient("shifting", requests_per_second=1e9, sleep=lambda _: None)

    def show(self, name: str, shown: Shifting) -> tuple[Source, Paged]:
        """A source that has asked nothing yet, on a list."""
        paged = PAGED[name]
        self.shown, self.answer = shown, paged.answer
        return paged.build(self.client, self.url), paged


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port."""
    shows = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 20  # head and body in one packet: else the next waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            query = dict(parse_qsl(f"{urlsplit(self.path).query}&{body}"))
            here = {"here": f"http://{self.headers['Host']}{urlsplit(self.path).path}"}
            status, answer = shows.answer(query | here, shows.shown)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, shows.client:
        server.daemon_threads = True
        shows.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield shows
        finally:
            server.shutdown()
            thread.join()
