"""Read web pages that are sent instead of a file: their title, and Google Drive's question."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

_CONFIRMATION = "download-form"
"""The form in which Google Drive asks whether to download a file it did not scan for viruses."""

_LONGEST_TITLE = 80


class Page(NamedTuple):
    """The relevant content of a page.

    Args:
        title: Its title.
        confirmed: The address behind "download anyway"; empty if it has none.
    """

    title: str
    confirmed: str


def read_page(content: bytes, url: str) -> Page:
    """Read a page.

    Args:
        content: Its HTML, or the beginning of it.
        url: Its address.
    """
    parser = _Parser()
    parser.feed(content.decode("utf-8", "replace"))
    title = " ".join(parser.title.split())[:_LONGEST_TITLE]
    confirmed = ""
    if parser.action:
        action = urljoin(url, parser.action)
        # Neither cookies nor the answer go to another site.
        hosts = [urlsplit(address).hostname or "" for address in (action, url)]
        if hosts[0] == hosts[1] or all(host.endswith(".google.com") for host in hosts):
            confirmed = f"{action.partition('?')[0]}?{urlencode(parser.fields)}"
    return Page(title, confirmed)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.action = ""
        self.fields: dict[str, str] = {}
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values.get("id") == _CONFIRMATION:
            self.action = values.get("action", "")
        if tag == "input" and self._inside == "form" and values.get("type") == "hidden":
            self.fields[values.get("name", "")] = values.get("value", "")
        if tag == "title" or (tag == "form" and self.action):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data
