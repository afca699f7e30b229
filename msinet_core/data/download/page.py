"""Web pages that come in place of a file: what they say, and Google Drive's question."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

_CONFIRMATION = "download-form"
"""The form in which Google Drive asks whether to download what it did not scan for viruses."""

_LONGEST_TITLE = 80


class Page(NamedTuple):
    """What is of interest in a page.

    Args:
        title: Its title.
        confirmed: The address behind "download anyway"; empty if there is none.
    """

    title: str
    confirmed: str


def read_page(content: bytes, url: str) -> Page:
    """Read a page.

    Args:
        content: Its HTML, or the beginning of it.
        url: Where it came from.
    """
    parser = _Parser()
    parser.feed(content.decode("utf-8", "replace"))
    title = " ".join(parser.title.split())[:_LONGEST_TITLE]
    confirmed = ""
    if parser.action:
        action = urljoin(url, parser.action)
        # Cookies and the answer stay with those who were asked.
        host, here = urlsplit(action).hostname or "", urlsplit(url).hostname or ""
        if host == here or all(name.endswith(".google.com") for name in (host, here)):
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
