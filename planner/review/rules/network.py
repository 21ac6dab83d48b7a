"""Who can reach the server, and whether what is published leads to it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.facts.review import review_facts
from planner.review.case import Case
from planner.review.findings import Finding, Severity, finding
from planner.review.text import Text
from planner.settings import DEFAULT_PORT

_LOOPBACK = re.compile(r"^(127\.\d+\.\d+\.\d+|localhost|::1|\[::1\])$")
_EVERYWHERE = ("0.0.0.0", "::", "[::]", "*", "")


def find(case: Case) -> Iterator[Finding]:
    """Yield open doors and wrong ones."""
    yield from _open(case)
    yield from _ports(case)


def _open(case: Case) -> Iterator[Finding]:
    server = case.server
    if server.entry == "llm" or case.has_key is not False:
        return
    cure = "an API key in VLLM_API_KEY, from a secret; or an address that only the callers reach"
    bind = "--host 127.0.0.1, or an API key in VLLM_API_KEY"
    for opening in server.openings:
        yield finding("open-port", f"{opening.what}, without an API key", opening.at, cure=cure)
    if server.openings or server.inner_port or server.container:
        if server.platform in ("docker", "compose") and not server.inner_port and _listens(case):
            said = "the host's network is its own: the server listens on all interfaces, without an API key"
            yield finding("open-port", said, server.at, cure=bind)
        return
    host = server.option("host")
    if host is not None:
        if server.text("host") in _EVERYWHERE:
            said = f"--host {server.text('host')} listens on all interfaces, without an API key"
            yield finding("open-port", said, host.typed, cure=bind)
    elif case.script and server.platform in ("shell", "systemd"):
        said = "without --host the server listens on all interfaces, without an API key"
        yield finding("open-port", said, server.at, severity="info", cure=bind)


def _listens(case: Case) -> bool:
    host = case.server.option("host")
    if host is None:
        return True
    text = case.server.text("host")
    return text is not None and not _LOOPBACK.match(text)


def _ports(case: Case) -> Iterator[Finding]:
    server = case.server
    given = server.option("port")
    port = server.number("port") if given is not None else DEFAULT_PORT
    if port is None or server.option("uds") is not None:
        return
    if server.platform == "kserve":
        yield from _behind_kserve(case, port)
        return

    def mismatch(said: str, at: Text, cure: str, severity: Severity | None = None) -> Finding:
        said = f"{said}, and the server listens on {port}"
        return finding("port-mismatch", said, at, severity=severity, cure=cure)

    led = [(one.port, one.at) for one in server.openings if one.exact]
    led += [(one.inner, one.at) for one in server.host_ports]
    if server.inner_port and led and all(inner not in (port, None) for inner, _ in led):
        other, at = led[0]
        said, cure = f"port {other} of the container is published", f"publish {port}, or --port {other}"
        yield mismatch(said, at, cure, "error")
    leading, declared = server.front_ports, server.declared_ports
    if leading and all(one.value != str(port) for one in leading):
        to = leading[0].value
        yield mismatch(f"the service leads to port {to}", leading[0], f"targetPort: {port}, or --port {to}", "error")
    elif not leading and len(declared) == 1 and declared[0].value != str(port):
        own = declared[0].value
        said, cure = f"the container declares port {own}", f"containerPort: {port}, or --port {own}"
        yield mismatch(said, declared[0], cure)
    for probe in server.probes:
        if probe.port is not None and probe.port.value.isdecimal() and probe.port.value != str(port):
            yield mismatch(f"the {probe.kind}Probe asks port {probe.port.value}", probe.port, f"port: {port}")


def _behind_kserve(case: Case, port: int) -> Iterator[Finding]:
    """KServe leads to the first port that a container of its own declares."""
    server = case.server
    if server.kind != "InferenceService" or server.containers_at is None or case.server.arguments.open_ended:
        return
    declared = server.declared_ports
    led = declared[0].value if declared else str(review_facts().kserve_port.value)
    if led != str(port):
        said = f"KServe leads to port {led}, and the server listens on {port}"
        cure = f"ports: [containerPort: {port}], or --port {led}"
        yield finding("port-mismatch", said, declared[0] if declared else server.at, severity="error", cure=cure)
