"""One name means one thing: a field of a public value has one type wherever it stands, and one word says one thing.

The values are those behind the public doors, those that commands print, and whatever their fields hold.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import typing
from collections import defaultdict
from collections.abc import Iterator
from types import UnionType
from typing import Any

from planner.cli.commands.spec import specification
from planner.rendering.document import PlanDocument
from planner.rendering.envelope import documents
from planner.speed import answer

DOORS = ("planner", "planner.serve", "planner.review", "hw_specs")
SAID_OTHERWISE = {
    "base_url": "url", "diagnosis": "failure", "dtype": "kv_cache_dtype", "elapsed_s": "duration_s",
    "input_tokens": "prompt_tokens", "completion_tokens": "output_tokens", "generated_tokens": "output_tokens",
    "kv_dtype": "kv_cache_dtype", "kv_use_fraction": "kv_cache_use", "max_concurrency_ratio": "max_concurrency",
    "max_seqs": "max_num_seqs", "pp": "pipeline_parallel_size", "preempted": "preemptions", "results": "checks",
    "smoke": "verification", "speculative_tokens": "num_speculative_tokens", "took_s": "duration_s",
    "total_input_tokens": "total_prompt_tokens", "tp": "tensor_parallel_size", "tpot_mean_ms": "tpot_ms",
    "ttft_mean_ms": "ttft_ms", "wanted_bytes": "requested_bytes",
}  # fmt: skip
"""Words that stood, or would be likely, beside the one on the right."""
SEVERAL = {
    "before": "a plan, in a comparison of two; what is done before a node starts",
    "change": "of a lever, in a document as it is typed",
    "command": "of a plan, of a node: words, variables and in a document their shell form",
    "cost": "of a lever: what is given up; of a forecast: money",
    "engine": "of a plan: for which release; of a rehearsal: the installed one",
    "env": "pairs where a value must be hashed",
    "gpus": "as resolved, as typed, as a document shows them, as they are looked at",
    "hosts": "a row for each host of the question",
    "ledger": "of a plan with its budget, of a document its lines",
    "levers": "of a plan, and as a document shows them",
    "lines": "of a ledger, of a traceback",
    "load": "of a lever, in a document as it is typed",
    "measured": "of one component, of a start, of a benchmark",
    "model": "as read, as a document shows it, by name",
    "nodes": "how many, and what each runs",
    "plan": "as made, and as its document",
    "settings": "of a server, and those that differ between two",
    "terms": "of a ledger: sizes by name, and what differs between two",
    "unproved": "by one change, and by all of them",
}
"""Names whose values are of several shapes, and why."""


def values() -> dict[type, dict[str, Any]]:
    """Every class with its fields and their types."""
    specification()  # it loads the documents
    found: dict[type, dict[str, Any]] = {}
    open_ = [PlanDocument, *documents().values()]
    for door in DOORS:
        module = importlib.import_module(door)
        open_ += [thing for name in module.__all__ if isinstance(thing := getattr(module, name), type)]
    while open_:
        cls = open_.pop()
        if not dataclasses.is_dataclass(cls) or cls in found:
            continue
        known = vars(answer).copy()  # what its readers import for types only
        known |= {name: one for base in cls.__mro__ for name, one in vars(sys.modules[base.__module__]).items()}
        hints = typing.get_type_hints(cls, localns=known)
        found[cls] = {one.name: hints[one.name] for one in dataclasses.fields(cls)}
        for hint in found[cls].values():
            open_ += inside(hint)
    return found


def inside(hint: Any) -> Iterator[type]:
    if isinstance(hint, type):
        yield hint
    for part in typing.get_args(hint):
        yield from inside(part)


def shape(hint: Any) -> str:
    """A type in words that are equal where two fields hold the same thing."""
    parts = [one for one in typing.get_args(hint) if one is not type(None)]
    origin = typing.get_origin(hint)
    if origin in (typing.Union, UnionType):
        return " or ".join(sorted({shape(one) for one in parts}))
    if origin is typing.Literal:
        return "word"
    if origin is None:
        name = hint.__name__ if isinstance(hint, type) else str(hint)
        return {"float": "number", "int": "number", "Estimate": "number", "str": "word"}.get(name, name)
    name = {"dict": "Mapping", "Literal": "word"}.get(origin.__name__, origin.__name__)
    return f"{name}[{', '.join(dict.fromkeys(shape(one) for one in parts if one is not ...))}]"


def test_a_field_has_one_type_wherever_it_stands() -> None:
    shapes: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for cls, fields in values().items():
        for name, hint in fields.items():
            # Two plans side by side hold a pair of what one has.
            if cls.__name__ != "PlanDifference" or name not in ("max_model_len", "max_concurrency", "kv_cache_tokens"):
                shapes[name][shape(hint)].append(cls.__name__)
    several = {name: dict(found) for name, found in shapes.items() if len(found) > 1}
    assert {name: found for name, found in several.items() if name not in SEVERAL} == {}
    assert SEVERAL.keys() - several.keys() == set(), "these have one shape by now"


def test_no_field_has_a_second_word_for_one_thing() -> None:
    for cls, fields in values().items():
        for name in fields:
            assert name not in SAID_OTHERWISE, f"{cls.__name__}.{name}: say {SAID_OTHERWISE.get(name)}"
