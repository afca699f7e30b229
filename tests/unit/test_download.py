"""Downloads against a server on this machine that behaves badly in every way that servers do."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from msinet_core.data.download import part, transfer, web
from msinet_core.data.download.page import Page
from msinet_core.data.download.transfer import download
from msinet_core.errors import InterruptedRunError, MsinetError
from msinet_core.system.progress import Progress, Task

CONTENT = bytes(range(256)) * 2000
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT", 5)
    monkeypatch.setattr(transfer, "ATTEMPTS", 3)
    monkeypatch.setattr(transfer, "PAUSE", 0.01)


@dataclass
class Reply:
    """What the server does at one request.

    Args:
        status: 206 if the range is honored; the server decides.
        cut: Bytes of the body after which the connection is closed.
        stall: Whether it falls silent there instead.
        headers: More headers.
        content: Another content.
        ranges: Whether it honors ranges.
        chunked: Whether it sends chunks and no length, as GitHub does.
        more: Bytes after the end of the body.
    """

    status: int = 200
    cut: int | None = None
    stall: bool = False
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    content: bytes = CONTENT
    ranges: bool = True
    chunked: bool = False
    more: bytes = b""


class Site:
    """A server that gives prepared replies one after another, the last one forever."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.done = threading.Event()
        self.server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def serve(self, *replies: Reply, path: str = "/file.bin") -> str:
        self.replies[path] = list(replies)
        return self.url + path

    def ranges(self) -> list[str | None]:
        return [headers.get("range") for _, headers in self.requests]


@pytest.fixture
def self_signed(site: Site, tmp_path: Path) -> str:
    """The site's address behind a certificate that nobody trusts."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = [openssl, *request, "-subj", "/CN=localhost", *files]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    site.serve(Reply())
    return f"https://localhost:{site.server.server_address[1]}/file.bin"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path
            headers = {key.lower(): value for key, value in self.headers.items()}
            site.requests.append((path, headers))
            replies = site.replies[path]
            answer(self, replies.pop(0) if len(replies) > 1 else replies[0], headers)

        def log_message(self, *arguments: Any) -> None:
            pass

    def answer(handler: Handler, reply: Reply, headers: dict[str, str]) -> None:
        start = 0
        wanted = headers.get("range")
        same = headers.get("if-range", reply.headers.get("ETag")) == reply.headers.get("ETag")
        status = reply.status
        if wanted and reply.ranges and same and status == 200:
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(reply.content):
                handler.send_error(416)
                return
        body = reply.content[start:]
        handler.send_response(status)
        if status == 206:
            end = len(reply.content)
            handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        if reply.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
            pieces = [body[at : at + 30_000] for at in range(0, len(body), 30_000)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
        else:
            handler.send_header("Content-Length", str(len(body)))
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body[: reply.cut] + reply.more)
        if reply.stall:
            handler.wfile.flush()
            site.done.wait(5)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site = Site(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.done.set()
    server.shutdown()
    server.server_close()
    thread.join()


class Heard(Progress):
    """Record what was reported."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int, str]] = []
        self.messages: list[str] = []
        self.bytes = 0

    @contextmanager
    def task(
        self, description: str, total: int, unit: str = "images", done: int = 0
    ) -> Iterator[Task]:
        self.tasks.append((description, total, unit))
        heard = self

        class Counter(Task):
            def advance(self, count: int = 1, share: float | None = None, **fields: str) -> None:
                heard.bytes += count

        yield Counter()

    def message(self, text: str) -> None:
        self.messages.append(text)


def get(url: str, target: Path, **options: Any) -> Path:
    return download(url, target, **options)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_transfer_reports_bytes_and_leaves_one_file(site: Site, tmp_path: Path) -> None:
    heard = Heard()
    target = tmp_path / "new" / "file.bin"
    assert get(site.serve(Reply()), target, checksum=MD5, progress=heard) == target
    assert target.read_bytes() == CONTENT
    assert leftovers(target.parent) == ["file.bin"]
    assert heard.tasks == [("file.bin", len(CONTENT), "bytes")]
    assert heard.bytes == len(CONTENT)
    assert site.requests[0][1]["user-agent"].startswith("msinet/")


def test_an_existing_file_is_not_requested(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(CONTENT)
    get(site.serve(Reply()), target, checksum=MD5)
    assert site.requests == []


def test_an_existing_file_with_another_checksum_is_kept(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"mine")
    with pytest.raises(MsinetError, match=MD5.removeprefix("md5:")):
        get(site.serve(Reply()), target, checksum=MD5)
    assert target.read_bytes() == b"mine"


def test_a_cut_connection_is_resumed_where_it_broke(site: Site, tmp_path: Path) -> None:
    heard = Heard()
    url = site.serve(Reply(cut=100_000), Reply(cut=50_000), Reply())
    assert get(url, tmp_path / "file.bin", progress=heard).read_bytes() == CONTENT
    assert site.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert site.requests[1][1]["if-range"] == '"one"'
    assert "0.1 MB of 0.5 MB" in heard.messages[0]
    assert heard.tasks[1] == ("file.bin, the rest", len(CONTENT) - 100_000, "bytes")
    assert heard.bytes == len(CONTENT)


def test_a_later_call_resumes_what_an_earlier_one_left(site: Site, tmp_path: Path) -> None:
    url = site.serve(Reply(cut=100_000), Reply(cut=0))
    with pytest.raises(MsinetError, match=r"0\.1 MB .*file\.bin\.part") as error:
        get(url, tmp_path / "file.bin")
    assert url in str(error.value)
    assert not (tmp_path / "file.bin").exists()
    site.requests.clear()
    site.serve(Reply())
    assert get(url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert site.ranges() == ["bytes=100000-"]
    assert leftovers(tmp_path) == ["file.bin"]


def test_a_complete_part_is_renamed_without_a_request(site: Site, tmp_path: Path) -> None:
    url = site.serve(Reply())
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    origin = {"url": url, "validator": '"one"', "total": len(CONTENT)}
    (tmp_path / "file.bin.part.json").write_text(json.dumps(origin))
    assert get(url, tmp_path / "file.bin", checksum=MD5).read_bytes() == CONTENT
    assert site.requests == []


def test_a_file_that_changed_in_between_is_downloaded_again(site: Site, tmp_path: Path) -> None:
    new, heard = CONTENT[::-1], Heard()
    url = site.serve(Reply(cut=100_000), Reply(content=new, headers={"ETag": '"two"'}))
    assert get(url, tmp_path / "file.bin", progress=heard).read_bytes() == new
    assert len(heard.messages) == 2


def test_a_server_that_ignores_ranges_is_read_from_the_beginning(
    site: Site, tmp_path: Path
) -> None:
    url = site.serve(Reply(cut=100_000, ranges=False), Reply(ranges=False))
    assert get(url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert site.ranges() == [None, "bytes=100000-"]


def test_a_server_that_sends_another_range_is_read_from_the_beginning(
    site: Site, tmp_path: Path
) -> None:
    wrong = Reply(status=206, headers={"Content-Range": "bytes 7-9/10", "ETag": '"one"'})
    url = site.serve(Reply(cut=100_000), wrong, Reply())
    assert get(url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert site.ranges() == [None, "bytes=100000-", None]


def test_a_part_that_is_longer_than_the_file_is_discarded(site: Site, tmp_path: Path) -> None:
    url = site.serve(Reply())
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    origin = {"url": url, "validator": '"one"', "total": None}
    (tmp_path / "file.bin.part.json").write_text(json.dumps(origin))
    assert get(url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert site.ranges() == [f"bytes={len(CONTENT) + 4}-", None]


@pytest.mark.parametrize("note", ["", "{}", "[1]", '{"url": "http://elsewhere/", "total": "x"}'])
def test_a_part_of_unknown_origin_is_discarded(site: Site, tmp_path: Path, note: str) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"what is this")
    (tmp_path / "file.bin.part.json").write_text(note)
    assert get(site.serve(Reply()), tmp_path / "file.bin").read_bytes() == CONTENT
    assert site.ranges() == [None]


def test_without_version_and_checksum_nothing_is_resumed(site: Site, tmp_path: Path) -> None:
    url = site.serve(Reply(cut=100_000, headers={}), Reply(headers={}))
    get(url, tmp_path / "plain.bin")
    assert site.ranges() == [None, None]
    site.requests.clear()
    site.serve(Reply(cut=100_000, headers={}), Reply(headers={}))
    get(url, tmp_path / "checked.bin", checksum=MD5)
    assert site.ranges() == [None, "bytes=100000-"]


def test_a_weak_version_is_not_relied_on(site: Site, tmp_path: Path) -> None:
    date = "Fri, 01 Jan 2021 00:00:00 GMT"
    weak = {"ETag": 'W/"one"', "Last-Modified": date}
    get(site.serve(Reply(cut=100_000, headers=weak), Reply()), tmp_path / "file.bin")
    assert site.requests[1][1]["if-range"] == date


def test_after_a_wrong_checksum_nothing_is_kept(site: Site, tmp_path: Path) -> None:
    url = site.serve(Reply(content=b"something else"))
    with pytest.raises(MsinetError, match=MD5.removeprefix("md5:")):
        get(url, tmp_path / "file.bin", checksum=MD5)
    assert leftovers(tmp_path) == []


def test_a_checksum_stands_in_for_a_broken_certificate(self_signed: str, tmp_path: Path) -> None:
    heard = Heard()
    target = get(self_signed, tmp_path / "a.bin", checksum=MD5, progress=heard)
    assert target.read_bytes() == CONTENT
    assert any("certificate" in message for message in heard.messages)
    with pytest.raises(MsinetError, match="md5"):
        get(self_signed, tmp_path / "b.bin", checksum="md5:" + "0" * 32)
    with pytest.raises(MsinetError, match="certificate"):
        get(self_signed, tmp_path / "c.bin")
    assert leftovers(tmp_path) == ["a.bin", "certificate.pem", "key.pem"]


def test_sha256_is_supported(site: Site, tmp_path: Path) -> None:
    checksum = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    get(site.serve(Reply()), tmp_path / "file.bin", checksum=checksum)
    with pytest.raises(MsinetError, match="sha256"):
        get(site.serve(Reply(content=b"no")), tmp_path / "other.bin", checksum=checksum)


def test_after_a_timeout_the_part_is_kept(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT", 0.1)
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    url = site.serve(Reply(cut=100_000, stall=True))
    with pytest.raises(MsinetError, match=r"0\.1 MB .*file\.bin\.part"):
        get(url, tmp_path / "file.bin")
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:100_000]


def test_a_missing_file_is_requested_once(site: Site, tmp_path: Path) -> None:
    url = site.serve(Reply(status=404, content=b"gone"))
    with pytest.raises(MsinetError, match="404 Not Found") as error:
        get(url, tmp_path / "file.bin")
    assert str(tmp_path / "file.bin") in str(error.value)
    assert len(site.requests) == 1
    assert leftovers(tmp_path) == []


def test_a_busy_server_is_asked_again_after_the_pause_it_requests(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    busy = Reply(status=503, content=b"busy", headers={"Retry-After": "7"})
    later = Reply(status=429, content=b"busy", headers={"Retry-After": "999999"})
    get(site.serve(busy, later, Reply()), tmp_path / "file.bin")
    assert pauses == [7, 60]


def test_pauses_double_and_attempts_end(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    monkeypatch.setattr(transfer, "ATTEMPTS", 4)
    monkeypatch.setattr(transfer, "PAUSE", 1)
    with pytest.raises(MsinetError, match="500 Internal Server Error"):
        get(site.serve(Reply(status=500)), tmp_path / "file.bin")
    assert pauses == [1, 2, 4]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(content=b"<p>Log in", headers={"Content-Type": "text/html; charset=utf-8"}),
        Reply(content=b"\n<!DOCTYPE html><title>Hotel\n Wi-Fi</title>", headers={}),
    ],
)
def test_a_web_page_is_not_a_file(site: Site, tmp_path: Path, reply: Reply) -> None:
    with pytest.raises(MsinetError, match=r"127\.0\.0\.1") as error:
        get(site.serve(reply), tmp_path / "file.zip")
    assert ('("Hotel Wi-Fi")' in str(error.value)) == (b"Hotel" in reply.content)
    assert leftovers(tmp_path) == []


def test_a_file_with_the_content_type_of_a_page_is_a_file(site: Site, tmp_path: Path) -> None:
    called = {"Content-Type": "text/html", "ETag": '"one"'}
    url = site.serve(Reply(headers=called, cut=100_000), Reply(headers=called))
    assert get(url, tmp_path / "file.bin").read_bytes() == CONTENT


CONFIRM = """<html><head><title>Google Drive - Virus scan warning</title></head><body>
<form id="search" action="/search"><input type="hidden" name="q" value="no"></form>
<form id="download-form" action="{action}" method="get"><input type="submit" value="Download">
<input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="1-2"></form><input type="hidden" name="x" value="no">"""


def test_google_drives_question_is_answered_and_the_download_resumed(
    site: Site, tmp_path: Path
) -> None:
    page = Reply(
        content=CONFIRM.format(action="/download").encode(), headers={"Content-Type": "text/html"}
    )
    url = site.serve(page, path="/uc?id=abc")
    site.serve(Reply(cut=100_000), Reply(), path="/download?id=abc&confirm=t&uuid=1-2")
    assert get(url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert site.ranges()[1::2] == [None, "bytes=100000-"]


def test_a_page_after_the_confirmation_is_not_a_file(site: Site, tmp_path: Path) -> None:
    html = {"Content-Type": "text/html"}
    url = site.serve(Reply(content=CONFIRM.format(action="/download").encode(), headers=html))
    full = Reply(content=b"<title>Quota exceeded</title>", headers=html)
    site.serve(full, path="/download?id=abc&confirm=t&uuid=1-2")
    with pytest.raises(MsinetError, match="Quota exceeded"):
        get(url, tmp_path / "file.bin")


@pytest.mark.parametrize(
    ("action", "confirmed"),
    [
        ("https://drive.usercontent.google.com/download", True),
        ("/download", True),
        ("https://evil.example/download", False),
        ("https://google.com.evil.example/download", False),
    ],
)
def test_only_google_is_answered(action: str, confirmed: bool) -> None:
    page = Page(CONFIRM.format(action=action).encode(), "https://drive.google.com/uc?id=abc")
    assert page.title == "Google Drive - Virus scan warning"
    assert page.confirmed.endswith("download?id=abc&confirm=t&uuid=1-2") == confirmed


def test_a_redirect_is_followed(site: Site, tmp_path: Path) -> None:
    url = site.serve(Reply(status=302, content=b"", headers={"Location": "/real"}), path="/old")
    site.serve(Reply(), path="/real")
    assert get(url, tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("location", ["http://example.invalid/file", "ftp://127.0.0.1/file"])
def test_a_redirect_to_an_unsafe_address_is_refused(
    site: Site, tmp_path: Path, location: str
) -> None:
    url = site.serve(Reply(status=302, content=b"", headers={"Location": location}))
    with pytest.raises(MsinetError, match=location):
        get(url, tmp_path / "file.bin")


def test_redirects_in_a_circle_end(site: Site, tmp_path: Path) -> None:
    url = site.serve(Reply(status=302, content=b"", headers={"Location": "/file.bin"}))
    with pytest.raises(MsinetError, match="302"):
        get(url, tmp_path / "file.bin")


@pytest.mark.parametrize(
    ("url", "verified", "allowed"),
    [
        ("https://example.org/a", False, True),
        ("http://example.org/a", False, False),
        ("http://example.org/a", True, True),
        ("http://localhost:1/a", False, True),
        ("http://localhost.example.org/a", False, False),
        ("file:///etc/passwd", True, False),
        ("ftp://example.org/a", True, False),
        ("https:///a", True, False),
    ],
)
def test_addresses_that_could_be_altered_are_refused(
    url: str, verified: bool, allowed: bool
) -> None:
    if allowed:
        web.check_address(url, verified=verified)
    else:
        with pytest.raises(web.PermanentError, match=url):
            web.check_address(url, verified=verified)


def test_without_a_network_the_message_has_both_addresses(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    url, heard = f"http://127.0.0.1:{port}/file.bin", Heard()
    with pytest.raises(MsinetError, match=os.strerror(errno.ECONNREFUSED)) as error:
        get(url, tmp_path / "file.bin", progress=heard)
    assert url in str(error.value)
    assert str(tmp_path / "file.bin") in str(error.value)
    assert len(heard.messages) == 2
    assert leftovers(tmp_path) == []


def test_an_unknown_host_is_reported_in_the_systems_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(MsinetError, match="Temporary failure in name resolution"):
        get("https://example.invalid/file.bin", tmp_path / "file.bin")


def test_absurd_lengths_are_refused_before_the_body(site: Site, tmp_path: Path) -> None:
    with pytest.raises(MsinetError, match=r"0\.5 MB.*1,000 bytes"):
        get(site.serve(Reply()), tmp_path / "file.bin", limit=1000)
    assert leftovers(tmp_path) == []


def test_a_disk_that_is_too_small_is_refused_before_the_body(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(MsinetError, match=r"0\.5 MB.*1,000 bytes"):
        get(site.serve(Reply()), tmp_path / "file.bin")


def test_a_disk_that_fills_up_keeps_the_part(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "CHUNK", 100_000)
    append = part.Part.append

    def full(growing: part.Part, data: bytes) -> None:
        if growing.size:
            raise OSError(28, "the disk is full")
        append(growing, data)

    monkeypatch.setattr(part.Part, "append", full)
    with pytest.raises(MsinetError, match=r"the disk is full.*file\.bin\.part"):
        get(site.serve(Reply()), tmp_path / "file.bin")
    assert leftovers(tmp_path) == ["file.bin.part", "file.bin.part.json"]


def test_ctrl_c_keeps_the_part(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, append = site.serve(Reply()), part.Part.append

    def interrupted(growing: part.Part, data: bytes) -> None:
        append(growing, data[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(part.Part, "append", interrupted)
        with pytest.raises(InterruptedRunError, match=r"1,000 bytes .*file\.bin\.part"):
            get(url, tmp_path / "file.bin")
    assert get(url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert site.ranges() == [None, "bytes=1000-"]


def test_ctrl_c_before_the_first_byte_keeps_nothing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "request", interrupted)
    with pytest.raises(InterruptedRunError):
        get(site.serve(Reply()), tmp_path / "file.bin")
    assert leftovers(tmp_path) == []


def test_a_transfer_without_a_length_is_complete_at_its_end(site: Site, tmp_path: Path) -> None:
    heard = Heard()
    url = site.serve(Reply(chunked=True, cut=100_000), Reply(chunked=True))
    assert get(url, tmp_path / "file.bin", progress=heard).read_bytes() == CONTENT
    assert heard.tasks[0] == ("file.bin", 0, "bytes")
    assert len(heard.messages) == 1
    assert heard.bytes == len(CONTENT)


def test_a_transfer_without_a_length_ends_at_the_limit(site: Site, tmp_path: Path) -> None:
    with pytest.raises(MsinetError, match=r"0\.1 MB"):
        get(site.serve(Reply(chunked=True)), tmp_path / "file.bin", limit=100_000)


def test_a_second_download_waits_for_the_first(site: Site, tmp_path: Path) -> None:
    url, target, waiting = site.serve(Reply()), tmp_path / "file.bin", threading.Event()

    class Waiting(Progress):
        def message(self, text: str) -> None:
            assert "file.bin" in text
            waiting.set()

    with part.open_part(target, Progress()) as first:
        second = threading.Thread(target=get, args=(url, target), kwargs={"progress": Waiting()})
        second.start()
        assert waiting.wait(5)
        first.begin(part.Origin(url, "", len(CONTENT)))
        first.append(CONTENT)
        first.publish(target)
    second.join()
    assert target.read_bytes() == CONTENT
    assert site.requests == []
    assert leftovers(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_without_locks_is_used_without_them(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("filelock.FileLock.acquire", fail)
    assert get(site.serve(Reply()), tmp_path / "file.bin").read_bytes() == CONTENT


def test_bytes_after_the_announced_length_are_ignored(site: Site, tmp_path: Path) -> None:
    assert get(site.serve(Reply(more=b"!")), tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("chunked", [False, True])
def test_an_empty_file_is_an_error_and_keeps_what_came_before(
    site: Site, tmp_path: Path, chunked: bool
) -> None:
    empty = Reply(content=b"", chunked=chunked, headers={})
    with pytest.raises(MsinetError, match=r"file\.bin"):
        get(site.serve(empty), tmp_path / "file.bin")
    assert leftovers(tmp_path) == []
    with pytest.raises(MsinetError, match=r"file\.bin"):
        get(site.serve(Reply(cut=1000), empty), tmp_path / "file.bin")
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:1000]


def test_many_at_once_download_once(site: Site, tmp_path: Path) -> None:
    url = site.serve(Reply())
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(get(url, tmp_path / "file.bin").read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert len(site.requests) == 1
    assert leftovers(tmp_path) == ["file.bin"]


def test_the_installer_of_python_for_macs_has_a_command_for_certificates() -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_message = "unable to get local issuer certificate"
    reason = str(web._unreachable(error))
    assert error.verify_message in reason
    assert "Install Certificates.command" in reason
