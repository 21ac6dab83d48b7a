"""YAML of no kind that is known by name: the containers and the shell text of charts, playbooks and pipelines."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from planner.review.readers import markdown
from planner.review.readers import pod as pods
from planner.review.readers.command import servers_of as shell_servers
from planner.review.readers.docker import engine_part, published
from planner.review.readers.image import holds_engine, read_image
from planner.review.readers.shell import Scope, commands
from planner.review.readers.tree import Tree
from planner.review.server import Claim, Image, Server, Variable
from planner.review.text import Source, Text

_STARTED = re.compile(r"\bvllm\s+serve\b|\bvllm\.entrypoints\.|\b(?:docker|podman|nerdctl)\s+run\b")
_COMMANDS = ("entrypoint", "command", "cmd", "args", "extraArgs", "extra_args")
_VARIABLES = ("env", "environment", "envs", "extraEnv")
_MOST_NODES = 20_000
_MOST_SERVERS = 200


def servers_of(root: Tree) -> list[Server]:
    """Return the server of each mapping with an image and a command, and of each text that starts one."""
    found: list[Server] = []
    for node, above in _nodes(root):
        if len(found) >= _MOST_SERVERS:
            break
        if node.kind == "map":
            server = _container(node, above)
            if server is not None:
                found.append(server)
        elif node.kind == "scalar" and _STARTED.search(node.value or ""):
            if any(one.at.start <= node.end and node.start <= one.at.end for one in found if one.platform == "image"):
                continue
            for text in _shown(node.text):
                found += shell_servers(text, kind="command in YAML", platform="cloud")
    return [replace(one, shared_memory="given", inner_port=True) for one in found]


def _shown(text: Text) -> Iterator[Text]:
    """The text, or where it is a page the blocks of it that a shell would read."""
    if "```" not in text.value and "~~~" not in text.value:
        yield text
        return
    for block in markdown.blocks(Source(text.value)):
        if block.name.endswith(".sh"):
            yield Text(block.text, text.offsets[: len(block.text)], (), text.verbatim)


def _nodes(root: Tree) -> Iterator[tuple[Tree, Tree]]:
    """Every mapping and scalar with the mapping above it, outer ones first."""
    waiting, count = deque([(root, root)]), 0
    while waiting and count < _MOST_NODES:
        node, above = waiting.popleft()
        count += 1
        yield node, above
        if node.kind == "map":
            waiting += [(value, node) for _, value in node.items()]
        waiting += [(one, above if node.kind == "list" else node) for one in node.list()]


def _container(node: Tree, above: Tree) -> Server | None:
    image = _image(node)
    if image is None or not holds_engine(image):
        return None
    held = node if any(node.get(key) is not None for key in _COMMANDS) else above
    named = node.get("image")
    if named is not None and named.kind == "map" and any(named.get(key) is not None for key in _COMMANDS):
        held = named
    words: list[Text] = []
    at = None
    for key in _COMMANDS:
        value = held.get(key)
        if value is not None and value.kind != "map":
            words += _words(value)
            at = at or held.key(key)
    if not words or at is None:
        return None
    entry = words[0] if held.get("entrypoint") is not None or words[0].value.rpartition("/")[2] == "vllm" else None
    engine = engine_part(words[1:] if entry is not None else words, image, entry, {})
    if engine is None:
        return None
    openings = [published(one.text) for one in node.each("ports") if ":" in (one.value or "")]
    resources = next((one for one in (node, held, above) if one.get("resources") is not None), None)
    claim = replace(pods.gpu_claim(resources, resources), missing=False) if resources is not None else Claim()
    return Server(
        kind="container in YAML",
        platform="image",
        name=node.string("name") or "",
        at=at,
        arguments=engine.arguments(),
        env=_environment(node),
        image=image,
        claim=claim,
        openings=tuple(one for one in openings if one is not None),
        # A chart's template may set more.
        hidden_variables=named is not None and named.kind == "map",
        editable="none",
    )


def _image(node: Tree) -> Image | None:
    named = node.get("image")
    if named is None:
        return None
    if named.kind == "map":
        repository = named.scalar("repository") or named.scalar("name")
        return read_image(repository, named.scalar("tag")) if repository is not None and repository.value else None
    return read_image(named.text) if named.value else None


def _words(node: Tree) -> list[Text]:
    if node.kind == "list":
        return [one.text for one in node.list() if one.value is not None]
    return [word for one in commands(node.text, Scope()) for word in one.words] if node.value else []


def _environment(node: Tree) -> dict[str, Variable]:
    found = pods.environment(node)
    for name in _VARIABLES:
        found.update({key.value: Variable(name=key, value=value.scalar()) for key, value in node.entries(name)})
    return found
