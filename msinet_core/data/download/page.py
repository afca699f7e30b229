"""Read web pages that are sent instead of a file: their title, and Google Drive's question."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

_CONFIRMATION = "download-form"
"""The form in which Google Drive asks whether to download a file it did not scan for viruses."""

_LONGEST_TITLE = 80


class Page(HTMLParser):
    """The relevant content of a page.

    Args:
        content: Its HTML, or the beginning of it.
        url: Its address.

    Attributes:
        title: Its title.
        confirmed: The address behind "download anyway"; empty if it has none.
    """

    def __init__(self, content: bytes, url: str) -> None:
        super().__init__()
        self.title = self.confirmed = self._action = self._inside = ""
        self._fields: dict[str, str] = {}
        self.feed(content.decode("utf-8", "replace"))
        self.title = " ".join(self.title.split())[:_LONGEST_TITLE]
        action = urljoin(url, self._action)
        # Neither cookies nor the answer go to another site.
        hosts = [urlsplit(address).hostname or "" for address in (action, url)]
        safe = hosts[0] == hosts[1] or all(host.endswith(".google.com") for host in hosts)
        if self._action and safe:
            self.confirmed = f"{action.partition('?')[0]}?{urlencode(self._fields)}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember the form and its fields."""
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values.get("id") == _CONFIRMATION:
            self._action = values.get("action", "")
        if tag == "input" and self._inside == "form" and values.get("type") == "hidden":
            self._fields[values.get("name", "")] = values.get("value", "")
        if tag == "title" or (tag == "form" and self._action):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        """Leave the form or the title."""
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        """Collect the title."""
        if self._inside == "title":
            self.title += data
