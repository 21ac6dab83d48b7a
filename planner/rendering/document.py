"""The plan as a JSON document: the contract with other programs. It never prints.

The shape is a tree of plain dataclasses, so that writing it costs nothing; pydantic reads it back and makes the
schema.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

from hw_specs.catalog import get_gpu
from hw_specs.errors import UnknownGpu, shown
from hw_specs.parsing import BadJson, parse_json
from hw_specs.spec import GpuSpec, Vendor
from planner.errors import UnreadableDocument
from planner.memory.term import Term
from planner.planning.answer import Alternative, KvCache, LeverCost, Plan, PlanWarning, Rejected, Verdict
from planner.planning.request import PlanRequest
from planner.rendering.envelope import entry, plain, to_value
from planner.rendering.multi_node import node_commands
from planner.settings import Settings
from planner.speed.answer import SpeedSection

SCHEMA_VERSION = "2.1"
"""``major.minor``: a minor step adds keys, a major step removes or redefines some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Which engine the plan is for."""

    name: str
    vllm_version: str
    """The requested release."""
    rules_version: str
    """The newest known release whose rules were used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """What the plan runs on."""

    name: str
    id: str
    vendor: Vendor
    count: int
    """GPUs per node."""
    nodes: int
    total_bytes: int
    """Engine-visible memory of one GPU; the ledger sums to it."""
    free_bytes: int | None
    """Free memory of the fullest GPU where a probe looked, else null."""
    origin: Literal["catalogue", "detected", "snapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Which checkpoint."""

    name: str
    checkpoint_bytes: int | None
    max_position_embeddings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How the head node starts its server."""

    argv: tuple[str, ...]
    env: dict[str, str]
    shell: str
    """The argv for a POSIX shell; ``shlex.split`` reads it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What one node runs."""

    node: int
    replica: int
    head: bool
    argv: tuple[str, ...]
    env: dict[str, str]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of the request and what it buys."""

    name: str
    flag: str
    """As typed: ``--max-num-seqs 128``."""
    change: dict[str, bool | int | float | str | None]
    """Fields of the request and their new values; GPUs as typed."""
    load: dict[str, bool | int | float | str | None] = field(default_factory=dict)
    """Options of the load and their new values, where only another load meets the targets."""
    gain_bytes: int
    """KV budget won per GPU."""
    gain_tokens: int
    fits: bool
    """Whether the request starts with every uncertain term at its worst, with this change alone."""
    meets_targets: bool = False
    """Whether the load then meets targets that the plan misses."""
    cost: LeverCost
    """The dearest thing that its user gives up for it."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument:
    """What ``m35-plan --json`` prints, also when nothing fits."""

    kind: Literal["plan"]
    schema_version: str
    feasible: bool
    verdict: Verdict
    shortfall_bytes: int
    """Missing per GPU at the expected bound, or at the low one where only that fails; 0 when it fits."""
    engine: Engine
    model: Model
    gpus: Gpus
    request: PlanRequest
    """The question, with its release: ``plan(document.request)`` makes the same plan again."""
    settings: Settings
    budget_bytes: int
    """What the engine may use of one GPU."""
    ledger: tuple[Term, ...]
    """One GPU of the tightest pipeline stage; sums to ``gpus.total_bytes``."""
    outside_budget: tuple[Term, ...] = ()
    """What the engine takes of that GPU outside its budget, from the slack."""
    weights_bytes_per_gpu: tuple[int, ...]
    """One per rank of TP x PP, target and draft, without RoPE table and scales."""
    kv_cache: KvCache
    reasons: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    rejected: tuple[Rejected, ...]
    levers: tuple[Change, ...]
    warnings: tuple[PlanWarning, ...]
    command: Command
    speed: SpeedSection | None = None
    """The forecast; present only when a load, a target or an objective was given."""
    nodes: tuple[Node, ...]
    """One entry per node, the first is a head; ``HEAD_ADDRESS`` stands for its address."""


def plan_document(plan: Plan) -> PlanDocument:
    """Return the document of `plan`, with its forecast where one was made."""
    nodes, spec = node_commands(plan), plan.gpus.spec
    return entry(
        PlanDocument,
        plan,
        kind="plan",
        schema_version=SCHEMA_VERSION,
        engine=Engine(name="vllm", vllm_version=plan.vllm_version, rules_version=plan.rules_version),
        model=entry(Model, plan.model),
        gpus=Gpus(
            name=spec.name,
            id=spec.id,
            vendor=spec.vendor,
            count=plan.gpus.count,
            nodes=plan.gpus.nodes,
            total_bytes=plan.gpus.memory_bytes,
            free_bytes=plan.gpus.free_memory_bytes,
            origin=plan.gpus.origin,
        ),
        request=dataclasses.replace(plan.request, vllm_version=plan.vllm_version),
        budget_bytes=plan.ledger.budget_bytes,
        ledger=plan.ledger.lines,
        outside_budget=plan.ledger.outside_budget,
        levers=tuple(
            entry(
                Change,
                lever,
                change={name: str(value) if name == "gpus" else value for name, value in lever.change.items()},
                load=dict(lever.load),
            )
            for lever in plan.levers
        ),
        command=entry(Command, nodes[0].command),
        nodes=tuple(
            entry(Node, one, argv=one.command.argv if one.command else (), env=one.command.env if one.command else {})
            for one in nodes
        ),
    )


def to_json_value(document: object) -> dict[str, Any]:
    """Return a plan's document, a report or an event as plain dicts and lists, keys in the order of the contract.

    Raises:
        TypeError: for a value that no command prints.
    """
    if not isinstance(document, PlanDocument):
        return to_value(document)
    value = {
        field.name: plain(getattr(document, field.name))
        for field in dataclasses.fields(document)
        if field.name != "request"
    }
    request = {
        field.name: plain(getattr(document.request, field.name))
        for field in dataclasses.fields(document.request)
        if field.name != "gpus"
    }
    gpus = document.request.gpus
    spec = {"spec": _spec_value(gpus.spec)}
    others = {one.name: plain(getattr(gpus, one.name)) for one in dataclasses.fields(gpus) if one.name != "spec"}
    value["request"] = {"gpus": spec | others} | request
    if document.speed is None:
        del value["speed"]
    return {field.name: value[field.name] for field in dataclasses.fields(document) if field.name in value}


def _spec_value(spec: GpuSpec) -> Any:
    """The catalogue's name of a GPU; one that it does not know, in full."""
    try:
        if get_gpu(spec.id) == spec:
            return spec.id
    except UnknownGpu:
        pass
    from pydantic import TypeAdapter

    return TypeAdapter(GpuSpec).dump_python(spec, mode="json", fallback=dict, warnings=False)


def read_document(text: str | bytes) -> PlanDocument:
    """Return the document that `text` holds.

    Raises:
        UnreadableDocument: when it is not a plan document, or one of another major version.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        value = parse_json(text)
        if not isinstance(value, dict) or value.get("kind") != "plan":
            raise UnreadableDocument("not a plan: it has no `kind` that says so", hint=_WRITE_ONE)
        version = str(value.get("schema_version"))
        if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
            raise UnreadableDocument(
                f"a plan of schema version {shown(version)}, and this m35-plan reads {SCHEMA_VERSION}", hint=_WRITE_ONE
            )
        gpus = value["request"]["gpus"]
        if isinstance(gpus["spec"], str):
            gpus["spec"] = get_gpu(gpus["spec"])
        return TypeAdapter(PlanDocument).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(one) for one in first["loc"]) or "the document"
        raise UnreadableDocument(f"not a plan: {where}: {first['msg'].lower()}", hint=_WRITE_ONE) from error
    except BadJson as error:
        raise UnreadableDocument(f"not a plan: it {error}", hint=_WRITE_ONE) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableDocument(f"not a plan: {shown(str(error))}", hint=_WRITE_ONE) from error


_WRITE_ONE = "`m35-plan --gpus 8xH200 --json > plan.json` writes one"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the document; descriptions are the docstrings under the fields."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(PlanDocument).json_schema()
    spec = schema["$defs"]["GpuSet"]["properties"]["spec"]
    schema["$defs"]["GpuSet"]["properties"]["spec"] = {"anyOf": [{"type": "string"}, spec]}
    homes = [sys.modules[cls.__module__] for cls in (PlanDocument, Settings, KvCache, Term)]
    for name, definition in [("PlanDocument", schema), *schema.get("$defs", {}).items()]:
        cls = next((vars(home)[name] for home in homes if name in vars(home)), None)
        if cls is None:
            continue
        for key, text in _field_docs(cls).items():
            if key in definition.get("properties", {}):
                definition["properties"][key]["description"] = text
    return schema


def _field_docs(cls: type) -> dict[str, str]:
    """Field → the string that stands under it in the source of a dataclass."""
    import ast
    import inspect
    import textwrap
    from itertools import pairwise

    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for stated, text in pairwise(definition.body):
        if isinstance(stated, ast.AnnAssign) and isinstance(stated.target, ast.Name) and isinstance(text, ast.Expr):
            found[stated.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found
