"""What a smoke test expects and what it saw, as values; it never talks to a server.

Plan ──Expectations.from_plan──▶ Expectations ──planner.serve.verification.verifier──▶ SmokeReport of CheckResult
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from planner.rendering.envelope import document
from planner.serve.check import CheckResult, Status

if TYPE_CHECKING:
    from planner.planning.answer import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What was planned; None means "not known", and the check then reports what it finds."""

    model: str | None = None
    """Served model name."""
    vllm_version: str | None = None
    """Release the plan was made for; another one is reported, not failed."""
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    images: bool | None = None
    """Whether images are served."""
    num_speculative_tokens: int | None = None
    """Draft tokens per step; 0 means that nothing may be drafted."""
    spec_method: str | None = None
    """How they are drafted; None without a draft."""
    kv_cache_dtype: str | None = None
    block_size: int | None = None
    num_gpu_blocks: int | None = None
    num_gpu_blocks_low: int | None = None
    num_gpu_blocks_high: int | None = None
    """Blocks outside the two bounds fail; both None means that only the expected number passes."""

    @classmethod
    def from_plan(cls, plan: Plan) -> Expectations:
        """Return what a server of `plan` must show."""
        settings, cache = plan.settings, plan.kv_cache
        block_bytes = cache.bytes_per_token_per_gpu * cache.block_size
        return cls(
            model=plan.model.name,
            vllm_version=plan.vllm_version,
            max_model_len=settings.max_model_len,
            max_num_seqs=settings.max_num_seqs,
            images=plan.model.vision is not None and not settings.language_model_only,
            num_speculative_tokens=settings.num_speculative_tokens,
            spec_method=settings.spec_method,
            kv_cache_dtype=settings.kv_cache_dtype,
            block_size=cache.block_size,
            num_gpu_blocks=cache.num_gpu_blocks,
            num_gpu_blocks_low=cache.available_low_bytes // block_bytes,
            num_gpu_blocks_high=cache.available_high_bytes // block_bytes,
        )


@document("verification", "2.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeReport:
    """Whether a running server does what was planned."""

    url: str
    model: str
    """Served name that was asked; empty when the server never said one."""
    passed: bool = field(init=False, default=False)
    """Whether nothing failed and something passed."""
    duration_s: float
    checks: tuple[CheckResult, ...]
    """All checks, in the order they ran."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "passed", not self.failed and self.count("pass") > 0)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The failures."""
        return tuple(result for result in self.checks if result.status == "fail")

    def count(self, status: Status) -> int:
        """How many checks ended in `status`."""
        return sum(result.status == status for result in self.checks)
