"""Checks of environment variables that stop a start or let it hang. They look at the environment alone.

A container sees none of this process's variables, only those that its command hands in.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

from planner.facts.preflight import preflight_facts
from planner.facts.review import review_facts, variables
from planner.rendering.secrets import concealed
from planner.serve.check import Doubtful, Failed
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value

_PORTS = ("VLLM_PORT", "MASTER_PORT", "VLLM_DP_MASTER_PORT")
_QUIET = ("WARNING", "WARN", "ERROR", "CRITICAL", "FATAL")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


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
    """Whether a proxy catches what is meant for this machine itself."""
    environment = {name.lower(): value for name, value in subject.given.items()}
    proxies = [name for name in ("http_proxy", "all_proxy") if environment.get(name)]
    if not proxies:
        return None
    spared = [part.strip() for part in environment.get("no_proxy", "").split(",")]
    caught = [host for host in _LOOPBACK[:2] if host not in spared and "*" not in spared]
    if caught:
        raise Doubtful(
            f"{proxies[0]} is set and no_proxy lacks {' and '.join(caught)}: clients reach the proxy, not the server",
            f"export no_proxy={','.join([*(part for part in spared if part), *caught])}",
        )
    return f"{proxies[0]} spares this machine"


def _is_port(text: str) -> bool:
    return bool(text.isdecimal() and len(text) < 6 and int(text) < 65536)


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
    """Whether variables that hold one of some words do."""
    facts = preflight_facts().variable_choices
    for name, words in facts.words.items():
        value = subject.given.get(name)
        if value is not None and (value.lower() if name in facts.any_case else value) not in words:
            raise Failed(
                f"{name} is `{value[:60]}`: the engine raises for it", f"one of {', '.join(words)}, or unset it"
            )
    return None


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
        raise Failed(f"HF_ENDPOINT is `{endpoint[:60]}`, not a URL", "unset it, or a URL with https:// before it")
    if endpoint and endpoint != review_facts().hub_token.endpoint:
        raise Doubtful(
            f"HF_ENDPOINT is {concealed(endpoint)[:80]}: weights come from there, and a token of the hub goes there",
            "unset it where that mirror is not meant",
        )
    return None
