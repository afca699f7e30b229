"""Ask a web server for a file, or for the rest of one, and recognize what is no file."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from msinet_core.data.download.page import read_page
from msinet_core.system.version import __version__

CHUNK = 2**18
"""The most bytes that are read at once."""

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_PAUSE = 60.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)$")
_HTML = re.compile(rb"\s*(<!doctype html|<html|<head)", re.IGNORECASE)


class PermanentError(Exception):
    """Say why asking again would not help; the text continues a sentence."""


class TransientError(Exception):
    """Say why a transfer broke off that may go on later.

    Args:
        reason: Continues a sentence.
        pause: Seconds that the server asks to wait; None if it does not.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True)
class Answer:
    """A server's answer, its body not read yet.

    Args:
        start: The place in the file at which the body begins.
        total: Bytes of the whole file; None if the server does not say.
        validator: What the server calls this version of the file; empty if nothing.
        first: The beginning of the body.
        response: The rest of it.
    """

    start: int
    total: int | None
    validator: str
    first: bytes
    response: Any

    def chunks(self) -> Iterator[bytes]:
        """Read the body.

        Raises:
            TransientError: The connection broke off or fell silent.
        """
        chunk = self.first
        while chunk:
            yield chunk
            with _translated():
                chunk = self.response.read1(CHUNK)


@contextmanager
def ask(
    url: str, *, start: int = 0, validator: str = "", verified: bool = False, timeout: float = 30
) -> Iterator[Answer]:
    """Ask for a file from a place in it on; the answer says from where it really comes.

    Google Drive's question whether to download a file that is too large to be scanned for viruses
    is answered with yes.

    Args:
        url: The address.
        start: Bytes that are here already.
        validator: The version that these belong to; another one is sent from its beginning.
        verified: Whether a checksum will tell if the file is the right one. Only then may it come
            over a connection that others could alter.
        timeout: Seconds of silence that are waited for.

    Raises:
        PermanentError: There is no such file there, or it is something else.
        TransientError: The server cannot be reached now.
    """
    opener = urllib.request.build_opener(
        _CheckedRedirects(verified), urllib.request.HTTPCookieProcessor()
    )
    request = partial(_request, opener, start=start, validator=validator, verified=verified)
    answer = request(url, timeout=timeout)
    try:
        page = _page(answer)
        confirmed = read_page(page, answer.response.url).confirmed if page else ""
        if confirmed:
            answer.response.close()
            answer = request(confirmed, timeout=timeout)
            page = _page(answer)
        if page:
            raise PermanentError(_describe_page(page, answer.response.url))
        yield answer
    finally:
        answer.response.close()


def check_address(url: str, *, verified: bool) -> None:
    """Refuse addresses whose answers could be altered on the way unnoticed.

    Args:
        url: The address.
        verified: Whether a checksum is known.

    Raises:
        PermanentError: It is neither https, nor on this machine, nor http with a checksum.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and (verified or parts.hostname in _LOCAL_HOSTS):
        return
    raise PermanentError(
        f"{url} is refused: what does not come over https could have been altered on its way, and "
        f"no checksum of the file is known"
    )


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, verified: bool) -> None:
        self._verified = verified

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        check_address(newurl, verified=self._verified)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _request(
    opener: urllib.request.OpenerDirector,
    url: str,
    *,
    start: int,
    validator: str,
    verified: bool,
    timeout: float,
) -> Answer:
    check_address(url, verified=verified)
    # Compressed on the way, a file would have other lengths and places.
    headers = {"User-Agent": f"msinet/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    answer = None
    with _translated():
        try:
            response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
            answer = _read_head(response, start)
        except urllib.error.HTTPError as error:
            if not (error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start):
                raise
            response = error
    if answer is None:  # there is no such place in the file: from the beginning then
        response.close()
        return _request(opener, url, start=0, validator="", verified=verified, timeout=timeout)
    return answer


def _read_head(response: Any, start: int) -> Answer | None:
    """Read the headers and the beginning of the body; None if the place in the file is wrong."""
    headers = response.headers
    length = headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    begins = 0
    if response.status == HTTPStatus.PARTIAL_CONTENT and start:
        found = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
        if found is None or int(found[1]) != start:
            return None
        begins, total = start, int(found[2])
    elif response.status != HTTPStatus.OK:
        raise PermanentError(f"the server answers {response.status} {response.reason}")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise PermanentError(
            f"the server sends it compressed ({headers['Content-Encoding']}), unasked"
        )
    etag = headers.get("ETag", "")
    # A weak one stands for files that may differ in their bytes (RFC 9110, section 13.1.5).
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    return Answer(begins, total, validator, response.read1(CHUNK), response)


def _page(answer: Answer) -> bytes | None:
    """Return the web page that came in place of a file; None if it is a file."""
    # The type may be wrong in both ways; a file of ours has zero bytes, and no page has.
    labeled = (
        answer.response.headers.get_content_type() == "text/html" and b"\0" not in answer.first
    )
    if not labeled and not (answer.start == 0 and _HTML.match(answer.first)):
        return None
    with _translated():
        return answer.first + bytes(answer.response.read(CHUNK))


def _describe_page(page: bytes, url: str) -> str:
    title = read_page(page, url).title
    shown = f' ("{title}")' if title else ""
    return (
        f"{urlsplit(url).hostname} sends a web page{shown} in place of the file, as a site does "
        f"that asks to log in or has reached its quota"
    )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the network raises into a reason, and into whether to try again."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"the server answers {error.code} {error.reason}"
        if error.code in _TRANSIENT:
            raise TransientError(reason, _pause(error)) from error
        raise PermanentError(reason) from error
    except urllib.error.URLError as error:
        raise _unreachable(error.reason) from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(error) from error


def _unreachable(error: Any) -> PermanentError | TransientError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return PermanentError(
            f"the server's certificate is not accepted ({error.verify_message}); a wrong clock, a "
            f"network that asks to log in, or a Python without certificates can be the cause"
        )
    if isinstance(error, socket.gaierror):
        return TransientError("the server's name cannot be looked up; there may be no network")
    if isinstance(error, TimeoutError):
        return TransientError("the server fell silent")
    if isinstance(error, ConnectionRefusedError):
        return TransientError("the server refuses the connection")
    if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected):
        return TransientError("the connection broke off")
    if isinstance(error, ConnectionError):
        return TransientError("the connection broke off")
    return TransientError(f"the connection failed: {error or type(error).__name__}")


def _pause(error: urllib.error.HTTPError) -> float | None:
    asked = error.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_PAUSE) if asked.isdigit() else None
