"""Shell scripts, lines of commands and what they start."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice, pairwise

from planner.rendering.secrets import is_secret_name
from planner.review.flags import flags_of
from planner.review.options import read_options
from planner.review.readers import docker
from planner.review.readers.launch import Launch, launches
from planner.review.readers.shell import Scope, commands
from planner.review.server import Claim, Server, Setting, Variable
from planner.review.text import Text

_SBATCH = re.compile(r"^#SBATCH\s+(.*)$", re.MULTILINE)
_SOURCED = re.compile(r"^[ \t]*(?:\[[^\n]*\][ \t]*&&[ \t]*)?(?:source|\.)[ \t]+[\"']?([\w./-]+)[\"']?", re.MULTILINE)
_ALL_EXPORTED = re.compile(r"^[ \t]*set[ \t]+(?:-a|-o[ \t]+allexport)\b", re.MULTILINE)
_RAY = re.compile(r"\bray\s+start\b")
_MOST_SOURCED = 8
_LONGEST_SOURCED = 1 << 15
_PIN = re.compile(r"""vllm(?:\[[\w,]*\])?==(\d+\.\d+(?:\.\d+)?)""")


def servers_of(
    text: Text,
    *,
    kind: str,
    scope: Scope | None = None,
    setting: Setting = "shell",
    beside: Callable[[str], str | None] | None = None,
) -> list[Server]:
    """Return the servers that shell text starts, in order; `beside` reads the files that it sources."""
    scope = scope if scope is not None else Scope()
    if beside is not None:
        _source(text, scope, beside)
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
        server = of_launch(launch, kind=kind, setting=setting, claim=claim, version=pinned)
        # Where it starts Ray on other machines as well, not all ranks are here.
        spread = rays and server.text("distributed-executor-backend") == "ray"
        found.append(replace(server, spread=True) if spread else server)
    return found


def _source(text: Text, scope: Scope, beside: Callable[[str], str | None]) -> None:
    """Take over what the files assign that the script sources."""
    exports = bool(_ALL_EXPORTED.search(text.value))
    for match in islice(_SOURCED.finditer(text.value), _MOST_SOURCED):
        content = beside(match[1])
        if content is None or len(content) > _LONGEST_SOURCED:
            continue
        inner = Scope()
        commands(Text(content, (match.start(1),) * len(content), (), False), inner)
        single = {name: words[0] for name, words in inner.values.items() if words and len(words) == 1}
        given = veiled({**single, **inner.exported})
        scope.values.update({name: (value,) for name, value in given.items()})
        scope.exported.update(given if exports else {name: given[name] for name in inner.exported})


def veiled(values: Mapping[str, Text]) -> dict[str, Text]:
    """The values of a file that keeps them, without its secrets: there they belong, and nobody is to see them."""
    return {
        name: Text(f"${name}", value.offsets[:1] * (len(name) + 1), (name,), False)
        if is_secret_name(name) and value.value
        else value
        for name, value in values.items()
    }


def of_launch(launch: Launch, *, kind: str, setting: Setting, claim: Claim, version: Text | None = None) -> Server:
    """Return the server of one start of the engine itself."""
    options, model, more = read_options(launch.words, flags_of(None))
    return Server(
        kind=kind,
        setting=setting,
        name="",
        at=launch.at,
        options=options,
        model=model,
        open_ended=more,
        env=variables(launch.env.items()),
        claim=claim,
        version=version,
        args_end=launch.words[-1] if launch.words else launch.at,
    )


def variables(pairs: Iterable[tuple[str, Text]]) -> dict[str, Variable]:
    """Environment variables from names and values."""
    return {name: Variable(name=value, value=value) for name, value in pairs}


def pin_of(text: Text) -> Text | None:
    """The release that ``pip install vllm==…`` pins, at its place."""
    match = _PIN.search(text.value)
    return None if match is None else text.cut(match.start(1), match.end(1))


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
