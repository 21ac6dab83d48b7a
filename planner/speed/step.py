"""The time of one engine step: a roofline over weights, cache, FLOPs and links; it never schedules anything.

All times are seconds. Arguments of the vectorised functions are float64 arrays of equal shape, one entry per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.speed.hardware import Hardware, allreduce_seconds
from planner.speed.profile import EngineProfile
from planner.speed.work import RankWork

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SAMPLER_BYTES_PER_LOGIT = 14
"""BF16 logits, their FP32 copy, a mask and a softmax: what the sampler touches (vLLM v1/sample)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a series of steps holds, per replica; every field has the same shape ``[steps]``."""

    prefill_tokens: Floats
    """Prompt tokens computed."""
    prefill_pairs: Floats
    """Sum over those tokens of the tokens each attends to."""
    decode_sequences: Floats
    decode_context_tokens: Floats
    """Sum of cached tokens over the decoding sequences."""
    sampled_rows: Floats
    """Rows of logits: decoding sequences and prompts that end in the step."""
    images: Floats
    """Images encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepModel:
    """Everything that decides a step's time, apart from its batch."""

    work: RankWork
    hardware: Hardware
    profile: EngineProfile
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    num_speculative_tokens: int = 0
    enforce_eager: bool = False
    graph_tokens: int = 512
    """Largest batch in tokens that a captured graph covers."""

    def seconds(self, batch: Batch) -> Floats:
        """Return the seconds of each step.

        With pipeline stages the sequences travel in as many waves as there are stages, so a round of all of them
        takes the sum of the stages on one wave's tokens.
        """
        import numpy as np

        total: Floats = np.sum(list(self.parts(batch).values()), axis=0)
        tokens = self._tokens(batch) / self._waves(batch)
        launch = self.work.num_layers * self.profile.eager_layer_s
        eager = self.enforce_eager | (tokens > self.graph_tokens)
        return np.where(eager, np.maximum(total, launch), total)

    def parts(self, batch: Batch) -> dict[str, Floats]:
        """Return the seconds of each step by cause; they sum to the step unless a launch floor bounds it."""
        import numpy as np

        work, gpu, eff = self.work, self.hardware, self.profile
        waves = self._waves(batch)
        tokens = self._tokens(batch) / waves
        rows = (batch.sampled_rows + batch.decode_sequences * self.num_speculative_tokens) / waves
        busy = (tokens > 0).astype(np.float64)
        bandwidth = gpu.bandwidth_bytes_per_s

        reading = batch.decode_context_tokens * work.kv_bytes_per_token / (bandwidth * eff.kv_bandwidth)
        scoring = batch.prefill_pairs * work.attention_flops_per_pair / (gpu.peak("bf16") * eff.attention_bf16)
        head = np.maximum(
            work.head_bytes / (bandwidth * eff.weight_bandwidth),
            rows * work.head_flops_per_row / (gpu.peak("bf16") * eff.matmul_bf16),
        )
        sampling = rows * SAMPLER_BYTES_PER_LOGIT * work.vocab_size / bandwidth
        collective = work.allreduces * (self._allreduce(tokens * work.message_bytes_per_token) + eff.allreduce_s)
        replicated = tokens * eff.replicated_passes * work.message_bytes_per_token / bandwidth
        host = eff.step_s * self.pipeline_parallel_size + eff.sequence_s * batch.decode_sequences / waves
        return {
            "linears": busy * self._linears(work, tokens),
            "attention": (reading + scoring) / waves,
            "head": np.where(rows > 0, head + sampling, 0.0),
            "all-reduce": busy * collective,
            "layers": busy * work.num_layers * (eff.layer_s + replicated),
            "host": busy * host,
            "vision": self._vision(batch.images),
            "draft": busy * self._draft(batch, waves),
        }

    def _tokens(self, batch: Batch) -> Floats:
        return batch.prefill_tokens + batch.decode_sequences * (1 + self.num_speculative_tokens)

    def _waves(self, batch: Batch) -> Floats:
        import numpy as np

        return np.clip(batch.decode_sequences + batch.prefill_tokens, 1, self.pipeline_parallel_size)

    def _allreduce(self, message_bytes: Floats) -> Floats:
        return allreduce_seconds(
            self.hardware, message_bytes, self.tensor_parallel_size, link_share=self.profile.link,
            custom_bytes_per_s=self.profile.custom_allreduce_bytes_per_s,
            fused_share=self.profile.fused_allreduce,
        )  # fmt: skip

    def _linears(self, work: RankWork, tokens: Floats) -> Floats:
        import numpy as np

        gpu, eff = self.hardware, self.profile
        total = np.zeros_like(tokens)
        share = {"fp8": eff.matmul_fp8, "bf16": eff.matmul_bf16, "fp4": eff.matmul_fp4}
        excess = np.zeros_like(tokens)
        if eff.row_excess:
            rows, shares = np.array(eff.row_excess).T
            excess = np.interp(tokens, rows, shares, left=0.0, right=0.0)
        for linear in work.linears:
            # A format the hardware lacks is widened on the fly: its bytes stay, its FLOPs are BF16.
            arithmetic = linear.arithmetic if gpu.flops_per_s.get(linear.arithmetic) else "bf16"
            reading = linear.weight_bytes / (gpu.bandwidth_bytes_per_s * eff.weight_bandwidth)
            computing = tokens * linear.flops_per_token / (gpu.peak(arithmetic) * share[arithmetic])
            longer, shorter = np.maximum(reading, computing), np.minimum(reading, computing)
            power = eff.roofline_power
            total += longer * (1 + (shorter / longer) ** power) ** (1 / power)
            if arithmetic == "fp8":
                total += reading * excess
        return total

    def _vision(self, images: Floats) -> Floats:
        import numpy as np

        gpu, eff, work = self.hardware, self.profile, self.work
        if not work.vision_flops_per_image:
            return np.zeros_like(images)
        computing = images * work.vision_flops_per_image / (gpu.peak("bf16") * eff.matmul_bf16)
        reading = work.vision_bytes / (gpu.bandwidth_bytes_per_s * eff.weight_bandwidth)
        return np.where(images > 0, np.maximum(computing, reading), 0.0)

    def _draft(self, batch: Batch, waves: Floats) -> Floats:
        """Seconds of `num_speculative_tokens` draft passes, each over the decoding sequences."""
        import numpy as np

        draft, gpu, eff = self.work.draft, self.hardware, self.profile
        if draft is None or not self.num_speculative_tokens:
            return np.zeros_like(batch.decode_sequences)
        rows = batch.decode_sequences / waves
        one = self._linears(draft, rows)
        one += (
            batch.decode_context_tokens
            / waves
            * draft.kv_bytes_per_token
            / (gpu.bandwidth_bytes_per_s * eff.kv_bandwidth)
        )
        one += draft.head_bytes / (gpu.bandwidth_bytes_per_s * eff.weight_bandwidth)
        one += rows * SAMPLER_BYTES_PER_LOGIT * draft.vocab_size / gpu.bandwidth_bytes_per_s
        one += draft.num_layers * eff.layer_s
        one += draft.allreduces * (self._allreduce(rows * draft.message_bytes_per_token) + eff.allreduce_s)
        # Prompts go through the draft once as well.
        prompt = self._linears(draft, batch.prefill_tokens / waves) * (batch.prefill_tokens > 0)
        return self.num_speculative_tokens * one * (rows > 0) + prompt
