"""Whether the server fits its GPUs, and whether the GPUs are put to use."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hw_specs.units import format_tokens
from planner.errors import InvalidRequest
from planner.facts.policy import policy
from planner.facts.release import parse_version
from planner.facts.review import review_facts
from planner.facts.vllm import vllm_facts
from planner.planning.answer import Plan
from planner.review.case import Case
from planner.review.edits import with_value
from planner.review.findings import Edit, Finding, finding
from planner.review.memory import Memory, option_of
from planner.review.rules.cures import CURES, legal_sizes, one_layout, single_change, without_draft_length
from planner.review.text import Source, Text

_STOPPING = ("fp8-unsupported", "kv-cache-dtype-unsupported", "eagle-broken-release", "vllm-too-old-for-eagle")
"""Warnings of a plan with which the engine does not start."""
_SIZES = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")
_PINNED = re.compile(r"mistral[_-]common", re.IGNORECASE)
_OPTION_OF = {
    "eagle-draft-length": "speculative-config",
    "vllm-too-old-for-eagle": "speculative-config",
    "eagle-broken-release": "speculative-config",
    "kv-cache-dtype-unsupported": "kv-cache-dtype",
    "tp-across-nodes": "tensor-parallel-size",
}


def find(case: Case, memory: Memory, source: Source) -> Iterator[Finding]:
    """Yield what the plan says, and what the number of GPUs says without one."""
    short = _too_few(case)
    if short is not None:
        yield short
    for one in memory.refused:
        if short is None or option_of(one) not in _SIZES:
            yield _refused(case, one)
    if short is None and memory.plan is not None and memory.verdict == "does-not-fit":
        yield _does_not_fit(case, memory.plan, source)
    elif short is None and memory.plan is not None and memory.verdict == "tight":
        yield _tight(case, memory.plan)
    if short is None:
        idle = _idle(case)
        if idle is not None:
            yield idle
    yield from _small(case)
    if memory.plan is not None:
        yield from _warnings(case, memory.plan)
        if case.names_release and not _PINNED.search(source.text):
            yield from _unpinned(case, memory.plan)
    else:
        yield from _too_old(case)


def place(case: Case, *names: str) -> Text:
    """Where one of these options stands; else where the command begins."""
    for name in names:
        option = case.server.option(name)
        if option is not None:
            return option.typed
    return case.server.at


def _too_few(case: Case) -> Finding | None:
    """The engine's ranks against the GPUs that are there for it."""
    ranks, claim = case.used, case.server.claim
    if ranks is None:
        return None
    at = place(case, "tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")
    nodes = claim.nodes if claim.nodes > 1 else case.machine.nodes if case.machine is not None else 1
    if case.available is not None and ranks > case.available * nodes and not case.elsewhere:
        count = case.available * nodes
        there, verb = f"{count} GPU{'s' if count != 1 else ''}", "are" if count != 1 else "is"
        where = f"{verb} {'visible' if case.visible is not None and case.available == case.visible[0] else 'there'}"
        said = f"its ranks need {ranks} GPUs, and {there} {where} for it"
        cure = _enough(case, ranks, count)
        return finding("too-few-gpus", said, at, stops=True, cure=cure)
    machine = case.machine
    if machine is not None and claim.count is not None and claim.count > machine.count and nodes == 1 and claim.at:
        said = f"it asks for {claim.count} GPUs, and the machine has {machine.count}"
        return finding("too-few-gpus", said, claim.at, cure=f"ask for {machine.count}", stops=True)
    return None


def _enough(case: Case, ranks: int, count: int) -> str:
    """GPUs for the ranks, or ranks for the GPUs; no size that the engine refuses of this model."""
    generic = f"ask for {ranks} GPUs, or parallel sizes with a product of {count} at most"
    own = case.server.number("tensor-parallel-size") or 1
    sizes, others = legal_sizes(case, max(ranks, count)), ranks // own
    fitting = [size for size in sizes if size * others <= count]
    if not fitting:
        return generic
    fewer = f"--tensor-parallel-size {fitting[-1]}"
    return f"ask for {ranks} GPUs, or {fewer}" if own in sizes else fewer


def _refused(case: Case, refused: InvalidRequest) -> Finding:
    field = refused.field.replace("_", "-")
    home = option_of(refused)
    code = "checkpoint-flags" if field == "load-format" else "refused"
    option = case.server.said(home)
    edits: tuple[Edit, ...] = ()
    hint = refused.hint or ""
    if code == "checkpoint-flags":
        option = option or case.server.option("tokenizer-mode") or case.server.option("config-format")
        edits = one_layout(case)
    elif field == "max-model-len" and option is not None and case.model is not None:
        edits = with_value(case.server, option, str(case.model.max_position_embeddings))
    elif field == "speculative-max-model-len":
        edits = without_draft_length(case)
    elif field == "tensor-parallel-size" and option is not None and (sizes := legal_sizes(case, case.available)):
        edits = with_value(case.server, option, str(sizes[-1]))
        hint = f"--tensor-parallel-size {sizes[-1]}; valid sizes: {', '.join(map(str, sizes))}"
    message = str(refused)
    if home == field:
        message = re.sub(rf"(?<![\w`-]){re.escape(refused.field)}(?!\w)", f"--{home}", message)
    at = option.typed if option is not None else case.server.at
    return finding(code, message, at, cure=hint, stops=True, edits=edits)


def _does_not_fit(case: Case, plan: Plan, source: Source) -> Finding:
    settings = plan.settings
    reason = plan.reasons[0] if plan.reasons else "the memory is too little"
    message = f"it does not fit {plan.gpus}: {reason}"
    names: tuple[str, ...] = ("max-model-len", "tensor-parallel-size", "gpu-memory-utilization")
    if settings.max_model_len >= plan.model.max_position_embeddings and case.server.option("max-model-len") is None:
        names = ("tensor-parallel-size", "model")
    how, edits = single_change(case, plan, source)
    return finding("does-not-fit", message, place(case, *names), cure=how, edits=edits, stops=True)


def _tight(case: Case, plan: Plan) -> Finding:
    length, kv = plan.settings.max_model_len, plan.kv_cache
    sure = f"{format_tokens(kv.largest_max_model_len_low)} are sure"
    cure = next((lever.flag for lever in plan.levers if lever.name in CURES and lever.fits), "")
    at = place(case, "max-model-len")
    if plan.verdict == "tight":
        said = f"it holds {format_tokens(length)} tokens only if every uncertain term is as expected; {sure}"
        return finding("tight", said, at, cure=cure)
    said = (
        f"{format_tokens(length)} tokens are on the edge: {format_tokens(kv.largest_max_model_len)} are expected to "
        f"start, {sure}, and every uncertain term at its best would hold all of them"
    )
    return finding("tight", said, at, cure=cure, severity="warn")


def _idle(case: Case) -> Finding | None:
    """GPUs that no rank uses."""
    used, server = case.used, case.server
    if used is None or case.elsewhere:
        return None
    available = case.available
    if server.platform in ("kubernetes", "kserve", "helm"):
        available = server.claim.count
    if available is None or (not case.alone and server.claim.count is None and case.visible is None):
        return None
    nodes = server.claim.nodes
    total = available * nodes
    if used >= total:
        return None
    said = f"{total - used} of {total} GPUs stay idle: the server uses {used}"
    at = place(case, "tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")
    return finding("idle-gpus", said, at, cure="spread the server over all of them, or start a replica on the others")


def _small(case: Case) -> Iterator[Finding]:
    facts = review_facts()
    used, seqs = case.used, case.server.number("max-num-seqs")
    option = case.server.option("max-num-seqs")
    if (
        option is not None
        and seqs is not None
        and (used or 0) >= 2
        and seqs <= (used or 0) * facts.few_sequences_per_gpu.value
    ):
        said = f"--max-num-seqs {seqs} serves {seqs} requests at a time on {used} GPUs"
        yield finding("small-batch", said, option.typed, cure="leave --max-num-seqs to the engine, or raise it")
    share = case.server.text("gpu-memory-utilization")
    option = case.server.option("gpu-memory-utilization")
    try:
        asked = float(share) if share is not None else 0.0
    except ValueError:
        asked = 0.0
    low = 0 < asked < facts.low_utilization.value
    checked = case.version is None or parse_version(case.version) >= parse_version(facts.whole_gpu_refused_since.value)
    if asked == 1.0 and option is not None and checked and case.vendor != "other":
        highest = policy().levers.gpu_memory_utilization.value
        said, edits = "asks for more than is ever free", with_value(case.server, option, str(highest))
        said, cure = f"--gpu-memory-utilization {share} {said}", f"--gpu-memory-utilization {highest}"
        yield finding("whole-gpu", said, option.typed, cure=cure, stops=True, edits=edits)
    # A size of its own for the KV cache counts instead.
    if low and option is not None and case.server.option("kv-cache-memory-bytes") is None:
        said = f"--gpu-memory-utilization {share} leaves most of each GPU empty"
        cure = "leave --gpu-memory-utilization out where nothing else uses the GPU"
        yield finding("low-utilization", said, option.typed, cure=cure)


def _warnings(case: Case, plan: Plan) -> Iterator[Finding]:
    """What the plan itself warns of, at the flag that it is about."""
    for warning in plan.warnings:
        if warning.code == "vllm-too-old":
            yield finding("refused", warning.message, place(case, "model"), severity="warn")
        elif warning.code in _STOPPING:
            at = place(case, _OPTION_OF.get(warning.code, "model"))
            yield finding("refused", warning.message, at, stops=True)
        elif warning.code == "eagle-draft-length" and plan.request.speculative_max_model_len is not None:
            yield finding(
                "draft-length",
                warning.message,
                place(case, "speculative-config"),
                cure="leave max_model_len out of --speculative-config",
                edits=without_draft_length(case),
            )
        elif warning.code in ("mm-encoder-tp-mode", "limit-mm-per-prompt"):
            yield finding("flag-without-effect", warning.message, place(case, warning.code))


def _release_at(case: Case) -> Text:
    """Where the release is named; else the model."""
    image = case.server.image
    return image.tag_at if image is not None and image.tag else case.server.version or place(case, "model")


def _unpinned(case: Case, plan: Plan) -> Iterator[Finding]:
    """A package beside the engine whose newer releases break it."""
    for warning in plan.warnings:
        if warning.code == "mistral-common":
            cure = f"mistral_common=={vllm_facts().packages['mistral_common'].last_good.value} beside the engine"
            yield finding("companion-not-pinned", warning.message, _release_at(case), cure=cure)


def _too_old(case: Case) -> Iterator[Finding]:
    """A release from before the model."""
    if case.model is None or case.version is None:
        return
    for name, needs in review_facts().first_release.items():
        if name in case.model.name.casefold() and parse_version(case.version) < parse_version(needs.value):
            yield finding(
                "refused",
                f"vLLM {case.version} is older than this model: no release before {needs.value} loads it",
                _release_at(case),
                cure=f"take {vllm_facts().requires.mistral.version} or newer",
                stops=True,
            )
