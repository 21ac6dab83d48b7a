"""Warnings that save a day, each with its reason; it never changes a plan."""

from __future__ import annotations

from collections.abc import Iterator

from hw_specs.errors import shown
from hw_specs.units import GIB, format_gib, format_tokens
from planner.facts.release import known_versions, parse_version
from planner.facts.vllm import VllmFacts, vllm_facts
from planner.facts.weight_formats import weight_formats
from planner.memory.activation import first_start_excess_bytes
from planner.memory.budget import RankBudget
from planner.memory.layouts import tensor_parallel_limit
from planner.memory.lora import TARGETS
from planner.planning.answer import PlanWarning
from planner.planning.outcome import Outcome
from planner.planning.question import Question

WORTH_A_WORD_BYTES = GIB // 2
"""Smaller differences between two starts are not worth a warning."""


def find_warnings(outcome: Outcome) -> tuple[PlanWarning, ...]:
    """Return everything the user should know before starting this plan."""
    found = [
        *_release_warnings(outcome.question),
        *_flag_warnings(outcome.question),
        *_hardware_warnings(outcome),
        *_memory_warnings(outcome),
    ]
    return tuple(PlanWarning(code=code, message=message) for code, message in found)


def _release_warnings(question: Question) -> Iterator[tuple[str, str]]:
    release = question.release
    facts = vllm_facts()
    number = parse_version(release.version)
    if not release.known:
        yield (
            "unknown-version",
            f"vLLM {release.version} is not known yet: planned with the rules of {release.rules_version}; that is the "
            f"newest release whose rules are known",
        )
    elif number not in (read := [parse_version(version) for version in known_versions()]):
        before = max((version for version in read if version < number), default=read[0])
        yield (
            "unread-version",
            f"the code of vLLM {release.version} was not read: planned with the rules of "
            f"{'.'.join(map(str, before))}; that is the nearest release that was",
        )
    if not question.model.native_format:
        return
    yield from _too_old(facts, number, question)
    bad = facts.packages["mistral_common"].first_bad
    if parse_version(bad.from_vllm) <= number <= parse_version(bad.to_vllm) or not release.known:
        good = facts.packages["mistral_common"].last_good.value
        yield (
            "mistral-common",
            f"pin mistral_common=={good}: newer ones break every chat of vLLM {release.version}; {bad.value} and "
            f"later answer 400 (force_tool_names) with --tool-call-parser mistral",
        )


def _too_old(facts: VllmFacts, number: tuple[int, int, int], question: Question) -> Iterator[tuple[str, str]]:
    release, request = question.release, question.request
    needs = facts.requires
    layout = needs.mistral if request.load_format == "mistral" else needs.hf
    if number < parse_version(layout.version):
        yield "vllm-too-old", f"vLLM {release.version} is older than {layout.version}; {layout.source}"
    if question.draft and number < parse_version(needs.eagle.version):
        yield (
            "vllm-too-old-for-eagle",
            f"vLLM {release.version} has no EAGLE draft for this model; it came with {needs.eagle.version}",
        )
    broken = facts.broken.eagle
    first, last = parse_version(broken.from_vllm), parse_version(broken.to_vllm)
    if question.draft and first <= number <= last:
        yield (
            "eagle-broken-release",
            f"vLLM {release.version} dies with this model's EAGLE draft while it profiles; {broken.symptom}: "
            f"take a newer release, or leave the draft out",
        )


def _flag_warnings(question: Question) -> Iterator[tuple[str, str]]:
    request, model, release = question.request, question.model, question.release
    for note in model.notes:
        yield "checkpoint", note
    draft = question.draft
    if draft and release.draft_limits_target:
        asked = request.speculative_max_model_len
        if asked is None and draft.card_max_model_len:
            yield (
                "eagle-draft-length",
                f"the card's draft max_model_len of {format_tokens(draft.card_max_model_len)} is left out; it would "
                f"cut the served context to that length on vLLM {release.version}",
            )
        elif asked is not None and asked < (request.max_model_len or model.max_position_embeddings):
            yield (
                "eagle-draft-length",
                f"the draft's max_model_len of {format_tokens(asked)} cuts the served context to as much; vLLM "
                f"{release.version} takes the shorter one, so leave it out to keep the target's length",
            )
    if request.spec_method == "suffix":
        yield (
            "needs-arctic-inference",
            "spec_method suffix needs the package arctic-inference beside vLLM; the engine stops where it is missing",
        )
    unknown = [name for name in request.lora_target_modules or () if name.rpartition(".")[2] not in TARGETS]
    if unknown:
        yield (
            "lora-target-modules",
            f"--lora-target-modules: no layer is called {shown(', '.join(unknown))}, so no adapter has a part there; "
            f"{', '.join(sorted(TARGETS))} are known",
        )
    if request.mm_encoder_tp_mode == "data":
        yield (
            "mm-encoder-tp-mode",
            "--mm-encoder-tp-mode data does nothing for this model; vLLM warns and falls back to weights",
        )
    if request.limit_mm_per_prompt_image:
        yield (
            "limit-mm-per-prompt",
            f"--limit-mm-per-prompt.image {request.limit_mm_per_prompt_image} saves no GPU memory; the profile does "
            f"not change: only 0, or --language-model-only, does",
        )
    if request.kv_cache_dtype.startswith(("fp8", "int8", "int4", "nvfp4")) and not model.kv_cache_scheme:
        yield (
            "kv-cache-dtype",
            f"--kv-cache-dtype {request.kv_cache_dtype}: effect on quality not measured; it is your choice, not the "
            f"checkpoint's, which holds no KV scales, so auto means BF16",
        )


def _hardware_warnings(outcome: Outcome) -> Iterator[tuple[str, str]]:
    gpus, tp = outcome.question.gpus, outcome.settings.tensor_parallel_size
    spec = gpus.spec
    if spec.fp8_kind == "weight-only" and any(name.startswith("fp8") for name in outcome.question.model.format_names):
        yield (
            "fp8-weight-only",
            f"{spec.name} has no FP8 arithmetic: BF16 speed or below; the static FP8 checkpoint runs weight-only "
            f"through Marlin",
        )
    formats = weight_formats().formats
    emulated = (
        name
        for name in outcome.question.model.format_names
        if name in formats
        and any(spec.vendor == where or spec.architecture.startswith(where) for where in formats[name].emulated_on)
    )
    for name in emulated:
        yield (
            f"{name}-emulated",
            f"vLLM only emulates {name.upper()} on {spec.name}, which is slow; every layer is expanded to BF16 in each "
            f"step, and the FP8 checkpoint is native there",
        )
    if tp > 1 and not gpus.fully_connected:
        yield (
            "slow-link",
            f"not every pair of these GPUs has a fast link ({spec.link.name}); custom all-reduce is off beyond two "
            f"GPUs and tensor parallelism slows down",
        )
    dtype = outcome.settings.kv_cache_dtype
    stored = vllm_facts().kv_cache.dtypes.get(dtype)
    needs = stored.architectures if stored is not None else ()
    if needs and not spec.architecture.startswith(needs):
        yield (
            "kv-cache-dtype-unsupported",
            f"--kv-cache-dtype {dtype} has no attention kernel for {spec.name}; vLLM has one for compute capability "
            f"{', '.join(f'{prefix}x' for prefix in needs)} only, and this is {spec.architecture}",
        )
    if tp > tensor_parallel_limit(gpus):
        yield "tp-across-nodes", f"TP{tp} spans nodes without a fast link between them"


def unprofiled_note(rank: RankBudget) -> str:
    """What the engine's profile run leaves out, as the end of a sentence; empty where it leaves nothing out."""
    size = rank.outside_budget["unprofiled"]
    return f"; {size.formula}" if size.high_bytes else ""


def _memory_warnings(outcome: Outcome) -> Iterator[tuple[str, str]]:
    rank = outcome.tightest
    room, outside = rank.outside_budget_room_bytes, rank.outside_budget_bytes
    if outside.expected <= room < outside.worst and outcome.verdict != "does-not-fit":
        yield (
            "slack",
            f"what lives outside the budget may need {format_gib(outside.worst)} GiB and has {format_gib(room)} GiB; "
            f"an out-of-memory error after start-up is possible{unprofiled_note(rank)}",
        )
    if rank.terms["graphs"].basis == "assumed":
        yield (
            "graphs-assumed",
            f"graph memory is assumed ({format_gib(rank.terms['graphs'].low_bytes)} to "
            f"{format_gib(rank.terms['graphs'].high_bytes)} GiB); `m35-plan calibrate` "
            f"after a start uses your measured value",
        )
    cold = max(first_start_excess_bytes(rank.shape) for rank in outcome.ranks)
    if cold > WORTH_A_WORD_BYTES and "activations" not in (rank.calibration.terms if rank.calibration else {}):
        yield (
            "cold-compile",
            f"the first start compiles inside the profile run; later starts of the same configuration may leave "
            f"{format_gib(cold)} GiB more for KV cache than is planned here",
        )
    free = outcome.question.gpus.free_memory_bytes
    if free is not None and rank.requested_bytes > rank.free_at_start.expected:
        passing = int(rank.free_at_start.worst / rank.total_bytes * 100) / 100
        better = "stop the processes that hold it"
        if passing > 0 and rank.loading_peak_bytes < rank.free_at_start.worst:
            better = f"--gpu-memory-utilization {passing} would pass that check"
        holders = outcome.question.gpus.holders
        held = f"{', '.join(holders[:3])}: " if holders else ""
        yield (
            "free-memory",
            f"{held}{better}; only {format_gib(free)} of {format_gib(rank.total_bytes)} GiB are free now, and vLLM "
            f"needs {format_gib(rank.requested_bytes)} GiB at start",
        )
