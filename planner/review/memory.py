"""The plan that a server is: the same question as ``m35-plan plan`` with the server's own settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import get_args

from planner.checkpoint import load_draft
from planner.errors import InvalidRequest, PlannerError
from planner.facts.review import review_facts
from planner.model import ModelSpec
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.question import draft_fault
from planner.planning.request import PlanRequest, planned_flags
from planner.rendering.argv import read_options
from planner.rendering.json_flags import GRAPH_KEYS, draft_method, draft_settings
from planner.review.case import Case, stored_as
from planner.review.findings import Verdict
from planner.review.options import Option, json_option
from planner.settings import SpecMethod

_PLANNED_ALONE = ("data-parallel-size", "model")
_HOMES = {
    "num-speculative-tokens": "speculative-config",
    "speculative-max-model-len": "speculative-config",
    "spec-method": "speculative-config",
    "spec-model": "speculative-config",
    "limit-mm-per-prompt-image": "limit-mm-per-prompt",
    "replicas": "data-parallel-size",
    "cudagraph-mode": "compilation-config",
}
"""Fields of a request that have another name in a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What planning one server says."""

    verdict: Verdict
    reason: str
    plan: Plan | None = None
    refused: tuple[InvalidRequest, ...] = ()
    """What the engine would refuse before it looks at memory, the first one first."""


def judge_memory(case: Case) -> Memory:
    """Return the plan of a server, or why there is none."""
    model, gpus = case.model, case.gpus
    if case.model_name is None:
        return _unknown("its model is not known")
    if model is None:
        return _unknown(f"the planner does not describe {case.model_name}")
    if gpus is None:
        claim = case.server.claim
        if claim.product is not None and case.product is None and case.machine is None:
            return _unknown(f"the catalogue has no GPU called `{claim.product}`; --gpus names one")
        return _unknown("its GPUs are not known; --gpus says which they are")
    if case.server.arguments.open_ended:
        return _unknown("more arguments come from a variable without a value")
    open_value = next((one for one in _planned(case) if one.value is not None and not one.value.known), None)
    if open_value is not None:
        return _unknown(f"the value of --{open_value.name} is not known")
    beyond = _beyond(case, model)
    try:
        base = make_plan(PlanRequest(gpus=gpus, model=model, vllm_version=case.judged_version, replicas=1))
        answer = _planned_as(case, base)
    except InvalidRequest as refused:
        every = _every_refusal(case, base, refused)
        if beyond is not None:
            every = tuple(one for one in every if _in_any_case(case, one))
            if not every:
                return _unknown(beyond)
        return Memory(verdict="does-not-fit", reason=str(every[0]), refused=every)
    except PlannerError as error:
        return _unknown(str(error) if beyond is None else beyond)
    if beyond is not None:
        return _unknown(beyond)
    reason = answer.reasons[0] if answer.reasons else answer.verdict
    if answer.verdict == "does-not-fit" and on_the_edge(answer):
        return Memory(verdict="tight", reason="what is missing is less than what is uncertain", plan=answer)
    return Memory(verdict=answer.verdict, reason=reason, plan=answer)


def _in_any_case(case: Case, refused: InvalidRequest) -> bool:
    """Whether the engine refuses this whatever the flags do that no plan knows: heads must divide by the ranks."""
    return refused.field == "tensor_parallel_size" and case.server.option("hf-overrides") is None


def _planned_as(case: Case, base: Plan, left_out: frozenset[str] = frozenset()) -> Plan:
    """The plan of a server without some of its options."""
    replicas = 1 if "data-parallel-size" in left_out else case.server.number("data-parallel-size") or 1
    said = read_options(one for one in _planned(case) if one.name not in left_out and _decides(one))
    draft = {key: value for key, value in _draft(case).items() if key != "draft_tensor_parallel_size"}
    if draft_method(draft) == "mtp" and _same_folder(draft.get("model"), base.model.name):
        del draft["model"]  # The engine's own default, said.
    if draft and "speculative-config" not in left_out:
        said.changes |= draft_settings(draft)
    named, own = said.changes.get("spec_model"), base.model.draft
    if own is not None and _same_folder(named, own.name):
        said.changes["spec_model"] = own.name  # a copy of it, by the last folder of its path
    return make_plan(dataclasses.replace(said.request(base), replicas=replicas))


def _same_folder(one: object, other: str) -> bool:
    """Whether two names end in the same folder."""
    return isinstance(one, str) and PurePosixPath(one).name == PurePosixPath(other).name


def _decides(one: Option) -> bool:
    """Whether the planner is to read an option as it stands; drafts are read all together."""
    given = one.value.value if one.value is not None else ""
    if one.name == "load-format":
        return given in ("", "mistral", "safetensors")
    if one.name == "limit-mm-per-prompt":
        return bool(one.key) or "{" in given
    return one.name != "speculative-config"


def _every_refusal(case: Case, base: Plan, first: InvalidRequest) -> tuple[InvalidRequest, ...]:
    """The first refusal, and those that show once the refused options are left out."""
    found, left_out = [first], frozenset[str]()
    while True:
        home = option_of(found[-1])
        if case.server.option(home) is None or home in left_out:
            return tuple(found)
        left_out |= {home}
        try:
            _planned_as(case, base, left_out)
        except InvalidRequest as refused:
            if case.server.said(option_of(refused)) is None:
                return tuple(found)  # it is about what was left out
            found.append(refused)
        except PlannerError:
            return tuple(found)
        else:
            return tuple(found)


def option_of(refused: InvalidRequest) -> str:
    """The option that a refused field of a request stands in."""
    field = refused.field.replace("_", "-")
    return _HOMES.get(field, field)


def on_the_edge(plan: Plan) -> bool:
    """Whether a plan that is expected not to fit would, were every uncertain term at its best.

    A plan chooses settings and stays on the safe side; a review accuses other people's, and must be sure.
    """
    kv = plan.kv_cache
    if kv.largest_max_model_len <= 0:
        return False
    blocks = -(-plan.settings.max_model_len // kv.block_size) + 1
    return blocks * kv.block_size * kv.bytes_per_token_per_gpu <= kv.available_high_bytes


def _unknown(reason: str) -> Memory:
    return Memory(verdict="unknown", reason=reason)


def _planned(case: Case) -> list[Option]:
    """The options that decide the plan."""
    planned = planned_flags()
    return [one for one in case.server.options if one.name in planned and one.name not in _PLANNED_ALONE]


def _beyond(case: Case, model: ModelSpec) -> str | None:
    """Why no plan can be this server."""
    for one in case.server.options:
        if one.name in review_facts().unmodelled.names and one.on:
            return f"the effect of --{one.name} on its memory is not known"
        if one.name == "compilation-config" and (other := sorted(_compilation(one).keys() - GRAPH_KEYS.keys())):
            return f"the effect of {other[0]} in --compilation-config on its memory is not known"
        if one.name == "quantization" and one.value is not None and not stored_as(one.value.value.lower(), model):
            return f"--quantization {one.value.value} makes other weights of the checkpoint"
        if one.name == "dtype" and one.value is not None and one.value.value in ("float32", "float"):
            return "--dtype float32 makes other weights of the checkpoint"
    return _unknown_draft(case, model)


def _unknown_draft(case: Case, model: ModelSpec) -> str | None:
    """Why the draft of a server is none that a plan knows."""
    draft = _draft(case)
    method = draft_method({"method": case.server.text("spec-method"), **draft})
    if method is not None and method not in get_args(SpecMethod):
        return f"no plan knows a draft of the method {method}"
    named = draft.get("model") or case.server.text("spec-model")
    if method == "eagle3" or (method == "eagle" and draft_fault(model, "eagle")):
        try:
            load_draft(str(named), model)
        except PlannerError as error:
            return f"the draft {named or method} is not described: {error}"
    return None


def _compilation(one: Option) -> dict[str, object]:
    """What one ``--compilation-config`` says; nothing where its JSON cannot be read, which is told elsewhere."""
    return json_option((one,), "compilation-config")


def _draft(case: Case) -> dict[str, object]:
    return json_option(case.server.options, "speculative-config")
