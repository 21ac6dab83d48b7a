"""What one vLLM release does, resolved from the rules by version; it never guesses silently.

A release newer than every known one is planned with the newest known rules, and says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from planner.errors import UnknownVersion
from planner.facts import load

_VERSION = re.compile(r"^v?(\d+)\.(\d+)(?:\.(\d+))?(?:[.\-+]?(?:rc|dev|post|a|b|[+])?[\w.+]*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTier:
    """Defaults of ``max_num_batched_tokens`` and ``max_num_seqs`` for GPUs of one size class."""

    min_driver_gib: int
    not_names: tuple[str, ...]
    not_architectures: tuple[str, ...]
    max_num_batched_tokens: int
    max_num_seqs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The rules of one release that memory and settings depend on."""

    version: str
    """As asked for."""
    rules_version: str
    """The newest known release not newer than `version`."""
    known: bool
    """False when `version` is newer than every known release."""
    gpu_memory_utilization: float
    yarn_limit: str
    """``original`` (times the factor) or ``max``: which length YaRN allows in a Hugging Face configuration."""
    graph_estimate_vendors: tuple[str, ...]
    """Vendors whose graph estimate is subtracted from the KV budget."""
    vision_sharded: bool
    """Whether tensor parallelism shards the native vision tower."""
    model_runner: str
    """``v1`` or ``v2``."""
    dense_vision_mask: bool
    null_block_reserved: bool
    buffers_counted: bool
    """Whether the runner's own tensors are subtracted from the KV budget."""
    encoder_profiled: bool
    """Whether the profile run sends images through the vision encoder and holds what comes out."""
    profiled_sampling: str
    """``full``, or what the profile run does instead: ``greedy``, ``greedy-float32``."""
    flashinfer_sampler: bool
    """Whether FlashInfer samples by default, where its kernels run."""
    eager_norm_kernel: bool
    """Whether ``--enforce-eager`` normalises in one kernel, or operation by operation as the compiled mode counts."""
    draft_takes_images: bool
    """Whether the draft's input embeddings, images merged in, are made beside it."""
    workspace_counted: bool
    """Whether the GEMM library's first workspace falls into the profile run."""
    fused_all_reduce_backend: str
    """FlashInfer's backends behind the fused all-reduce, joined by ``+``."""
    multicast_rounding: tuple[str, ...]
    """Backends whose buffers are rounded to the multicast granularity."""
    torch_symmetric_workspace: bool
    """Whether those buffers are torch's symmetric memory."""
    fused_with_pipeline: bool
    """Whether all-reduces are fused beside pipeline stages too."""
    flashinfer_all_reduce: bool
    """Whether FlashInfer does all-reduces that are not fused."""
    kv_tokens: str
    """``blocks`` or ``concurrency``: which arithmetic the KV size line prints."""
    draft_limits_target: bool
    """Whether a shorter draft ``max_model_len`` shortens the served length."""
    graph_ceiling: tuple[tuple[str, int], ...]
    """Architecture prefix and largest captured batch, most specific first."""
    batch_tiers: tuple[BatchTier, ...]


@lru_cache(maxsize=256)
def parse_version(text: str) -> tuple[int, int, int]:
    """Return the numeric release of ``0.33.0``, ``v0.33`` or ``0.19.2rc1.dev134``.

    Raises:
        UnknownVersion: when `text` is no version.

    >>> parse_version("0.19.2rc1.dev134")
    (0, 19, 2)
    """
    match = _VERSION.match(text.strip())
    if match is None:
        raise UnknownVersion(f"`{text}` is not a vLLM version", hint=f"write a release such as `{newest_version()}`")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def newest_version() -> str:
    """The newest release whose rules are known."""
    return str(load("vllm.toml")["newest"])


def known_versions() -> tuple[str, ...]:
    """The releases whose code was read, oldest first."""
    return tuple(load("vllm.toml")["read"])


@cache
def resolve_release(version: str | None = None) -> Release:
    """Return the rules of `version`, of the newest known release by default.

    Raises:
        UnknownVersion: when the version is malformed or older than the oldest known rules.
    """
    facts = load("vllm.toml")
    asked = version or newest_version()
    number = parse_version(asked)
    if number < parse_version(facts["oldest"]):
        raise UnknownVersion(
            f"vLLM {asked} is older than {facts['oldest']}, the oldest release whose rules are known",
            hint=f"this model needs {facts['requires']['mistral']['version']} or newer",
        )
    rules = {name: _at(rule["values"], number) for name, rule in facts["rules"].items()}
    ceilings = sorted(rules["graph_ceiling"].items(), key=lambda item: item[0] == "*")
    known = number <= parse_version(facts["newest"])
    return Release(
        version=asked.removeprefix("v"),
        rules_version=asked.removeprefix("v") if known else facts["newest"],
        known=known,
        gpu_memory_utilization=rules["gpu_memory_utilization"],
        yarn_limit=rules["yarn_limit"],
        graph_estimate_vendors=tuple(rules["graph_estimate_vendors"]),
        vision_sharded=rules["vision_sharded"],
        model_runner=rules["model_runner"],
        dense_vision_mask=rules["dense_vision_mask"],
        null_block_reserved=rules["null_block_reserved"],
        buffers_counted=rules["buffers_counted"],
        encoder_profiled=rules["encoder_profiled"],
        profiled_sampling=rules["profiled_sampling"],
        flashinfer_sampler=rules["flashinfer_sampler"],
        eager_norm_kernel=rules["eager_norm_kernel"],
        draft_takes_images=rules["draft_takes_images"],
        workspace_counted=rules["workspace_counted"],
        fused_all_reduce_backend=rules["fused_all_reduce_backend"],
        multicast_rounding=tuple(rules["multicast_rounding"]),
        torch_symmetric_workspace=rules["torch_symmetric_workspace"],
        fused_with_pipeline=rules["fused_with_pipeline"],
        flashinfer_all_reduce=rules["flashinfer_all_reduce"],
        kv_tokens=rules["kv_tokens"],
        draft_limits_target=rules["draft_limits_target"],
        graph_ceiling=tuple((prefix, int(size)) for prefix, size in ceilings),
        batch_tiers=tuple(
            BatchTier(
                min_driver_gib=tier["min_driver_gib"],
                not_names=tuple(tier["not_names"]),
                not_architectures=tuple(tier["not_architectures"]),
                max_num_batched_tokens=tier["max_num_batched_tokens"],
                max_num_seqs=tier["max_num_seqs"],
            )
            for tier in rules["batch_tiers"]
        ),
    )


def _at(values: list[list[Any]], number: tuple[int, int, int]) -> Any:
    """The last value whose first release is not newer than `number`."""
    return next(value for since, value in reversed(values) if parse_version(since) <= number)
