"""Single changes with which a server that does not start would, and each as a change of its file."""

from __future__ import annotations

import dataclasses
import re

from planner.errors import PlannerError
from planner.facts.policy import policy
from planner.facts.release import resolve_release
from planner.facts.serve_flags import serve_flags
from planner.memory.layouts import legal_tensor_parallel_sizes
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.request import SETTINGS
from planner.planning.setting import flags_of
from planner.review.case import Case
from planner.review.edits import with_option, with_value
from planner.review.findings import Edit
from planner.review.text import Source

CURES = ("max-model-len", "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization", "text-only")
"""Levers that may stand in a command, the least surprising first."""


def single_change(case: Case, plan: Plan, source: Source) -> tuple[str, tuple[Edit, ...]]:
    """The single change that makes it fit: GPUs that stand by, else the first lever that does."""
    wider = _wider(case, plan)
    if wider is not None:
        return f"--tensor-parallel-size {wider}", _set(case, "tensor-parallel-size", str(wider), source)
    shorter = next((lever for lever in plan.levers if lever.name == "max-model-len" and lever.fits), None)
    if shorter is None and case.server.option("max-model-len") is None:
        length = _fitting_length(plan)
        if length:
            return f"--max-model-len {length}", _set(case, "max-model-len", str(length), source)
    # What was asked for is changed late, and images are given up last.
    for name in sorted(CURES, key=lambda name: (name == "text-only", case.server.option(name) is not None)):
        lever = next((one for one in plan.levers if one.name == name and one.fits), None)
        if lever is not None:
            ((field, value),) = lever.change.items()
            if field == "max_model_len":
                # The lever steps down by halves; what surely fits may be more.
                value = max(int(str(value)), _fitting_length(plan))
            flag, given = flags_of(field, SETTINGS[field])[0], "" if value is True else str(value)
            return f"--{flag} {given}".strip(), _set(case, flag, given, source)
    lever = next((one for one in plan.levers if one.fits), None)
    return (lever.flag if lever is not None else ""), ()


def _fitting_length(plan: Plan) -> int:
    """The longest length that surely fits with the batch as it is."""
    step = policy().context.round_tokens.value
    longest = plan.kv_cache.largest_max_model_len_low // step * step
    return int(longest)


def _wider(case: Case, plan: Plan) -> int | None:
    """A tensor-parallel size over the GPUs that stand by, where that makes it fit."""
    if case.used is None or plan.settings.pipeline_parallel_size > 1 or plan.settings.replicas > 1:
        return None
    count = plan.gpus.count
    sizes = legal_tensor_parallel_sizes(
        plan.model,
        count,
        text_only=plan.settings.language_model_only,
        gpu=plan.gpus.spec,
        release=resolve_release(plan.vllm_version),
    )
    for size in sizes:
        if size <= plan.settings.tensor_parallel_size:
            continue
        try:
            other = make_plan(dataclasses.replace(plan.request, tensor_parallel_size=size))
        except PlannerError:
            continue
        if other.verdict == "fits" and size == count:
            return size
    return None


def _set(case: Case, name: str, value: str, source: Source) -> tuple[Edit, ...]:
    """Give a flag its value, or add it."""
    option = case.server.option(name)
    if option is not None:
        return with_value(case.server, option, value)
    return with_option(case.server, (f"--{name}", value) if value else (f"--{name}",), source)


def legal_sizes(case: Case, most: int | None) -> list[int]:
    """The tensor-parallel sizes up to `most` that the model and the GPUs allow, the largest last."""
    if case.model is None or most is None or case.gpus is None:
        return []
    text_only, release = case.server.on("language-model-only"), resolve_release(case.judged_version)
    sizes = legal_tensor_parallel_sizes(case.model, most, text_only=text_only, gpu=case.gpus.spec, release=release)
    return [*sizes]


def one_layout(case: Case) -> tuple[Edit, ...]:
    """All three flags of the layout that most of them name."""
    means = serve_flags().layouts
    said: list[str] = []
    for name in means:
        text = case.server.text(name)
        if text is not None and means[name].get(text):
            said.append(means[name][text])
    layout = max(("mistral", "hf"), key=said.count)
    edits: list[Edit] = []
    for name in means:
        option = case.server.option(name)
        text = case.server.text(name)
        if option is not None and text is not None and means[name].get(text) not in (layout, None):
            right = next(value for value, meant in means[name].items() if meant == layout)
            edits += with_value(case.server, option, right)
    return tuple(edits)


def without_draft_length(case: Case) -> tuple[Edit, ...]:
    """Take ``max_model_len`` out of the draft's JSON, where it stands in the file as it is."""
    option = case.server.option("speculative-config")
    if option is None or option.value is None or option.key or not option.value.verbatim:
        return ()
    match = re.search(
        r",\s*\"max_model_len\"\s*:\s*(\"[^\"]*\"|\d+)|\"max_model_len\"\s*:\s*(\"[^\"]*\"|\d+)\s*,\s*",
        option.value.value,
    )
    if match is None:
        return ()
    gone = option.value.cut(match.start(), match.end())
    return (Edit(gone.start, gone.end, ""),)
