"""Addresses that a server may listen on; it resolves no name."""

from __future__ import annotations

import ipaddress
import re

from hw_specs.errors import shown
from planner.errors import InvalidRequest

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_MOST_CHARACTERS = 253
_HINT = "write an address such as `127.0.0.1`, `0.0.0.0` or `::1`, or a host name"


def check_host(host: str) -> str:
    """Return `host`, an IP address or a host name.

    Raises:
        InvalidRequest: for anything else, brackets and zones of IPv6 addresses included.

    >>> check_host("::1"), check_host("gpu-7.example.org")
    ('::1', 'gpu-7.example.org')
    """
    if not host.strip():
        raise InvalidRequest("host", "host is empty", hint=_HINT)
    if is_ip_address(host):
        return host
    # A last label of digits is what a mistyped IPv4 address looks like, and no top-level domain is one.
    if not _NAME.fullmatch(host) or len(host) > _MOST_CHARACTERS or host.rpartition(".")[2].isdigit():
        raise InvalidRequest("host", f"host `{shown(host)}` is neither an IP address nor a name", hint=_HINT)
    return host


def is_ip_address(host: str) -> bool:
    """Whether `host` is an IPv4 or IPv6 address, without brackets or zone.

    >>> is_ip_address("10.0.0.7"), is_ip_address("fe80::1%eth0"), is_ip_address("localhost")
    (True, False, False)
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def host_and_port(host: str, port: int) -> str:
    """Return ``host:port``, an IPv6 address in brackets.

    >>> host_and_port("::1", 8000)
    '[::1]:8000'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
