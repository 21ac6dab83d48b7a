"""Which layout of the GPUs a request gets, and its settings. It judges no other layout for show."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from planner.errors import InvalidRequest
from planner.facts.policy import policy
from planner.memory.layouts import most_replicas, tensor_parallel_limit
from planner.planning.answer import VERDICTS
from planner.planning.outcome import Outcome
from planner.planning.question import Question
from planner.planning.solve import may_hold, solve
from planner.settings import Layout


def chosen_outcome(question: Question) -> Outcome:
    """Return the layout that the user forces or a careful engineer would take, solved.

    Where others hold memory of some of the GPUs, so that nothing starts on all of them, it is planned on the rest.

    Raises:
        InvalidRequest: when the model or the GPUs cannot be split as the request says.
    """
    best = outcome_on_all(question)
    unheld = question.gpus.unheld
    if unheld is None or best.verdict == "fits":
        return best
    try:
        rest = outcome_on_all(dataclasses.replace(question, gpus=unheld))
    except InvalidRequest:
        return best  # a layout that was asked for, and needs more of them
    return rest if VERDICTS.index(rest.verdict) > VERDICTS.index(best.verdict) else best


def outcome_on_all(question: Question) -> Outcome:
    """Return the layout of all GPUs of `question`, whoever holds memory of them.

    The largest tensor-parallel size of a node is the default, one server per node. Where it does not fit, or cuts the
    context and another layout of the same GPUs has several times as much (``facts/policy.toml``), that one is taken;
    one over nodes, with fewer servers, must hold more times as much, each and in all. Where no node holds the model, a
    server spans them: by stages or over fast links, else by tensor parallelism over slow ones.

    Raises:
        InvalidRequest: when the model or the GPUs cannot be split as the request says.
    """
    best = default = solve(question, chosen_layout(question))
    if not question.request.layout_open or _whole(default):
        return default
    if default.tightest.calibration is not None:
        return default  # what was measured on this layout must not drive the answer to one that was not
    here = default.settings.layout
    staged = [one for one in question.layouts() if one.pipeline_parallel_size > 1 and one.split != here.split]
    joined = [one for one in question.layouts() if one.gpus_per_replica > question.gpus.count and one not in staged]
    as_many = [one for one in staged if one.replicas >= here.replicas]
    fewer = [one for one in staged if one.replicas < here.replicas]
    ours = policy().layout
    for layouts, times in ((as_many, ours.worth_leaving.value), (fewer, ours.worth_joining_nodes.value)):
        least = int(best.settings.max_model_len * times) if best.verdict == "fits" else 0
        if least <= question.wanted_length:
            hopeful = (layout for layout in layouts if not least or may_hold(question, layout, least))
            best = _left_for(best, (solve(question, layout) for layout in hopeful), times)
    for layouts in (joined, [*question.stretched_layouts()]):
        # Stages and fast links come first: tensor parallelism over slow ones must hold several times as much.
        spans = best.settings.layout.gpus_per_replica > question.gpus.count and default.verdict != "fits"
        if best.verdict != "fits" or (spans and not _whole(best)):
            best = _left_for(best, (solve(question, layout) for layout in layouts), ours.worth_leaving.value)
    return best


def _whole(outcome: Outcome) -> bool:
    return outcome.verdict == "fits" and outcome.settings.max_model_len == outcome.question.wanted_length


def _left_for(here: Outcome, others: Iterable[Outcome], times: float) -> Outcome:
    """The best of `others` where it fits better, or holds `times` as much as `here`; else `here`."""
    best = None
    for other in others:
        if best is None or _worth(other) > _worth(best):
            best = other
        if _whole(best):
            break  # none is worth more
    if best is None:
        return here
    if _worth(best)[0] != _worth(here)[0]:
        return max(here, best, key=_worth)
    longer = best.settings.max_model_len >= times * here.settings.max_model_len
    more = best.settings.replicas >= here.settings.replicas or best.tokens_held >= times * here.tokens_held
    return best if here.verdict == "fits" and longer and more else here


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
