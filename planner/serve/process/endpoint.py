"""Where a server listens: what a command line says of it, and how it is told. It opens nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from planner.errors import InvalidRequest
from planner.rendering.address import check_host, host_and_port
from planner.serve.process.engine_argv import option_value, without_options
from planner.settings import DEFAULT_HOST, DEFAULT_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the server listens."""

    host: str
    port: int

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return not is_loopback(self.host)

    @property
    def url(self) -> str:
        """How this machine reaches it."""
        host = self.host
        if host in ("0.0.0.0", "::", ""):
            host = DEFAULT_HOST
        return f"http://{host_and_port(host, self.port)}"


def is_loopback(host: str) -> bool:
    """Whether `host` means this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0"), is_loopback("gpu-7")
    (True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def resolve_endpoint(argv: Sequence[str], *, host: str | None = None, port: int | None = None) -> Endpoint:
    """Return where `argv` listens, `host` and `port` winning over it, loopback by default.

    Raises:
        InvalidRequest: for a port or a host that cannot be one.
    """
    text = option_value(argv, "port")
    try:
        number = port if port is not None else int(text) if text else DEFAULT_PORT
    except ValueError:
        number = -1
    if not 0 < number < 65536:
        raise InvalidRequest("port", f"port must be between 1 and 65535, not `{port if port is not None else text}`")
    given = host if host is not None else option_value(argv, "host")
    return Endpoint(host=DEFAULT_HOST if given is None else check_host(given), port=number)


def with_endpoint(argv: Sequence[str], endpoint: Endpoint) -> tuple[str, ...]:
    """Return `argv` that listens at `endpoint` and says so."""
    return (*without_options(argv, ("host", "port")), "--host", endpoint.host, "--port", str(endpoint.port))
