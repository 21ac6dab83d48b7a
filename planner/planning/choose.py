"""From a request to a decision with its reasons; it never formats and never touches the machine."""

from __future__ import annotations

import dataclasses

from hw_specs.spec import GpuSet
from planner.errors import InvalidRequest
from planner.facts.policy import policy
from planner.memory.layouts import most_replicas, tensor_parallel_limit
from planner.memory.ledger import ledger
from planner.planning.advice import find_warnings
from planner.planning.answer import VERDICTS, Alternative, Lever, OtherLayouts, Plan, Rejected
from planner.planning.levers import find_levers, ways_out
from planner.planning.outcome import Outcome
from planner.planning.question import Question
from planner.planning.reasons import explain, why_not
from planner.planning.request import PlanRequest
from planner.planning.solve import solve
from planner.settings import Layout


def make_plan(request: PlanRequest) -> Plan:
    """Answer `request`: the settings to run, whether they fit, and why.

    What the request leaves open is chosen so that it fits at the low bound. When nothing fits, the plan says so
    (``feasible`` is false) and carries the ledger, the shortfall and the levers.

    Raises:
        InvalidRequest: when the engine would refuse the settings before looking at memory.
        UnknownVersion: when the vLLM release is malformed or too old.

    >>> from hw_specs import parse_gpus
    >>> make_plan(PlanRequest(gpus=parse_gpus("8xH200"))).settings.max_model_len
    262144
    """
    question = Question.of(request)
    outcome = chosen_outcome(question)
    short = outcome.settings.max_model_len < question.wanted_length
    levers = find_levers(outcome) if short or outcome.verdict != "fits" else ()
    reasons = explain(outcome)
    if out := ways_out(outcome, levers):
        reasons[0] += f"; {out}"
    return Plan(
        request=request,
        model=question.model,
        gpus=question.gpus,
        vllm_version=question.release.version,
        rules_version=question.release.rules_version,
        verdict=outcome.verdict,
        settings=outcome.settings,
        ledger=ledger(outcome.tightest, _kv_bytes(outcome)),
        weights_bytes_per_gpu=tuple(
            rank.weights.total_bytes for rank in outcome.ranks for _ in range(outcome.settings.tensor_parallel_size)
        ),
        kv_cache=outcome.kv_cache,
        shortfall_bytes=outcome.shortfall_bytes,
        reasons=tuple(reasons),
        other_layouts=_Others(outcome),
        levers=levers,
        warnings=find_warnings(outcome),
    )


def all_levers(request: PlanRequest) -> tuple[Lever, ...]:
    """Every single change that gives the KV cache more room, also when nothing is missing.

    Raises:
        InvalidRequest: as :func:`make_plan` does.
        UnknownVersion: as :func:`make_plan` does.
    """
    return find_levers(chosen_outcome(Question.of(request)))


def chosen_outcome(question: Question) -> Outcome:
    """Return the layout that the user forces or a careful engineer would take, solved.

    The largest tensor-parallel size of a node is the default. Where it does not fit, or cuts the context and another
    layout of the same GPUs has several times as much (``facts/policy.toml``), that one is taken. Where no node holds
    the model, a server spans them: by stages or over fast links, else by tensor parallelism over slow ones.

    Raises:
        InvalidRequest: when the model or the GPUs cannot be split as the request says.
    """
    default = solve(question, chosen_layout(question))
    whole = default.settings.max_model_len == question.wanted_length
    if not question.request.layout_open or (default.verdict == "fits" and whole):
        return default
    if default.tightest.calibration is not None:
        return default  # what was measured on this layout must not drive the answer to one that was not
    here = default.settings.layout
    others = [
        solve(question, layout)
        for layout in question.layouts()
        if layout.split != here.split and layout.replicas >= here.replicas and layout.pipeline_parallel_size > 1
    ]
    best = max(others, key=_worth, default=default)
    if max(best, default, key=_worth).verdict == "does-not-fit":
        return _spanning(question) or default
    if _worth(best)[0] > _worth(default)[0]:
        return best
    return best if _holds_several_times(best, default) else default


def _spanning(question: Question) -> Outcome | None:
    """The best server over several nodes that fits; None where none does.

    Stages and fast links come first: tensor parallelism over slow ones must hold several times as much.
    """
    best: Outcome | None = None
    over_nodes = [one for one in question.layouts() if one.gpus_per_replica > question.gpus.count]
    for some in (over_nodes, question.stretched_layouts()):
        found = max((solve(question, layout) for layout in some), key=_worth, default=None)
        if found is None or found.verdict == "does-not-fit":
            continue
        if best is None or _worth(found)[0] > _worth(best)[0] or _holds_several_times(found, best):
            best = found
    return best


def _holds_several_times(new: Outcome, old: Outcome) -> bool:
    several = policy().layout.worth_leaving.value
    return new.verdict == old.verdict == "fits" and _worth(new)[1] >= several * _worth(old)[1]


def _worth(outcome: Outcome) -> tuple[int, int]:
    return VERDICTS.index(outcome.verdict), outcome.settings.max_model_len


def chosen_layout(question: Question) -> Layout:
    """Return the layout the user forces, else the default one.

    Raises:
        InvalidRequest: when the model or the GPUs cannot be split as the request says.
    """
    request, model, gpus = question.request, question.model, question.gpus
    tp, pp, replicas = request.tensor_parallel_size, request.pipeline_parallel_size, request.replicas
    limit = tensor_parallel_limit(gpus)
    valid = question.tensor_parallel_sizes(limit)
    if tp is not None:
        fault = question.tensor_parallel_fault(tp)
        if fault:
            sizes = question.tensor_parallel_sizes(32)
            raise InvalidRequest(
                "tensor_parallel_size",
                f"tensor_parallel_size {tp} is not valid: {fault}",
                hint=f"valid sizes: {', '.join(map(str, sizes))}",
            )
        if tp > gpus.total_gpus:
            raise InvalidRequest(
                "tensor_parallel_size",
                f"tensor_parallel_size {tp} is larger than the number of GPUs in {gpus}",
                hint=f"the largest valid size here is {valid[-1]}",
            )
    if pp is not None and pp > model.num_hidden_layers:
        raise InvalidRequest(
            "pipeline_parallel_size", f"pipeline_parallel_size {pp} is larger than the {model.num_hidden_layers} layers"
        )
    if request.layout_open:
        default = question.layouts()[0]
        return Layout(tensor_parallel_size=default.tensor_parallel_size, replicas=gpus.nodes)
    stages = pp or 1
    if tp is None:
        room = max(1, gpus.count // stages if gpus.nodes == 1 else min(limit, gpus.total_gpus // stages))
        if replicas is not None:
            room = max(1, min(room, gpus.total_gpus // (stages * replicas)))
        tp = question.tensor_parallel_sizes(room)[-1]
    one = Layout(tensor_parallel_size=tp, pipeline_parallel_size=stages)
    per_replica = one.gpus_per_replica
    if per_replica > gpus.total_gpus:
        raise InvalidRequest(
            "pipeline_parallel_size",
            f"{one} needs {per_replica} GPUs, and {gpus} has {gpus.total_gpus}",
            hint="lower tensor_parallel_size or pipeline_parallel_size",
        )
    most = most_replicas(gpus, per_replica)
    if not most:
        raise InvalidRequest(
            "pipeline_parallel_size" if pp else "tensor_parallel_size",
            f"{one} is {per_replica} GPUs per server, which does not fill whole nodes of {gpus.count}",
            hint=f"make tensor x pipeline size a multiple of {gpus.count}, or at most that",
        )
    copies = replicas or most
    if copies > most:
        raise InvalidRequest(
            "replicas",
            f"{copies} x {one} do not fit {gpus}: each server stays inside a node or fills whole ones",
            hint=f"at most {most} of that size",
        )
    return dataclasses.replace(one, replicas=copies)


class _Others(OtherLayouts):
    """What the GPUs of one outcome could be used for instead."""

    def __init__(self, chosen: Outcome) -> None:
        super().__init__()
        self._chosen = chosen

    def find(self) -> tuple[tuple[Alternative, ...], tuple[Rejected, ...]]:
        return _others(self._chosen)


def _others(chosen: Outcome) -> tuple[tuple[Alternative, ...], tuple[Rejected, ...]]:
    """Every other layout: planned if it fits, otherwise with the reason why not."""
    question, here = chosen.question, chosen.settings.layout
    gpus = question.gpus
    alternatives, rejected = [], []
    for layout in question.layouts():
        if layout.split == here.split and layout.replicas <= here.replicas:
            continue
        outcome = solve(question, layout)
        if outcome.verdict == "does-not-fit":
            rejected.append(Rejected(layout=layout, reason=why_not(outcome)))
            continue
        kv = outcome.kv_cache
        alternatives.append(
            Alternative(
                layout=layout,
                verdict=outcome.verdict,
                max_model_len=outcome.settings.max_model_len,
                max_concurrency=kv.max_concurrency,
                kv_cache_tokens=kv.tokens,
                reason=_character(layout, gpus),
            )
        )
    for tp in range(1, gpus.count + 1):
        fault = question.tensor_parallel_fault(tp)
        if fault and tp > 1 and (gpus.count % tp == 0 or tp == gpus.count):
            layout = Layout(tensor_parallel_size=tp, replicas=gpus.count // tp)
            rejected.append(Rejected(layout=layout, reason=fault))
    return tuple(alternatives), tuple(rejected)


def _character(layout: Layout, gpus: GpuSet) -> str:
    """What a layout is good for, in a sentence."""
    if layout.tensor_parallel_size > gpus.count:
        return "one server over several nodes of one fast link domain"
    if layout.pipeline_parallel_size > 1:
        across = " across nodes" if layout.gpus_per_replica > gpus.count else ""
        return f"pipeline stages{across}: less traffic between GPUs, slower single requests"
    if layout.replicas > 1:
        return f"{layout.replicas} independent servers: more overall throughput, each with less room"
    if layout.gpus_per_replica == gpus.total_gpus:
        return "one server on all GPUs: the most room, the shortest steps"
    return "one server on fewer GPUs, the others stay free"


def _kv_bytes(outcome: Outcome) -> int:
    """KV bytes shown in the ledger: the pool when it fits, what the length needs when it does not."""
    rank = outcome.tightest
    geometry = rank.geometry
    if outcome.verdict == "does-not-fit" and outcome.settings.kv_cache_memory_bytes is None:
        spare = geometry.block_bytes if geometry.null_block_reserved else 0
        return geometry.needed_bytes(outcome.settings.max_model_len, outcome.question.sequences) + spare
    if outcome.settings.kv_cache_memory_bytes is not None:
        return geometry.num_blocks(rank.available.expected) * geometry.block_bytes
    blocks = outcome.kv_cache.num_gpu_blocks
    return blocks * geometry.block_bytes
