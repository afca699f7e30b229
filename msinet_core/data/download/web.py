"""Request a file, or the rest of one, from a web server, and recognize what is not a file."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from msinet_core.data.download.page import Page
from msinet_core.errors import os_reason
from msinet_core.system.version import __version__

CHUNK = 2**18
"""The maximum number of bytes to read at once."""

TIMEOUT = 30.0
"""Seconds without data until a connection counts as broken."""

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_PAUSE = 60.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)$")
_HTML = re.compile(rb"\s*(<!doctype html|<html|<head)", re.IGNORECASE)


class PermanentError(Exception):
    """Report a failure for which a retry would not help; the text is a part of a sentence."""


class CertificateError(PermanentError):
    """Report a server's certificate that could not be verified."""


class TransientError(Exception):
    """Report a broken transfer that may be resumed later.

    Args:
        reason: A part of a sentence.
        pause: Seconds that the server requests to wait; None if it does not.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True)
class Response:
    """A server's response whose body is not read yet.

    Args:
        start: The position in the file at which the body begins.
        total: Bytes of the whole file; None if the server does not say.
        validator: The server's name for this version of the file; empty if it has none.
        first: The beginning of the body.
        raw: The rest of it.
    """

    start: int
    total: int | None
    validator: str
    first: bytes
    raw: Any

    def chunks(self) -> Iterator[bytes]:
        """Read the body.

        Raises:
            TransientError: The connection broke or timed out.
        """
        chunk = self.first
        while chunk:
            yield chunk
            with _translated():
                chunk = self.raw.read1(CHUNK)


@contextmanager
def request(
    url: str,
    *,
    start: int = 0,
    validator: str = "",
    verified: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[Response]:
    """Request a file from a position on; the response says from where it really comes.

    If Google Drive asks whether to download a file that is too large for its virus scan, the answer
    is yes.

    Args:
        url: The address.
        start: The number of bytes that exist already.
        validator: Their version; of another version the server sends the whole file.
        verified: Whether a checksum will tell if the file is the right one. Only then may it come
            over a connection that others could alter, or from a server whose certificate is broken.
        warn: Gets a sentence if the certificate is broken and the checksum stands in for it.

    Raises:
        PermanentError: The file does not exist, or is something else.
        TransientError: The server cannot be reached now.
    """
    handlers = [_CheckedRedirects(verified), urllib.request.HTTPCookieProcessor()]
    opener = urllib.request.build_opener(*handlers)
    send = partial(_request, start=start, validator=validator, verified=verified)
    try:
        response = send(opener, url)
    except CertificateError as error:
        if not verified:
            raise
        warn(f"{error}; the file is accepted only if its checksum is the published one")
        opener = urllib.request.build_opener(*handlers, _without_certificates())
        response = send(opener, url)
    try:
        page = _page(response)
        if page and page.confirmed:
            response.raw.close()
            response = send(opener, page.confirmed)
            page = _page(response)
        if page:
            raise PermanentError(_describe_page(page, response.raw.url))
        yield response
    finally:
        response.raw.close()


def _without_certificates() -> urllib.request.HTTPSHandler:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return urllib.request.HTTPSHandler(context=context)


def check_address(url: str, *, verified: bool) -> None:
    """Refuse addresses whose content others could alter without being noticed.

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
        f"refused {url}: without https others could alter the file, and it has no published "
        f"checksum"
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
) -> Response:
    check_address(url, verified=verified)
    # Compressed, a file would have other lengths and positions.
    headers = {"User-Agent": f"msinet/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    response = None
    with _translated():
        try:
            raw = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
            response = _read_head(raw, start)
        except urllib.error.HTTPError as error:
            if not (error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start):
                raise
            raw = error
    if response is None:  # the file has no such position: start over
        raw.close()
        return _request(opener, url, start=0, validator="", verified=verified)
    return response


def _read_head(raw: Any, start: int) -> Response | None:
    """Read the headers and the beginning of the body; None if it starts at another position."""
    headers = raw.headers
    length = headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    begin = 0
    if raw.status == HTTPStatus.PARTIAL_CONTENT and start:
        found = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
        if found is None or int(found[1]) != start:
            return None
        begin, total = start, int(found[2])
    elif raw.status != HTTPStatus.OK:
        raise PermanentError(f"the server responded {raw.status} {raw.reason}")
    encoding = headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise PermanentError(f"the server compressed the file ({encoding}) without being asked to")
    etag = headers.get("ETag", "")
    # A weak one stands for files that may differ in their bytes (RFC 9110, section 13.1.5).
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    return Response(begin, total, validator, raw.read1(CHUNK), raw)


def _page(response: Response) -> Page | None:
    """Return the web page that was sent instead of a file; None if it is a file."""
    # The content type may be wrong either way; our files contain zero bytes, and no page does.
    labeled = response.raw.headers.get_content_type() == "text/html" and b"\0" not in response.first
    if not labeled and not (response.start == 0 and _HTML.match(response.first)):
        return None
    with _translated():
        content = response.first + bytes(response.raw.read(CHUNK))
    return Page(content, response.raw.url) if content else None


def _describe_page(page: Page, url: str) -> str:
    shown = f' ("{page.title}")' if page.title else ""
    return (
        f"{urlsplit(url).hostname} sent a web page{shown} instead of the file, as sites do that "
        f"require a login or have reached a quota"
    )


@contextmanager
def _translated() -> Iterator[None]:
    """Translate errors of the network into a reason, and into whether to retry."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"the server responded {error.code} {error.reason}"
        if error.code in _TRANSIENT:
            raise TransientError(reason, _pause(error)) from error
        raise PermanentError(reason) from error
    except urllib.error.URLError as error:
        raise _unreachable(error.reason) from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(error) from error


def _unreachable(error: Any) -> PermanentError | TransientError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return CertificateError(
            f"the server's certificate could not be verified ({error.verify_message}); check the "
            f"clock, the network's login page, and Python's certificates (on a Mac, Python from "
            f"python.org has Install Certificates.command in its folder)"
        )
    if isinstance(error, TimeoutError):
        return TransientError("the connection timed out")
    if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected):
        return TransientError("the connection broke")
    return TransientError(f"the connection failed: {os_reason(error)}")


def _pause(error: urllib.error.HTTPError) -> float | None:
    requested = error.headers.get("Retry-After", "")
    return min(float(requested), _LONGEST_PAUSE) if requested.isdigit() else None
