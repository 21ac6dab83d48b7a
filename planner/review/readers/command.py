"""Shell scripts, lines of commands and what they start."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

from planner.review.options import read_arguments
from planner.review.readers import docker
from planner.review.readers.image import pin_of
from planner.review.readers.launch import Launch, launches
from planner.review.readers.shell import Scope
from planner.review.readers.tree import hide_templates
from planner.review.server import Claim, Platform, Server, Variable
from planner.review.text import TEMPLATE, Text

_SBATCH = re.compile(r"^#SBATCH\s+(.*)$", re.MULTILINE)
_RAY = re.compile(r"\bray\s+start\b")


def servers_of(
    text: Text,
    *,
    kind: str,
    scope: Scope | None = None,
    platform: Platform = "shell",
    beside: Callable[[str], str | None] | None = None,
) -> list[Server]:
    """Return the servers that shell text starts, in order; `beside` reads the files that it sources."""
    scope = scope if scope is not None else Scope()
    scope.beside = beside or scope.beside
    if "{{" in text.value:
        text = Text(hide_templates(text.value), text.offsets, (*text.unknown, TEMPLATE), text.verbatim)
    rays = bool(_RAY.search(text.value))
    pinned = pin_of(text)
    claim = batch_claim(text)
    found = []
    for launch in launches(text, scope):
        if launch.container:
            server = docker.server_of(launch)
            if server is not None:
                found.append(server)
            continue
        server = of_launch(launch, kind=kind, platform=platform, claim=claim, version=pinned)
        # Where it starts Ray on other machines as well, not all ranks are here.
        spread = rays and server.text("distributed-executor-backend") == "ray"
        found.append(replace(server, spread=True) if spread else server)
    return found


def of_launch(launch: Launch, *, kind: str, platform: Platform, claim: Claim, version: Text | None = None) -> Server:
    """Return the server of one start of the engine itself."""
    return Server(
        kind=kind,
        platform=platform,
        name="",
        at=launch.at,
        arguments=read_arguments(launch.words, behind=launch.at),
        env=variables(launch.env.items()),
        claim=claim,
        version=version,
    )


def variables(pairs: Iterable[tuple[str, Text]]) -> dict[str, Variable]:
    """Environment variables from names and values."""
    return {name: Variable(name=value, value=value) for name, value in pairs}


def batch_claim(text: Text) -> Claim:
    """What the directives of a batch script ask for."""
    count, product, nodes, at = None, None, 1, None
    tasks: dict[str, int] = {}
    for match in _SBATCH.finditer(text.value):
        words = match[1].partition("#")[0].replace("=", " ").split()
        for name, value in pairwise(words):
            if name in ("--nodes", "-N") and value.isdecimal():
                nodes = int(value[:4])
            elif name in ("--ntasks-per-node", "--gpus-per-task") and value.rpartition(":")[2].isdecimal():
                tasks[name] = int(value.rpartition(":")[2][:4])
                if name == "--gpus-per-task":
                    at = text.cut(match.start(), match.end())
            elif name in ("--gres", "--gpus", "--gpus-per-node", "-G"):
                parts = [part for part in value.split(",")[0].split(":") if part not in ("gpu", "")]
                numbers = [part.partition("(")[0] for part in parts if part.partition("(")[0].isdecimal()]
                names = [part for part in parts if not part.partition("(")[0].isdecimal()]
                count = int(numbers[-1][:4]) if numbers else (1 if names else count)
                product = names[0] if names else product
                at = text.cut(match.start(), match.end())
                if name in ("--gpus", "-G") and nodes > 1 and count and count % nodes == 0:
                    count //= nodes
    if count is None and "--gpus-per-task" in tasks:
        count = tasks["--gpus-per-task"] * tasks.get("--ntasks-per-node", 1)
    return Claim(count=count, nodes=nodes, product=product, at=at)
