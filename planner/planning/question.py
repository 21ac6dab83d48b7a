"""A request with everything that it leaves to look up resolved once: model, release, limits. It never judges memory."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from hw_specs.frozen import dataclass
from hw_specs.spec import GpuSet
from hw_specs.units import GIB
from planner.checkpoint import load_draft, load_preset
from planner.errors import BadFacts, InvalidRequest
from planner.facts.release import BatchTier, Release, resolve_release
from planner.facts.vllm import vllm_facts
from planner.memory.layouts import (
    layouts,
    legal_tensor_parallel_sizes,
    stretched_layouts,
    tensor_parallel_fault,
)
from planner.model import DraftSpec, ModelSpec
from planner.planning.engine_limits import check_async, check_graphs, check_lora
from planner.planning.request import PlanRequest
from planner.settings import DRAFT_MODELS, Layout, SpecMethod


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request, resolved: what every step of planning looks at."""

    request: PlanRequest
    model: ModelSpec
    gpus: GpuSet
    """Those that are planned on: the request's, or the ones among them that nobody holds."""
    release: Release
    text_only: bool
    """Whether no image can be sent: asked for, or a model without a vision tower."""

    @classmethod
    def of(cls, request: PlanRequest) -> Question:
        """Return the question that `request` asks.

        Raises:
            InvalidRequest: when the engine would refuse it before it looks at memory.
            UnknownVersion: when the vLLM release is malformed or too old.
        """
        question = cls.unchecked(request)
        check_request(request, question.model, question.release)
        return question

    @classmethod
    def unchecked(cls, request: PlanRequest) -> Question:
        """Return the question without asking whether the engine would take its settings.

        Raises:
            UnknownVersion: when the vLLM release is malformed or too old.
        """
        model, release = request.model or load_preset(), resolve_release(request.vllm_version)
        if request.spec_model is not None:
            model = replace(model, draft=load_draft(request.spec_model, model))
        release = release.for_model(model.engine_architectures, quantized=model.quantized).for_draft(
            resolved_method(model, request.spec_method, request.num_speculative_tokens)
        )
        if release.yarn_limit == "original" and model.yarn_positions:
            model = replace(model, max_position_embeddings=model.yarn_positions)
        return cls(
            request=request,
            model=model,
            gpus=request.gpus,
            release=release,
            text_only=request.language_model_only or request.limit_mm_per_prompt_image == 0 or model.vision is None,
        )

    def but(self, **changes: Any) -> Question:
        """Return the question with other values in some fields of its request; the engine's checks are not repeated.

        It stays on the GPUs that it is about, unless `changes` name others.
        """
        changed = self.unchecked(replace(self.request, **changes))
        return changed if "gpus" in changes else replace(changed, gpus=self.gpus)

    @property
    def sequences(self) -> int:
        """Sequences of full length that must fit at once."""
        return self.request.concurrency or 1

    @cached_property
    def draft(self) -> DraftSpec | None:
        """The model that drafts; None where none does."""
        request = self.request
        method = resolved_method(self.model, request.spec_method, request.num_speculative_tokens)
        return self.model.draft if method in DRAFT_MODELS else None

    @cached_property
    def length_limit(self) -> int:
        """Longest length that model and draft allow."""
        limit = self.model.max_position_embeddings
        length = self.request.speculative_max_model_len
        if self.draft and length and self.release.draft_limits_target:
            limit = min(limit, length)
        return limit

    @cached_property
    def wanted_length(self) -> int:
        """The requested length, or the longest that model and draft allow."""
        return min(self.request.max_model_len or self.length_limit, self.length_limit)

    @cached_property
    def batch_tier(self) -> BatchTier:
        """The engine's default batch sizes for these GPUs."""
        return default_batch(self.gpus, self.release)

    def layouts(self) -> tuple[Layout, ...]:
        """Every layout worth planning, the default one first."""
        return layouts(self.model, self.gpus, text_only=self.text_only, release=self.release)

    def stretched_layouts(self) -> tuple[Layout, ...]:
        """Tensor parallelism over nodes without a fast link between them, the smallest first."""
        return stretched_layouts(self.model, self.gpus, text_only=self.text_only, release=self.release)

    def tensor_parallel_sizes(self, limit: int) -> tuple[int, ...]:
        """Tensor-parallel sizes up to `limit` that the model allows, ascending."""
        return legal_tensor_parallel_sizes(
            self.model, limit, text_only=self.text_only, gpu=self.gpus.spec, release=self.release
        )

    def tensor_parallel_fault(self, tensor_parallel_size: int) -> str | None:
        """Why the model cannot be split this way, or None."""
        return tensor_parallel_fault(
            self.model, tensor_parallel_size, text_only=self.text_only, gpu=self.gpus.spec, release=self.release
        )


def default_batch(gpus: GpuSet, release: Release) -> BatchTier:
    """The engine's default batch sizes for this GPU; it picks them by what the driver reports.

    Source: vLLM engine/arg_utils.py get_batch_defaults.
    """
    spec = gpus.spec
    for tier in release.batch_tiers:
        if spec.driver_memory_bytes < tier.min_driver_gib * GIB:
            continue
        if any(name in driver.lower() for name in tier.not_names for driver in (*spec.driver_names, spec.name)):
            continue
        if spec.architecture not in tier.not_architectures:
            return tier
    raise BadFacts("vllm.toml", "rules.batch_tiers", f"has no tier for {spec.id}")


def check_request(request: PlanRequest, model: ModelSpec, release: Release) -> None:
    """Refuse what the engine would refuse before it looks at memory.

    Raises:
        InvalidRequest: naming the field, the rule and what works.
    """
    spec = request.gpus.spec
    if spec.fp8_kind == "none" and any(name.startswith("fp8") for name in model.format_names):
        raise InvalidRequest(
            "gpus",
            f"{spec.name} ({spec.architecture}) cannot load the FP8 weights of {model.name}: vLLM has no FP8 kernel "
            f"for it, and on ROCm no weight-only one either",
            hint="it serves BF16 checkpoints; name one with `--model`, or GPUs with FP8 with `--gpus`",
        )
    unloadable = tensor_parallel_fault(model, 1, text_only=True, gpu=spec, release=release)
    if unloadable:
        raise InvalidRequest("model", f"{model.name} cannot be loaded: {unloadable}")
    limit = model.max_position_embeddings
    if request.max_model_len is not None and request.max_model_len > limit:
        raise InvalidRequest(
            "max_model_len",
            f"max_model_len {request.max_model_len:,} is beyond the model's {limit:,} tokens",
            hint=f"the largest is {limit}",
        )
    part, most = request.long_prefill_token_threshold, min(limit, request.max_model_len or limit)
    if part > most:
        raise InvalidRequest(
            "long_prefill_token_threshold",
            f"long_prefill_token_threshold ({part:,}) is beyond max_model_len ({most:,})",
            hint=f"lower long_prefill_token_threshold to {most} or less",
        )
    seqs, batched = request.max_num_seqs, request.max_num_batched_tokens
    if seqs is not None and batched is not None and batched < seqs:
        raise InvalidRequest(
            "max_num_batched_tokens",
            f"max_num_batched_tokens ({batched}) must be at least max_num_seqs ({seqs})",
            hint="each sequence needs one token of every step",
        )
    if request.concurrency is not None and seqs is not None and request.concurrency > seqs:
        raise InvalidRequest(
            "concurrency",
            f"concurrency {request.concurrency} needs max_num_seqs of at least that, not {seqs}",
            hint=f"raise max_num_seqs to {request.concurrency}",
        )
    dtype = vllm_facts().kv_cache.dtypes.get(request.kv_cache_dtype)
    fp8_weights = any(name.startswith("fp8") for name in model.format_names)
    if dtype is not None and dtype.refused_with_fp8_weights and fp8_weights:
        raise InvalidRequest(
            "kv_cache_dtype",
            f"kv_cache_dtype `{request.kv_cache_dtype}` is not supported with FP8 checkpoints",
            hint="use `fp8`",
        )
    _check_draft(request, model)
    check_lora(request, model)
    check_graphs(request)
    check_async(request, resolved_method(model, request.spec_method, request.num_speculative_tokens), release)


def draft_fault(model: ModelSpec, method: SpecMethod | None) -> str | None:
    """Return why the engine cannot draft that way for `model`, None where it can; `method` None is its own draft's."""
    if method is not None and method not in DRAFT_MODELS:
        return None
    if method == "mtp" and (model.draft is None or model.draft.method != "mtp"):
        return f"{model.name} has no MTP layers: its configuration names none (num_nextn_predict_layers)"
    if model.draft is None:
        return f"no draft is known for {model.name}"
    if method is not None and model.draft.method != method:
        return f"the draft that is known for {model.name} is of the method `{model.draft.method}`, not `{method}`"
    return None


def resolved_method(model: ModelSpec, method: SpecMethod | None, tokens: int) -> SpecMethod | None:
    """Return how `tokens` are drafted where the request leaves it open: as the model's own draft does; None of none."""
    if not tokens:
        return None
    return method or (model.draft.method if model.draft else None)


def _check_draft(request: PlanRequest, model: ModelSpec) -> None:
    k, draft_length, method = request.num_speculative_tokens, request.speculative_max_model_len, request.spec_method
    lookup = method not in (None, *DRAFT_MODELS)
    if draft_length is not None and (not k or lookup):
        raise InvalidRequest(
            "speculative_max_model_len",
            f"speculative_max_model_len={draft_length} limits a draft, and this plan has none",
            hint=f"leave it out: spec_method `{method}` needs no model" if k
            else "`--spec-tokens K` plans the draft that the model has",
        )  # fmt: skip
    if not k:
        for name in ("spec_method", "spec_model"):
            if (value := getattr(request, name)) is not None:
                raise InvalidRequest(
                    name, f"{name} `{value}` drafts nothing without num_speculative_tokens",
                    hint="raise num_speculative_tokens to at least 1",
                )  # fmt: skip
        return
    if fault := draft_fault(model, method):
        raise InvalidRequest(
            "num_speculative_tokens" if method is None else "spec_method", fault,
            hint="`--spec-model DIR` names a draft; spec_method `ngram` looks for repeated text and needs none",
        )  # fmt: skip
    if request.spec_model is not None and lookup:
        raise InvalidRequest("spec_model", f"spec_model names a draft, and spec_method `{method}` needs none")
    from planner.facts.drafts import draft_facts  # only where there is a draft

    if (most := draft_facts().most.value) < k:
        raise InvalidRequest(
            "num_speculative_tokens",
            f"num_speculative_tokens ({k}) is more than a step checks of one sequence",
            hint=f"lower num_speculative_tokens to {most} or less",
        )
    batched = request.max_num_batched_tokens
    if batched is not None and batched <= k:
        raise InvalidRequest(
            "max_num_batched_tokens", f"max_num_batched_tokens ({batched}) must exceed num_speculative_tokens ({k})"
        )
    target = request.max_model_len or model.max_position_embeddings
    if draft_length is not None and draft_length > target:
        raise InvalidRequest(
            "speculative_max_model_len",
            f"speculative_max_model_len={draft_length} cannot be larger than max_model_len={target}",
            hint="leave the draft's length out: it then follows the target's",
        )
