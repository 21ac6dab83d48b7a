"""No server holds a command longer, or fills more memory, than the limits say; here they misbehave at random."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.cli import main
from planner.serve.http_client import Answer, Unanswered, ask, open_answer
from planner.serve.process.health import ask_health, read_metrics
from planner.serve.verification.checks.server import Server

pytestmark = pytest.mark.slow

TIMEOUT_S = 0.3
SLACK_S = 1.5
"""A busy machine: nothing here may take this much longer than it should."""

Script = Callable[[socket.socket], None]


def whole_request(connection: socket.socket) -> None:
    """Read all of a request: closing over unread input would reset the connection."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        part = connection.recv(1 << 16)
        if not part:
            return
        seen += part
    head, _, body = seen.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *([0-9]+)", head)
    missing = (int(length[1]) if length else 0) - len(body)
    while missing > 0 and (part := connection.recv(1 << 16)):
        missing -= len(part)


@contextmanager
def server(script: Script) -> Iterator[str]:
    """A server that does as `script` says with every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    whole_request(connection)
                    script(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=6)


def says(*parts: bytes, pause_s: float = 0.0) -> Script:
    def script(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)

    return script


def for_ever(first: bytes, part: bytes, pause_s: float = 0.0) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(first)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            connection.sendall(part)
            time.sleep(pause_s)

    return script


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS: dict[str, Script] = {
    "a body without an end": for_ever(HEAD, b"a" * 65536),
    "a body that drips": for_ever(HEAD, b"a", 0.05),
    "a line that drips": for_ever(HEAD, b"data: ", 0.05),
    "headers that drip": for_ever(b"HTTP/1.1 200 OK\r\n", b"X", 0.05),
    "headers without an end": for_ever(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "a header line without an end": for_ever(b"HTTP/1.1 200 OK\r\nX: ", b"a" * 4096),
    "a status line without an end": for_ever(b"", b"a" * 4096),
    "a status line that drips": for_ever(b"HTTP/1.1 2", b"0", 0.05),
    "forever 100": for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunks without an end": for_ever(CHUNKED, b"ffff\r\n" + b"a" * 0xFFFF + b"\r\n"),
    "a chunk size that drips": for_ever(CHUNKED, b"0", 0.05),
    "a chunk beyond any memory": says(CHUNKED, b"f" * 20 + b"\r\nabc"),
    "a chunk of 512 GiB": says(CHUNKED, b"8000000000\r\nabc"),
    "a chunk below nothing": says(CHUNKED, b"-5\r\nabc"),
    "a body that is cut short": says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
    "an error that drips": for_ever(b"HTTP/1.1 500 No\r\n\r\n", b"a", 0.05),
    "an error without an end": for_ever(b"HTTP/1.1 500 No\r\n\r\n", b"a" * 65536),
    "silence": lambda _connection: time.sleep(2),
    "nothing": lambda _connection: None,
    "a length that is a lie": says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx"),
    "a length that is not one": says(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx"),
    "packed": says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"),
    "no HTTP": says(b"\x00\xff\x1b]0;x\x07\r\n\r\n"),
    "another protocol": says(b"SSH-2.0-OpenSSH_9\r\n"),
    "a redirect": says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
}


def bounded(call: Callable[[], object]) -> object:
    """What `call` brings or why it does not, within its time."""
    began = time.monotonic()
    try:
        return call()
    except Unanswered as fault:
        assert str(fault)
        return fault
    finally:
        assert time.monotonic() - began < TIMEOUT_S + SLACK_S


@pytest.mark.parametrize("name", ENDLESS)
def test_every_way_to_misbehave_ends_in_time(name: str) -> None:
    with server(ENDLESS[name]) as url:
        found = bounded(lambda: ask("GET", url, timeout_s=TIMEOUT_S, most_bytes=1 << 20))
        assert isinstance(found, Unanswered) or name in ("a redirect", "a length that is not one"), found
        assert not isinstance(found, Answer) or len(found.body) <= 1 << 20

        def stream() -> None:
            with open_answer(
                "POST", url, body={}, timeout_s=TIMEOUT_S, most_bytes=1 << 20, most_line_bytes=1 << 16
            ) as answer:
                for line in answer.lines():
                    assert len(line) < 1 << 18

        bounded(stream)
        began = time.monotonic()
        assert not ask_health(url, timeout_s=TIMEOUT_S).ok or name == "a length that is not one"
        assert time.monotonic() - began < TIMEOUT_S + SLACK_S


PIECES = [
    CHUNKED, HEAD,
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 ", b"200", b"\r\n", b"\r\n\r\n", b"\n",
    b": ", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 9999999999\r\n",
    b"Content-Encoding: gzip\r\n", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n",
    b"ffffffffffffffffffff\r\n", b"data: {}\n\n", b"data: [DONE]\n\n", b"\x00\xff", b"x" * 70_000,
    b"X: " + b"y" * 70_000 + b"\r\n", b"\x1f\x8b\x08\x00",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.sampled_from(PIECES) | st.binary(max_size=40), max_size=12),
    pause_s=st.sampled_from([0.0, 0.0, 0.02, 0.4]),
    after=st.sampled_from(["close", "reset", "hold"]),
)
def test_a_server_that_misbehaves_at_random(parts: Sequence[bytes], pause_s: float, after: str) -> None:
    def script(connection: socket.socket) -> None:
        says(*parts, pause_s=pause_s)(connection)
        if after == "hold":
            time.sleep(TIMEOUT_S * 2)
        elif after == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with server(script) as url:
        found = bounded(lambda: ask("GET", url, timeout_s=TIMEOUT_S, most_bytes=100_000))
        assert isinstance(found, Unanswered) or (isinstance(found, Answer) and len(found.body) <= 100_000)


@pytest.mark.parametrize("name", ["a body without an end", "headers that drip", "an error that drips", "forever 100"])
def test_the_commands_hold_the_limit_of_the_whole(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with server(ENDLESS[name]) as url:
        for check in ("health", "model"):
            began = time.monotonic()
            assert main(["verify", url, "--timeout", "0.3", "--only", check, "--skip", "model"]) == 6
            assert time.monotonic() - began < 2 * TIMEOUT_S + SLACK_S
    assert "Traceback" not in capsys.readouterr().err


def test_an_answer_within_the_limits_is_whole() -> None:
    with server(says(CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n")) as url:
        assert ask("GET", url, timeout_s=5).body == b"hello"
        assert read_metrics(url) == "hello"
    lines = b"data: {}\r\n\r\ndata: {}\n\ndata: [DONE]\n\n"
    with server(says(HEAD, lines[:7], lines[7:])) as url:
        assert list(Server(url, api_key=None, timeout_s=5).stream("/", {})) == [{}, {}]


def test_a_proxy_of_the_environment_is_used_but_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def proxy(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with server(proxy) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        assert ask("GET", "http://far.invalid/health", timeout_s=5).body == b"ok"
        with server(says(b"HTTP/1.1 204 No\r\n\r\n")) as here:
            assert ask("GET", here, timeout_s=5).status == 204
