"""What the engine refuses of adapters and graphs before it looks at memory, and the adapters that a request means."""

from __future__ import annotations

from planner.errors import InvalidRequest
from planner.facts.lora import lora_facts
from planner.facts.release import Release
from planner.facts.scheduling import scheduling_facts
from planner.model import ModelSpec
from planner.planning.request import PlanRequest
from planner.settings import Lora, SpecMethod
from planner.speed.ahead import may_schedule_ahead

LORA_FIELDS = (
    "max_loras", "max_lora_rank", "max_cpu_loras", "fully_sharded_loras", "lora_dtype", "specialize_active_lora",
    "lora_target_modules",
)  # fmt: skip
"""Fields of a request that mean nothing without ``enable_lora``."""


def lora_of(request: PlanRequest) -> Lora | None:
    """Return the room for adapters that `request` asks for, with what the engine fills in; None of none."""
    if not request.enable_lora:
        return None
    slots = request.max_loras or lora_facts().max_loras.value
    return Lora(
        max_loras=slots,
        max_lora_rank=request.max_lora_rank or lora_facts().max_lora_rank.value,
        max_cpu_loras=request.max_cpu_loras or slots,
        fully_sharded_loras=request.fully_sharded_loras,
        lora_dtype=request.lora_dtype,
        specialize_active_lora=request.specialize_active_lora,
        lora_target_modules=request.lora_target_modules,
    )


def check_lora(request: PlanRequest, model: ModelSpec) -> None:
    """Refuse adapters that the engine refuses.

    Source: vllm/config/lora.py, lora/layers/base_linear.py and logits_processor.py of 0.19.0 to 0.33.0.

    Raises:
        InvalidRequest: naming the field, the rule and what works.
    """
    asked, facts = lora_of(request), lora_facts()
    if asked is None:
        for name in LORA_FIELDS:
            if getattr(request, name) not in (None, False, "auto"):
                raise InvalidRequest(
                    name, f"{name} has no effect without enable_lora", hint="add `--enable-lora`, or leave it out"
                )
        return
    if asked.max_lora_rank not in facts.ranks.value:
        raise InvalidRequest(
            "max_lora_rank",
            f"max_lora_rank ({asked.max_lora_rank}) must be one of {', '.join(map(str, facts.ranks.value))}",
            hint=f"the next one is {min((r for r in facts.ranks.value if r > asked.max_lora_rank), default=512)}",
        )
    if asked.max_cpu_loras < asked.max_loras:
        raise InvalidRequest(
            "max_cpu_loras",
            f"max_cpu_loras ({asked.max_cpu_loras}) must be at least max_loras ({asked.max_loras})",
            hint=f"raise max_cpu_loras to {asked.max_loras}, or leave it out",
        )
    ranks = request.tensor_parallel_size or 1
    if asked.fully_sharded_loras and asked.max_lora_rank % ranks:
        raise InvalidRequest(
            "fully_sharded_loras",
            f"fully_sharded_loras divides max_lora_rank ({asked.max_lora_rank}) among {ranks} GPUs, and it is not a "
            f"multiple of them",
            hint="raise max_lora_rank, or leave fully_sharded_loras out",
        )
    own = set(model.engine_architectures) & set(facts.modules.embedding_architectures)
    if own and asked.lora_target_modules is None and model.vocab_size > facts.most_vocabulary.value:
        raise InvalidRequest(
            "enable_lora",
            f"adapters of the LM head need a vocabulary of at most {facts.most_vocabulary.value:,} tokens, and "
            f"{model.name} has {model.vocab_size:,}",
            hint="name other modules with `--lora-target-modules`",
        )


def check_async(request: PlanRequest, method: SpecMethod | None, release: Release) -> None:
    """Refuse scheduling ahead where the engine does: `method` drafts from the tokens of the step before.

    Raises:
        InvalidRequest: with what works.
    """
    if request.async_scheduling and not may_schedule_ahead(method, release):
        since = scheduling_facts().ahead.with_ngrams_since
        raise InvalidRequest(
            "async_scheduling",
            f"async_scheduling does not work with drafts of the method `{method}` in vLLM {release.version}",
            hint=f"leave it out; n-grams are scheduled ahead from {since} on" if method == "ngram" else "leave it out",
        )


def check_graphs(request: PlanRequest) -> None:
    """Refuse sizes of graphs that the engine refuses.

    Source: github.com/vllm-project/vllm/blob/v0.33.0/vllm/config/vllm.py _set_cudagraph_sizes.

    Raises:
        InvalidRequest: when the largest size is said twice, and differently.
    """
    sizes, largest = request.cudagraph_capture_sizes, request.max_cudagraph_capture_size
    if request.enforce_eager or request.cudagraph_mode == "NONE" or sizes is None or largest is None:
        return
    most = request.max_num_batched_tokens
    found = max((size for size in sizes if most is None or size <= most), default=0)
    if found != largest:
        raise InvalidRequest(
            "max_cudagraph_capture_size",
            f"max_cudagraph_capture_size ({largest}) must be the largest of cudagraph_capture_sizes ({found})",
            hint="leave max_cudagraph_capture_size out: the sizes say it",
        )
