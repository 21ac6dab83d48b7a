"""What may stand behind ``--host``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import InvalidRequest
from planner.rendering.address import check_host, host_and_port


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "0.0.0.0", "::", "::1", "fd00::17", "localhost", "gpu-7", "node1.rack-2.example.org", "3com.io"],
)
def test_addresses_and_names_pass(host: str) -> None:
    assert check_host(host) == host


@pytest.mark.parametrize(
    "host",
    ["", " ", "-x", "a b", "127.0.0.1\n", "127.0.0", "256.1.1.1", "[::1]", "fe80::1%eth0", "x:80", "a..b", "$HOST",
     "a\nb", "http://x", "a" * 254, "é.org", "١.2.3.4", "a_b"],
)  # fmt: skip
def test_anything_else_is_refused_with_what_works(host: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_host(host)
    assert "\n" not in str(caught.value)
    assert "127.0.0.1" in (caught.value.hint or "")


@given(st.text(max_size=20) | st.text("a-.:0%[]$\n ", max_size=12))
def test_what_passes_can_stand_in_a_command(host: str) -> None:
    try:
        check_host(host)
    except InvalidRequest:
        return
    assert not set(host) & set(" \n\t$%[];'\"\\`") and host.isascii() and not host.startswith("-")


def test_an_ipv6_address_stands_in_brackets_before_a_port() -> None:
    assert (host_and_port("::1", 80), host_and_port("gpu-7", 80)) == ("[::1]:80", "gpu-7:80")
