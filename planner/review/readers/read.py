"""Which kind of artefact a text is, and the servers in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import PurePath

from planner.facts.engine_flags import flags_of
from planner.review.options import Arguments, Option
from planner.review.readers import (
    cloud,
    compose,
    dockerfile,
    helm,
    heredoc,
    kubernetes,
    kustomize,
    loose,
    makefile,
    markdown,
    ray,
    supervisor,
    systemd,
)
from planner.review.readers import python as python_files
from planner.review.readers.command import batch_claim, servers_of
from planner.review.readers.limits import MOST_CHARACTERS, Unreadable
from planner.review.readers.tree import NOT_YAML, TEMPLATES, Tree, documents
from planner.review.server import Server
from planner.review.text import Source, Text, made, plain

_ENGINE_IMPORT = re.compile(r"^[ \t]*(?:from\s+vllm[\w.]*\s+import|import\s+vllm)\b", re.MULTILINE)
_KEY_LINE = re.compile(r"^(?:- )?['\"]?[\w./-]+['\"]?:(?:\s|$)", re.MULTILINE)
_TEMPLATE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_FILLED = re.compile(r"\{\w+\}|\{%.*?%\}|<%.*?%>|@\w+@|\$\w+", re.DOTALL)
"""What other engines of templates put something in place of."""
_CONFIG_KEYS_NEEDED = 2


@dataclass
class Artefact:
    """What a text holds."""

    kind: str
    servers: list[Server] = field(default_factory=list)
    asked: list[tuple[Text, str]] = field(default_factory=list)
    """What stands elsewhere, where the text says so."""
    unreadable: list[Unreadable] = field(default_factory=list)
    templates: list[Text] = field(default_factory=list)
    restarts: Text | None = None
    """Where a unit restarts at once forever."""


def nothing_beside(_name: str) -> str | None:
    """No other file is at hand."""
    return None


def read(source: Source, beside: Callable[[str], str | None] = nothing_beside) -> Artefact:
    """Return the servers of a text; whatever it is, it is never an exception."""
    if len(source.text) > MOST_CHARACTERS:
        return Artefact("unknown", unreadable=[Unreadable("it is larger than a mebibyte: no artefact is", 0)])
    if "\0" in source.text:
        return Artefact("unknown", unreadable=[Unreadable("it is not text", source.text.index("\0"))])
    path = PurePath(source.name.lower())
    ending = (path.with_suffix("") if path.suffix in TEMPLATES else path).suffix
    try:
        found = _read(source, ending, beside)
    except Unreadable as problem:
        found = Artefact("unknown", unreadable=[problem])
        filled = _FILLED.search(source.text) if path.suffix in TEMPLATES else None
        if filled is not None and problem.reason.startswith(NOT_YAML):
            # Before it is filled in, it need not be YAML.
            found = Artefact("template", templates=[plain(filled[0], filled.start())])
    except RecursionError:
        found = Artefact("unknown", unreadable=[Unreadable("it is nested too deeply", 0)])
    found.templates += [plain(match[0], match.start()) for match in _TEMPLATE.finditer(source.text)]
    found.servers = [_with_config(server, beside) for server in found.servers]
    return found


def _read(source: Source, ending: str, beside: Callable[[str], str | None]) -> Artefact:
    text = source.text
    if ending == ".py" or (not ending and _ENGINE_IMPORT.search(text) and python_files.looks_like_python(text)):
        return Artefact("Python", python_files.servers_of(source))
    if dockerfile.is_dockerfile(source.name, text):
        return Artefact("Dockerfile", dockerfile.servers_of(plain(text, 0)))
    if ending in (".md", ".markdown"):
        return _page(source, beside)
    if makefile.is_makefile(source.name):
        return Artefact("Makefile", makefile.servers_of(plain(text, 0)))
    if supervisor.is_configuration(text):
        return Artefact("supervisor configuration", supervisor.servers_of(plain(text, 0)))
    if systemd.is_unit(text):
        return _units(plain(text, 0), beside)
    wants_yaml = ending in (".yaml", ".yml", ".json")
    if wants_yaml or (
        ending not in (".sh", ".bash", ".slurm", ".sbatch") and not text.startswith("#!") and _KEY_LINE.search(text)
    ):
        try:
            found = _yaml(source, beside)
        except Unreadable:
            if wants_yaml:
                raise
            found = None
        if found is not None:
            return found
        if wants_yaml:
            return Artefact("YAML")
    return _shell(source, beside)


def _units(whole: Text, beside: Callable[[str], str | None]) -> Artefact:
    """The servers of a unit, or of those that a script writes."""
    found = Artefact("systemd unit")
    for unit in [one for one in heredoc.bodies(whole) if systemd.is_unit(one.value)] or [whole]:
        servers, elsewhere = systemd.servers_of(unit, beside)
        found.servers += servers
        found.asked += elsewhere
        found.restarts = found.restarts or (systemd.restarts_at_once(unit) if servers else None)
    return found


def _page(source: Source, beside: Callable[[str], str | None]) -> Artefact:
    """The artefacts that a page shows; what is not whole there is passed over, as its readers know."""
    found = Artefact("Markdown")
    for block in markdown.blocks(source):
        try:
            part = _read(block, PurePath(block.name).suffix, beside)
        except Unreadable:
            continue
        found.servers += part.servers
    for text in islice(markdown.inline(source), markdown.MOST_BLOCKS):
        found.servers += servers_of(text, kind="vllm serve line")
    return found


def _shell(source: Source, beside: Callable[[str], str | None]) -> Artefact:
    text = plain(source.text, 0)
    if source.name.lower().endswith(".ps1"):
        # PowerShell goes on in the next line behind a backtick.
        text = Text(source.text.replace("`\n", "\\\n"), text.offsets)
    lines = [line for line in source.text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    script = (
        source.text.startswith("#!")
        or bool(batch_claim(text).at)
        or any(not line.rstrip().endswith("\\") for line in lines[:-1])
    )
    kind = "shell script" if script else "vllm serve line"
    servers = servers_of(text, kind=kind, beside=beside)
    if not script:
        kind = servers[0].kind if servers else "no vLLM command"
    return Artefact(kind, servers)


def _yaml(source: Source, beside: Callable[[str], str | None]) -> Artefact | None:
    all_roots = documents(source)
    roots = [root for root in all_roots if root.kind == "map"]
    if roots and all(kustomize.is_kustomization(root) for root in roots):
        return _kustomization(roots[0], beside)
    released = [values for root in roots for values in helm.released(root)]
    if released:
        found = [one for part in released for one in (helm if helm.is_values(part) else loose).servers_of(part)]
        return Artefact("Helm release", [*kubernetes.servers_of(roots), *found])
    if any(kubernetes.is_manifest(root) for root in roots):
        return Artefact("Kubernetes", kubernetes.servers_of(roots))
    for root in roots:
        if compose.is_compose(root):
            return Artefact("Compose", compose.servers_of(root, beside))
        if helm.is_values(root):
            return Artefact("Helm values", helm.servers_of(root))
        if cloud.is_skypilot(root):
            return Artefact("SkyPilot", [one for part in roots for one in cloud.skypilot(part)])
        if cloud.is_dstack(root):
            return Artefact("dstack", [one for part in roots for one in cloud.dstack(part)])
        if _is_config(root):
            return Artefact("vLLM configuration", [_config(root)])
        if root.get("applications") is not None:
            return Artefact("Ray Serve configuration", ray.applications(root))
    found = [server for root in all_roots for server in loose.servers_of(root)]
    return Artefact("YAML", found) if found else None


def _kustomization(root: Tree, beside: Callable[[str], str | None]) -> Artefact:
    """The servers of what it makes of the files at hand, and what is not."""
    if (root.string("apiVersion") or "").startswith("kustomize.toolkit.fluxcd.io/"):
        at = root.get("spec", "path") or root
        return Artefact("Flux Kustomization", [], asked=[(at.text, "it applies a folder of a repository: review that")])
    objects, missing = kustomize.resources_of(root, beside)
    servers = kubernetes.servers_of(objects)
    if missing and not servers:
        how = "its base is not in this folder; `kubectl kustomize DIR | m35-plan review -` reads it whole"
        return Artefact("Kustomization", [], asked=[(missing[0][0], how)])
    return Artefact("Kustomization", [replace(one, asked=(*one.asked, *missing)) for one in servers])


def _is_config(root: Tree) -> bool:
    keys = [key.value.replace("_", "-") for key, _ in root.items()]
    known = [key for key in keys if flags_of(None).find("--" + key.partition(".")[0]) is not None]
    return len(known) >= _CONFIG_KEYS_NEEDED and len(known) * 2 > len(keys) and "model" in keys


def _config(root: Tree) -> Server:
    """A file for ``vllm serve --config``."""
    options, model = _config_options(root)
    at = root.key("model")
    assert at is not None
    return Server(
        kind="vLLM configuration",
        platform="config",
        name="",
        at=at,
        arguments=Arguments(options=tuple(options), model=model),
        editable="keys",
    )


def _config_options(root: Tree) -> tuple[list[Option], Text | None]:
    options: list[Option] = []
    model: Text | None = None
    for key, value in root.items():
        name, _, rest = key.value.partition(".")
        name = name.replace("_", "-")
        if value.kind != "scalar":
            import json

            options.append(Option(name, rest, key, made(json.dumps(_plain_value(value)), value.start)))
        elif name == "model":
            model = value.text
        elif value.value in ("true", "false", "True", "False", None):
            options.append(Option(name, rest, key, None, value.value not in ("false", "False")))
        else:
            options.append(Option(name, rest, key, value.text))
    return options, model


def _plain_value(node: Tree) -> object:
    if node.kind == "map":
        return {key.value: _plain_value(value) for key, value in node.items()}
    if node.kind == "list":
        return [_plain_value(one) for one in node.list()]
    text = node.value
    if text is not None and text.lstrip("-").isdecimal() and len(text) < 12:
        return int(text)
    return {"true": True, "false": False}.get(text or "", text)


def _with_config(server: Server, beside: Callable[[str], str | None]) -> Server:
    """The server with the options of its ``--config`` file, where that is at hand; the line itself counts more."""
    given = server.option("config")
    if given is None or given.value is None:
        return server
    path = given.value.value
    content = _config_text(server, path, given.typed.start, beside) if given.value.known else None
    if content is None:
        return replace(server, asked=(*server.asked, (given.typed, f"the settings in `{path}`")))
    try:
        roots: Sequence[Tree] = documents(Source(content.value))
    except Unreadable:
        return replace(server, asked=(*server.asked, (given.typed, f"the settings in `{path}`, which is not YAML")))
    options: list[Option] = []
    model: Text | None = None
    for root in roots:
        if root.kind == "map":
            more, model = _config_options(root)
            options += more

    def placed(text: Text) -> Text:
        """At its place in the artefact, where it is not to be edited."""
        return replace(text.within(content), verbatim=False)

    nothing = Text("", content.offsets[:1])
    moved = [
        Option(one.name, one.key, placed(one.typed), placed(one.value) if one.value is not None else nothing, one.on)
        for one in options
    ]
    model = server.model or (placed(model) if model is not None else None)
    return replace(server, arguments=replace(server.arguments, options=(*moved, *server.options), model=model))


def _config_text(server: Server, path: str, place: int, beside: Callable[[str], str | None]) -> Text | None:
    """The file's text: one that is mounted, or lies beside the artefact."""
    mounted = server.files.get(path)
    if mounted is not None:
        return mounted()
    content = beside(path)
    return None if content is None else made(content, place)
