"""systemd units: what they start, and with which environment."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from planner.review.readers import docker
from planner.review.readers.command import servers_of as shell_servers
from planner.review.readers.shell import Scope, commands, veiled
from planner.review.server import Limit, Server
from planner.review.text import Text, made

_SETTING = re.compile(r"^([A-Za-z][A-Za-z0-9]*)\s*=")
_OTHERS = re.compile(r"\b(docker-compose|docker compose|podman-compose|docker stack)\b")


@dataclass
class Unit:
    """The settings of a unit, each with its place."""

    settings: list[tuple[str, Text, Text]] = field(default_factory=list)
    """Name, its place, value."""

    def values(self, name: str) -> list[Text]:
        """Every value of a setting, in order."""
        return [value for key, _, value in self.settings if key == name]

    def at(self, name: str) -> Text | None:
        """Where a setting stands."""
        return next((at for key, at, _ in self.settings if key == name), None)


def is_unit(text: str) -> bool:
    """Whether a text is a systemd unit (or a container unit of podman's)."""
    return bool(re.search(r"^\s*\[(Service|Unit|Container)\]\s*$", text, re.MULTILINE))


def read_unit(text: Text) -> Unit:
    """Return the settings of a unit; lines that end in a backslash go on."""
    unit = Unit()
    at, value = 0, text.value
    while at < len(value):
        end = value.find("\n", at)
        end = len(value) if end < 0 else end
        line = value[at:end]
        match = _SETTING.match(line)
        start = at
        if match is not None:
            while value[at:end].rstrip("\r").endswith("\\") and end < len(value):
                at = end + 1
                end = value.find("\n", at)
                end = len(value) if end < 0 else end
            unit.settings.append((match[1], text.cut(start, start + match.end(1)), text.cut(start + match.end(), end)))
        at = end + 1
    return unit


def servers_of(text: Text, beside: Callable[[str], str | None]) -> tuple[list[Server], list[tuple[Text, str]]]:
    """Return the servers of a unit, and what it starts that stands in another file."""
    unit = read_unit(text)
    outside: dict[str, Text] = {}
    hidden = False
    for value in unit.values("Environment"):
        outside.update(_assigned(value))
    for file in unit.values("EnvironmentFile"):
        path = file.value.strip().lstrip("-")
        content = beside(path)
        if content is None:
            hidden = True
            continue
        outside.update(veiled(_assigned(made(content, file.start))))
    found: list[Server] = []
    elsewhere: list[tuple[Text, str]] = []
    quadlet = _quadlet(unit, beside)
    if quadlet is not None:
        found.append(quadlet)
    for line in unit.values("ExecStart"):
        bare = line.cut(len(line.value) - len(line.value.lstrip(" @-:+!|")))
        scope = Scope(outside=outside, exported=dict(outside), beside=beside)
        servers = shell_servers(bare, kind="systemd unit", scope=scope, platform="systemd")
        if not servers:
            first = bare.value.split()
            match = _OTHERS.search(bare.value)
            if match is not None:
                elsewhere.append((bare, f"`{match[0]}` starts it"))
            elif first:
                elsewhere.append((bare, f"`{first[0]}` starts it"))
        found += [replace(one, hidden_variables=hidden, host_memory=_limit(unit, one)) for one in servers]
    return found, elsewhere


_QUADLET = {
    "PublishPort": "--publish", "Volume": "--volume", "AddDevice": "--device",
    "Memory": "--memory", "EnvironmentFile": "--env-file", "ShmSize": "--shm-size", "Network": "--network",
    "ContainerName": "--name", "Mount": "--mount", "Tmpfs": "--tmpfs", "Entrypoint": "--entrypoint",
    "User": "--user",
}  # fmt: skip
"""Settings of podman's container units, and the flags of ``podman run`` that they stand for."""


def _quadlet(unit: Unit, beside: Callable[[str], str | None]) -> Server | None:
    """The server of a container unit of podman's."""
    image = next(iter(unit.values("Image")), None)
    if image is None:
        return None
    container = docker.Container(image=image.cut(len(image.value) - len(image.value.lstrip())))
    for key, at, value in unit.settings:
        if key == "Environment":
            for name, word in _assigned(value).items():
                text = made(f"{name}={word.value}", word.start, word.unknown)
                container.flags.append(docker.Flag("--env", at, text))
        elif key in _QUADLET:
            container.flags += [
                docker.Flag(_QUADLET[key], at, word) for command in commands(value) for word in command.words
            ]
        elif key in ("ReadOnly", "ReadOnlyTmpfs"):
            name = "--read-only" if key == "ReadOnly" else "--read-only-tmpfs"
            if key == "ReadOnlyTmpfs" or value.value.strip().lower() in ("true", "yes", "on", "1"):
                container.flags.append(docker.Flag(name, at, value))
        elif key == "PodmanArgs":
            words = [word for command in commands(value) for word in command.words]
            container.flags += docker.read_flags(words).flags
    words = [word for value in unit.values("Exec") for command in commands(value) for word in command.words]
    container.words = tuple(words)
    at = unit.at("Image") or image
    return docker.of_container(container, kind="podman container unit", at=at, outside={}, beside=beside)


def _limit(unit: Unit, server: Server) -> Limit | None:
    """What the unit may take; a container of the docker daemon's is outside of it."""
    if server.platform != "systemd":
        return server.host_memory
    values = [value for value in unit.values("MemoryMax") if value.value.strip()]
    return docker.size_limit(values[-1]) if values else None


def _assigned(text: Text) -> dict[str, Text]:
    """Variables of ``Environment=``, where a whole assignment may stand in quotes."""
    scope = Scope()
    found: dict[str, Text] = {}
    for command in commands(text, scope):
        found.update(command.assignments)
        for word in command.words:
            name, value = word.partition("=")
            if value is not None:
                found[name.value] = value
    return {**{name: words[0] for name, words in scope.values.items() if words}, **found}


def restarts_at_once(text: Text) -> Text | None:
    """Where a unit says that it restarts forever, within seconds; None where it does not."""
    unit = read_unit(text)
    restart = next(iter(unit.values("Restart")), None)
    if restart is None or restart.value.strip() != "always" or unit.values("StartLimitBurst"):
        return None
    delay = next(iter(unit.values("RestartSec")), None)
    seconds = re.match(r"\s*(\d+)(?:s|sec)?\s*$", delay.value) if delay is not None else None
    return unit.at("Restart") if delay is None or (seconds is not None and int(seconds[1][:6]) <= 5) else None
