"""Checks of environment variables that stop a start or let it hang. They look at the environment alone.

A container sees none of this process's variables, only those that its command hands in.
"""

from __future__ import annotations

import ast
import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from planner.facts.preflight import preflight_facts
from planner.facts.review import review_facts, variables
from planner.rendering.secrets import concealed
from planner.serve.check import Doubtful, Failed
from planner.serve.preflight import sources
from planner.serve.preflight.subject import Subject
from planner.serve.process.endpoint import is_loopback
from planner.serve.process.engine_argv import option_value

_PORTS = ("VLLM_PORT", "MASTER_PORT", "VLLM_DP_MASTER_PORT")
_QUIET = ("WARNING", "WARN", "ERROR", "CRITICAL", "FATAL")
_SCHEMES = ("http", "https", "socks5", "socks5h")
_LOOPBACK = ("localhost", "127.0.0.1")


def check_ports(subject: Subject) -> str | None:
    """Whether variables that must hold a port do."""
    environment = subject.given
    # The engine makes a number of its own ones even where they are empty.
    read = [name for name in _PORTS if environment.get(name) or (name in environment and name.startswith("VLLM_"))]
    bad = {name: environment[name] for name in read if not _is_port(environment[name])}
    if "VLLM_PORT" in bad and "://" in bad["VLLM_PORT"]:
        raise Failed(
            f"VLLM_PORT is `{bad['VLLM_PORT'][:60]}`: Kubernetes fills it for a Service called vllm",
            "name the Service otherwise, or `enableServiceLinks: false` in the pod's spec",
        )
    if bad:
        name, value = next(iter(bad.items()))
        raise Failed(f"{name} is `{value[:60]}`, not a port", f"unset {name}, or a number from 1 to 65535")
    given = [f"{name}={environment[name]}" for name in _PORTS if environment.get(name)]
    if "VLLM_PORT" in environment and environment["VLLM_PORT"] == str(subject.order.endpoint.port):
        raise Failed(
            f"VLLM_PORT is {environment['VLLM_PORT']}, the port that the server listens at",
            "VLLM_PORT is for the processes among themselves: unset it, or name another",
        )
    return ", ".join(given) or None


def check_logging(subject: Subject) -> str | None:
    """Whether the engine's log says what a start is at."""
    environment = subject.given
    level, configured = environment.get("VLLM_LOGGING_LEVEL", ""), environment.get("VLLM_CONFIGURE_LOGGING", "")
    if level.upper() not in _QUIET and configured != "0":
        return f"VLLM_LOGGING_LEVEL={level}" if level else None
    silent = f"VLLM_LOGGING_LEVEL is {level}" if level.upper() in _QUIET else "VLLM_CONFIGURE_LOGGING is 0"
    raise Doubtful(
        f"{silent}: the log has none of the lines that tell the phases of a start, its memory and why it failed",
        f"unset {silent.split()[0]} until it is up",
    )


def check_proxy(subject: Subject) -> str | None:
    """Whether a proxy catches what is meant for this machine itself.

    What spares an address in no_proxy is not the same for all: a network is read by curl and requests, and neither by
    httpx, which the openai package uses, nor by Python's own rules, which aiohttp and ``vllm bench`` use (curl 7.88,
    requests 2.34, httpx 0.28 and Python 3.11 were asked).
    """
    environment = {name.lower(): value for name, value in subject.given.items()}
    _check_schemes(subject, environment)
    proxies = [name for name in ("http_proxy", "all_proxy") if environment.get(name)]
    if not proxies:
        return None
    spared = [part for part in map(str.strip, environment.get("no_proxy", "").lower().split(",")) if part]
    own = urlsplit(subject.order.endpoint.url).hostname or ""
    wanted = dict.fromkeys([*_LOOPBACK, *([own] if own and not is_loopback(own) else [])])
    caught, partly = [host for host in wanted if not _spares(host, spared)], {}
    for host in list(caught):
        if (wide := next((part for part in spared if _covers(part, host)), None)) is not None:
            partly[host] = wide
            caught.remove(host)
    hint = f"export no_proxy={','.join([*spared, *caught, *partly])}"
    if caught:
        raise Doubtful(
            f"{proxies[0]} is set and no_proxy lacks {' and '.join(caught)}: clients reach the proxy, not the server",
            hint,
        )
    if partly:
        host, wide = next(iter(partly.items()))
        raise Doubtful(
            f"{proxies[0]} is set and no_proxy has {host} only in `{wide}`: curl reads that, the openai package "
            "(httpx) reaches the proxy",
            hint,
        )
    return f"{proxies[0]} spares this machine"


def _check_schemes(subject: Subject, environment: Mapping[str, str]) -> None:
    """Raise for a proxy that the hub's client does not take: httpx looks at all of them before the first request."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        scheme, there, _ = environment.get(name, "").partition("://")
        if there and scheme.lower() not in _SCHEMES:
            raise Failed(
                f"{name} begins with {scheme[:20]}://, and the hub's client (httpx) raises for it",
                f"one of {', '.join(one + '://' for one in _SCHEMES)}",
            )
        lacking = subject.versions is not None and "httpx" in subject.versions and "socksio" not in subject.versions
        if there and scheme.lower().startswith("socks") and lacking and not subject.order.in_container:
            raise Failed(
                f"{name} is a SOCKS proxy, and the hub's client (httpx) cannot use one without socksio",
                "`uv pip install socksio` into its environment, or a proxy that speaks HTTP",
            )


def _spares(host: str, spared: Sequence[str]) -> bool:
    """Whether every client reads one of `spared` as `host`, or as a domain that it is in."""
    named = not host[-1:].isdigit()  # An address is in no domain.
    return any(
        part in ("*", host) or (named and part.strip(".") and host.endswith(f".{part.lstrip('.')}")) for part in spared
    )


def _covers(part: str, host: str) -> bool:
    """Whether some clients read `part` as one that `host` is in: a network, or its name with a dot before it."""
    try:
        return ip_address(host) in ip_network(part, strict=False)
    except ValueError:
        return part == f".{host}"


def _is_port(text: str) -> bool:
    return bool(text.isdecimal() and len(text) < 6 and 0 < int(text) < 65536)


def check_gone(subject: Subject) -> str | None:
    """Whether a variable is set that the release no longer reads."""
    if subject.plan is None:
        return None
    release = subject.plan.vllm_version
    named = sorted(name for name in subject.given if variables().gone_since(name, release))
    if named:
        raise Doubtful(
            f"vLLM {release} no longer reads {', '.join(named)}",
            "`--attention-backend` took its place" if "VLLM_ATTENTION_BACKEND" in named else f"unset {named[0]}",
        )
    return None


def check_unknown(subject: Subject) -> str | None:
    """Whether a name that begins like the engine's own is one that some release reads."""
    unknown = sorted(name for name in subject.given if variables().unknown(name))
    near = [(name, right) for name in unknown if (right := variables().nearest(name)) is not None]
    if near:
        name, right = near[0]
        raise Doubtful(
            f"no release of vLLM has a variable {name}; the nearest one is {right}", f"{right}, if it is meant"
        )
    return f"vLLM reads nothing from {', '.join(unknown)}"[:200] if unknown else None


def check_numbers(subject: Subject) -> str | None:
    """Whether variables that the engine converts to numbers hold some."""
    environment, release = subject.given, subject.plan.vllm_version if subject.plan is not None else None
    for name, value in sorted(environment.items()):
        wanted = variables().not_a_number(name, value) if name not in _PORTS else None
        if wanted is not None and variables().gone_since(name, release) is None:
            raise Failed(
                f"{name} is `{value[:60]}`, not {wanted}: the engine raises where it reads it",
                f"a number (1 for on, 0 for off), or unset {name}",
            )
    return None


def check_choices(subject: Subject) -> str | None:
    """Whether variables that hold one of some words, or several, do."""
    facts = preflight_facts().variable_choices
    # The installed release's own words, where its source says them, are the better ones.
    for name, words in {**facts.words, **_installed_choices(subject)}.items():
        value = subject.given.get(name)
        if value is None:
            continue
        several = name in facts.several
        given = [part for part in map(str.strip, value.split(",")) if part] if several else [value]
        wrong = next((one for one in given if (one.lower() if name in facts.any_case else one) not in words), None)
        if wrong is not None:
            raise Failed(
                f"{name} is `{value[:60]}`: the engine raises for " + (f"`{wrong[:60]}`" if several else "it"),
                f"{'some' if several else 'one'} of {', '.join(words)}, or unset it",
            )
    return None


def _installed_choices(subject: Subject) -> dict[str, tuple[str, ...]]:
    """Words of the variables that the installed engine takes one of some for, in any case or not as the facts say."""
    tree = sources.module(subject.sources("vllm"), "envs.py")
    found: dict[str, tuple[str, ...]] = {}
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "env_with_choices" and len(node.args) > 2:
            name, listed = node.args[0], node.args[2]
            if isinstance(name, ast.Constant) and isinstance(listed, ast.List):
                words = tuple(str(one.value) for one in listed.elts if isinstance(one, ast.Constant))
                any_case = any(
                    key.arg == "case_sensitive" and not getattr(key.value, "value", True) for key in node.keywords
                )
                ours = str(name.value).startswith("VLLM_")
                if words and ours and not any_case and name.value not in preflight_facts().variable_choices.any_case:
                    found[str(name.value)] = words
    return found


def check_files(subject: Subject) -> str | None:
    """Whether variables that name a file name one that is there."""
    if subject.order.in_container:
        return None
    facts, environment = preflight_facts().file_variables, subject.environment
    lost = [one for one in facts.needed if environment.get(one) and not Path(environment[one]).is_file()]
    # Certificates may be a folder of files, too.
    lost += [one for one in facts.for_downloads if environment.get(one) and not Path(environment[one]).exists()]
    if lost and lost[0] in facts.needed:
        raise Failed(f"{lost[0]} is `{environment[lost[0]][:80]}`, and there is no such file", f"unset {lost[0]}")
    if lost:
        raise Doubtful(
            f"{lost[0]} is `{environment[lost[0]][:80]}`, and there is no such file: nothing can be fetched over https",
            f"unset {lost[0]}, or name the file of this machine's certificates",
        )
    if environment.get("VLLM_LOGGING_CONFIG_PATH") and environment.get("VLLM_CONFIGURE_LOGGING") == "0":
        raise Failed(
            "VLLM_CONFIGURE_LOGGING is 0 and VLLM_LOGGING_CONFIG_PATH is set: the engine refuses both together",
            "unset one of them",
        )
    return None


def check_debugging(subject: Subject) -> str | None:
    """Whether no variable for finding errors makes everything slow."""
    on = [name for name, values in preflight_facts().debugging.on.items() if subject.given.get(name) in values]
    if on:
        raise Doubtful(f"{', '.join(on)} is set: it is for finding errors, and everything is slow", f"unset {on[0]}")
    return None


def check_host_ip(subject: Subject) -> str | None:
    """Whether the address that the engine's processes find each other at is this machine's."""
    given = subject.given.get("VLLM_HOST_IP", "")
    if not given or subject.own_network:
        return None
    several = subject.plan is not None and subject.plan.gpus.nodes > 1
    nodes = option_value(subject.engine_args, "nnodes") or ""
    several = several or (nodes.isdecimal() and nodes.lstrip("0") not in ("", "1"))
    hint = "unset it, or an address of this machine (`ip addr`)"
    if not _own_address(given):
        said = f"VLLM_HOST_IP is `{given[:60]}`, and this machine has no such address"
        raise Failed(said, hint) if several else Doubtful(f"{said}: ranks of several nodes would not meet", hint)
    if several and ip_address(given).is_loopback:
        raise Failed(f"VLLM_HOST_IP is {given}: other nodes cannot reach it", hint)
    return f"VLLM_HOST_IP={given}"


def _own_address(text: str) -> bool:
    """Whether `text` is an address that a socket of this machine can have; ``0.0.0.0`` is none to call."""
    try:
        address = ip_address(text)
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((text, 0))
    except (ValueError, OSError):
        return False
    return not address.is_unspecified


def check_hub(subject: Subject) -> str | None:
    """Whether the weights come from where the plan's came from."""
    environment = subject.given
    endpoint = environment.get("HF_ENDPOINT", "").strip().rstrip("/")
    if environment.get("VLLM_USE_MODELSCOPE", "").strip().lower() == "true":
        raise Doubtful(
            "VLLM_USE_MODELSCOPE is on: names of models are looked up at ModelScope, not at the hub, and the hub's "
            "cache is not used",
            "unset it, or give the model as a folder",
        )
    if endpoint and "://" not in endpoint:
        raise Failed(f"HF_ENDPOINT is `{concealed(endpoint)[:60]}`, not a URL", "unset it, or put https:// before it")
    if endpoint and endpoint != review_facts().hub_token.endpoint:
        raise Doubtful(
            f"HF_ENDPOINT is {concealed(endpoint)[:80]}: weights come from there, and a token of the hub goes there",
            "unset it where that mirror is not meant",
        )
    return None
