"""From a request to a decision with its reasons; it never formats and never touches the machine."""

from __future__ import annotations

from hw_specs.spec import GpuSet
from planner.memory.ledger import ledger
from planner.planning.advice import find_warnings
from planner.planning.answer import Alternative, Lever, OtherLayouts, Plan, Rejected
from planner.planning.layout_choice import chosen_outcome
from planner.planning.outcome import Outcome
from planner.planning.question import Question
from planner.planning.reasons import explain, why_not
from planner.planning.request import PlanRequest
from planner.planning.solve import solve
from planner.settings import Layout


def make_plan(request: PlanRequest, *, with_levers: bool = True) -> Plan:
    """Answer `request`: the settings to run, whether they fit, and why.

    What the request leaves open is chosen so that it fits at the low bound. When nothing fits, the plan says so
    (``feasible`` is false) and carries the ledger, the shortfall and the levers; a plan that is one of many to compare
    may leave those out, which take most of its time.

    Raises:
        InvalidRequest: when the engine would refuse the settings before looking at memory.
        UnknownVersion: when the vLLM release is malformed or too old.

    >>> from hw_specs import parse_gpus
    >>> make_plan(PlanRequest(gpus=parse_gpus("8xH200"))).settings.max_model_len
    262144
    """
    question = Question.of(request)
    outcome = chosen_outcome(question)
    reasons = explain(outcome)
    levers, out = _levers(outcome) if with_levers else ((), "")
    if out:
        reasons[0] += f"; {out}"
    return Plan(
        request=request,
        model=question.model,
        gpus=outcome.question.gpus,
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


def _levers(outcome: Outcome) -> tuple[tuple[Lever, ...], str]:
    """The levers, and the ways out in words; a plan that is whole on all its GPUs pays for none."""
    question, settings = outcome.question, outcome.settings
    if outcome.verdict != "fits" or settings.max_model_len < question.wanted_length:
        from planner.planning.levers import find_levers, ways_out

        levers = find_levers(outcome)
        return levers, ways_out(outcome, levers)
    if question.gpus.total_gpus < question.request.gpus.total_gpus:
        from planner.planning.levers import levers_of_the_rest

        return tuple(levers_of_the_rest(outcome)), ""
    return (), ""


def all_levers(request: PlanRequest) -> tuple[Lever, ...]:
    """Every single change that gives the KV cache more room, also when nothing is missing.

    Raises:
        InvalidRequest: as :func:`make_plan` does.
        UnknownVersion: as :func:`make_plan` does.
    """
    from planner.planning.levers import find_levers

    return find_levers(chosen_outcome(Question.of(request)))


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
