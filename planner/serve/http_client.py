"""The only way to ask a server: one request, and an answer that is bounded in bytes, lines, headers and total time.

A server may be hostile, broken or slow, and every command asks one. So one deadline holds for the whole, from the name
look-up's result to the last byte, however slowly the bytes come; bytes are counted as they arrive, headers and all; a
compressed answer is refused: it was not requested, and a few bytes could become gigabytes; no redirect is followed.
Python's own HTTP client does the protocol (a line of 64 KiB, 100 headers); this sets its limits.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

from hw_specs.errors import reason_of

MOST_BYTES = 64 << 20
"""An answer larger than this is not an answer."""
MOST_LINE_BYTES = 4 << 20
"""No line of a stream of events is longer."""

_CONNECT_S = 10.0
_CHUNK_BYTES = 64 << 10

Fault = Literal["unreachable", "late", "too large", "broken"]


class Unanswered(Exception):
    """No usable answer: why, as a kind and in one sentence."""

    def __init__(self, kind: Fault, text: str) -> None:
        super().__init__(kind, text)
        self.kind = kind
        self.text = text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer."""

    status: int
    body: bytes
    duration_s: float

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 become marks."""
        return self.body.decode(errors="replace")


class OpenAnswer:
    """An answer that is still coming."""

    def __init__(self, response: http.client.HTTPResponse, *, most_line_bytes: int) -> None:
        self._response = response
        self._most_line_bytes = most_line_bytes
        self.status = response.status

    def read(self) -> bytes:
        """Return all that is left of it."""
        # Piece by piece: read at once, a chunk's announced size would be taken from memory before it is there.
        pieces = [*iter(lambda: self._response.read1(_CHUNK_BYTES), b"")]
        if self._response.length:
            raise http.client.IncompleteRead(b"".join(pieces), self._response.length)
        return b"".join(pieces)

    def lines(self) -> Iterator[str]:
        """Yield its lines without their ends as they come; the last one may lack an end.

        Raises:
            Unanswered: for a line without an end in sight.
        """
        rest = b""
        while chunk := self._response.read1(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.rstrip(b"\r").decode(errors="replace")
            if len(rest) > self._most_line_bytes:
                raise Unanswered("too large", f"a line of the answer is longer than {_mib(self._most_line_bytes)}")
        if rest:
            yield rest.decode(errors="replace")


def ask(
    method: str,
    url: str,
    *,
    body: object = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    timeout_s: float,
    most_bytes: int = MOST_BYTES,
) -> Answer:
    """Return the answer of ``METHOD url``; `body` is sent as JSON, and `timeout_s` bounds the whole.

    Raises:
        Unanswered: when there is none within the limits.
    """
    began = time.monotonic()
    with open_answer(method, url, body=body, headers=headers, timeout_s=timeout_s, most_bytes=most_bytes) as answer:
        data = answer.read()
    return Answer(status=answer.status, body=data, duration_s=time.monotonic() - began)


@contextmanager
def open_answer(
    method: str,
    url: str,
    *,
    body: object = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    timeout_s: float,
    most_bytes: int = MOST_BYTES,
    most_line_bytes: int = MOST_LINE_BYTES,
) -> Iterator[OpenAnswer]:
    """Send a request and give its answer once the headers are there; the limits hold until the block is left.

    Raises:
        Unanswered: when there is none within the limits, also while it is read.
    """
    deadline = time.monotonic() + timeout_s
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    sock: socket.socket | None = None
    try:
        sock, target = _connected(url, deadline)
        connection = http.client.HTTPConnection(urlsplit(url).hostname or "", urlsplit(url).port)
        connection.sock = _BoundedSocket(sock, deadline, most_bytes)
        data = None if body is None else json.dumps(body).encode()
        fixed = {"Accept-Encoding": "identity", "Connection": "close"}
        if data is not None:
            fixed["Content-Type"] = "application/json"
        connection.request(method, target, body=data, headers={**fixed, **headers})
        response = connection.getresponse()
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise Unanswered("broken", "the answer is compressed, which was not requested")
        if response.length is not None and response.length > most_bytes:
            raise _TooLarge
        yield OpenAnswer(response, most_line_bytes=most_line_bytes)
    except TimeoutError:
        raise Unanswered("late", f"no complete answer within {timeout_s:g} s") from None
    except _TooLarge:
        raise Unanswered("too large", f"the answer is larger than {_mib(most_bytes)}") from None
    except _Unreachable as error:
        raise Unanswered("unreachable", f"no connection to {origin}: {error}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered("broken", f"the connection broke: {str(error) or type(error).__name__}") from None
    finally:
        if sock is not None:
            sock.close()


class _TooLarge(Exception):
    pass


class _Unreachable(Exception):
    pass


class _Bounded(io.RawIOBase):
    """The reading end of a socket, with one deadline and one count of bytes for all that is read."""

    def __init__(self, sock: socket.socket, deadline: float, most_bytes: int) -> None:
        self._sock = sock
        self._deadline = deadline
        self._left = most_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._sock.settimeout(_remaining_s(self._deadline))
        count = self._sock.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise _TooLarge
        return count


class _BoundedSocket:
    """What the protocol's code sees of a socket: it sends, and reads within the bounds."""

    def __init__(self, sock: socket.socket, deadline: float, most_bytes: int) -> None:
        self._sock = sock
        self._deadline = deadline
        self._most_bytes = most_bytes

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_remaining_s(self._deadline))
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_Bounded(self._sock, self._deadline, self._most_bytes))

    def close(self) -> None:
        """Nothing: the protocol's code closes before the answer is read; whoever opened the socket closes it."""


def _connected(url: str, deadline: float) -> tuple[socket.socket, str]:
    """Connect to the server of `url`, or to the proxy before it; the socket, and what the request line names."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    proxy = _proxy(parts.scheme, host)
    if proxy is None:
        sock = _dial(host, port, deadline)
    else:
        sock = _dial(*proxy, deadline)
        if not secure:
            target = f"{parts.scheme}://{parts.netloc}{target}"
    if not secure:
        return sock, target
    import ssl

    try:
        if proxy is not None:
            _tunnel(sock, host, port, deadline)
        sock.settimeout(_remaining_s(deadline))
        return ssl.create_default_context().wrap_socket(sock, server_hostname=host), target
    except BaseException:
        sock.close()
        raise


def _dial(host: str, port: int, deadline: float) -> socket.socket:
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _Unreachable((getattr(error, "strerror", None) or str(error)).lower()) from None
    said = "it has no address"
    for family, kind, protocol, _, address in places:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(min(_CONNECT_S, _remaining_s(deadline)))
            sock.connect(address)
        except TimeoutError:
            said = "no answer"
            sock.close()
        except OSError as error:
            said = reason_of(error)
            sock.close()
        else:
            return sock
    _remaining_s(deadline)
    raise _Unreachable(said)


def _proxy(scheme: str, host: str) -> tuple[str, int] | None:
    """The proxy of the environment for `host`; this machine itself is never asked through one."""
    if host in ("127.0.0.1", "localhost", "::1"):
        return None
    from urllib.request import getproxies, proxy_bypass

    named = getproxies().get(scheme)
    if not named or proxy_bypass(host):
        return None
    parts = urlsplit(named if "://" in named else f"http://{named}")
    return parts.hostname or "", parts.port or 80


def _tunnel(sock: socket.socket, host: str, port: int, deadline: float) -> None:
    """Ask a proxy to connect us through to `host`."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    sock.settimeout(_remaining_s(deadline))
    sock.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode("ascii"))
    # Unbuffered: what follows the headers belongs to the encryption.
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        sock.settimeout(_remaining_s(deadline))
        byte = sock.recv(1)
        head += byte
        if not byte or len(head) > _CHUNK_BYTES:
            raise _Unreachable("the proxy broke off")
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise _Unreachable("the proxy refuses")


def _remaining_s(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):g} MiB"
