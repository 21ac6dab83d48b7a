"""The time of one engine step: a roofline over weights, cache, FLOPs and links; it never schedules anything.

All times are seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log, sqrt

from planner.facts.overheads import overhead_facts
from planner.speed.hardware import Hardware, allreduce_seconds
from planner.speed.profile import EngineProfile
from planner.speed.work import LinearWork, RankWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one step holds, per replica."""

    prefill_tokens: float = 0
    """Prompt tokens computed."""
    prefill_pairs: float = 0
    """Sum over those tokens of the tokens each attends to."""
    decode_sequences: float = 0
    decode_context_tokens: float = 0
    """Sum of cached tokens over the decoding sequences."""
    sampled_rows: float = 0
    """Rows of logits: decoding sequences and prompts that end in the step."""
    images: float = 0
    """Images encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepModel:
    """Everything that decides the time of one batch's way through all layers, apart from the batch."""

    work: RankWork
    hardware: Hardware
    profile: EngineProfile
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    num_speculative_tokens: int = 0
    enforce_eager: bool = False
    graph_tokens: int = 512
    """Largest batch in tokens that a captured graph covers; 0 without graphs."""
    graphs_with_prompts: bool = True
    """Whether graphs cover steps with a part of a prompt in them, too."""

    def seconds(self, batch: Batch) -> float:
        """Return the seconds of the step; with pipeline stages, of the way through all of them."""
        return max(sum(self.parts(batch).values()), self.launch_floor(batch))

    def launch_floor(self, batch: Batch) -> float:
        """Return the least seconds that launching the kernels takes; 0 where a graph covers the step."""
        tokens = self._tokens(batch)
        work, eff = self.work, self.profile
        covered = tokens <= self.graph_tokens and (self.graphs_with_prompts or not batch.prefill_tokens)
        if not self.enforce_eager and covered:
            return 0.0
        eager = work.num_layers * eff.eager_layer_s + work.allreduces * eff.eager_allreduce_s
        return eager if self.enforce_eager else eager * eff.compiled_launch

    def parts(self, batch: Batch) -> dict[str, float]:
        """Return the seconds of the step by cause; they sum to the step unless a launch floor bounds it."""
        work, gpu, eff = self.work, self.hardware, self.profile
        tokens = self._tokens(batch)
        rows = batch.sampled_rows + batch.decode_sequences * self.num_speculative_tokens
        busy = tokens > 0
        bandwidth = gpu.bandwidth_bytes_per_s
        head = max(
            work.head_bytes / (bandwidth * eff.weight_bandwidth),
            rows * work.head_flops_per_row / (gpu.peak("bf16") * eff.matmul_bf16),
        )
        sampling = rows * overhead_facts().sampling.moved_bytes_per_logit * work.vocab_size / bandwidth
        collective = work.allreduces * (self._allreduce(tokens * work.message_bytes_per_token) + eff.allreduce_s)
        replicated = tokens * eff.replicated_passes * work.message_bytes_per_token / bandwidth
        host = eff.step_s * self.pipeline_parallel_size + eff.sequence_s * batch.decode_sequences
        attention = self.reading_s_per_token * batch.decode_context_tokens + self.scoring_s_per_pair * (
            batch.prefill_pairs
        )
        return {
            "linears": self._linears(work.linears, tokens) if busy else 0.0,
            "attention": attention,
            "head": head + sampling if rows > 0 else 0.0,
            "all-reduce": collective if busy else 0.0,
            "layers": work.num_layers * (eff.layer_s + replicated) if busy else 0.0,
            "host": host if busy else 0.0,
            "vision": self._vision(batch.images),
            "draft": self._draft(batch) if busy else 0.0,
        }

    @property
    def reading_s_per_token(self) -> float:
        """Seconds that attention takes to read one cached token of one sequence."""
        return self.work.kv_bytes_per_token / (self.hardware.bandwidth_bytes_per_s * self.profile.kv_bandwidth)

    @property
    def context_s_per_token(self) -> float:
        """Seconds that one more cached token costs a decoding step, the draft's passes included."""
        drafted = self._draft_reading_s_per_token * self.num_speculative_tokens
        return self.reading_s_per_token + drafted

    def shared_reading_saved(self, tokens: int) -> float:
        """Return the cached tokens whose reading a sequence saves because others read the same `tokens` in that step.

        One layer's share of them must stay in the GPU's last cache until all sequences have read it.
        """
        layer_bytes = tokens * self.work.kv_bytes_per_token / self.work.num_layers
        held = layer_bytes <= self.profile.shared_cache * self.hardware.cache_bytes
        return tokens * (1 - self.profile.shared_reading) if held else 0.0

    @property
    def scoring_s_per_pair(self) -> float:
        """Seconds of attention for one prompt token against one token before it."""
        return self.work.attention_flops_per_pair / (self.hardware.peak("bf16") * self.profile.attention_bf16)

    def _tokens(self, batch: Batch) -> float:
        return batch.prefill_tokens + batch.decode_sequences * (1 + self.num_speculative_tokens)

    def _allreduce(self, message_bytes: float) -> float:
        return allreduce_seconds(
            self.hardware, message_bytes, self.tensor_parallel_size, link_share=self.profile.link,
            custom_bytes_per_s=self.profile.custom_allreduce_bytes_per_s,
            fused_share=self.profile.fused_allreduce,
        )  # fmt: skip

    def _linears(self, linears: tuple[LinearWork, ...], tokens: float) -> float:
        gpu, eff = self.hardware, self.profile
        total = 0.0
        share = {"fp8": eff.matmul_fp8, "bf16": eff.matmul_bf16, "fp4": eff.matmul_fp4}
        for linear in linears:
            # A format the hardware lacks is widened on the fly: its bytes stay, its FLOPs are BF16.
            arithmetic = linear.arithmetic if gpu.flops_per_s.get(linear.arithmetic) else "bf16"
            reading = linear.weight_bytes / (gpu.bandwidth_bytes_per_s * eff.weight_bandwidth)
            computing = tokens * linear.flops_per_token / (gpu.peak(arithmetic) * share[arithmetic])
            if linear.unpacks or arithmetic != linear.arithmetic:
                computing /= eff.unpacking
            longer, shorter = max(reading, computing), min(reading, computing)
            power = eff.roofline_power
            total += longer * (1 + (shorter / longer) ** power) ** (1 / power)
            if arithmetic == "fp8" and eff.row_excess:
                total += reading * interpolated(eff.row_excess, tokens)
        return total

    def _vision(self, images: float) -> float:
        gpu, eff, work = self.hardware, self.profile, self.work
        if not work.vision_flops_per_image or not images:
            return 0.0
        computing = images * work.vision_flops_per_image / (gpu.peak("bf16") * eff.matmul_bf16)
        return max(computing, work.vision_bytes / (gpu.bandwidth_bytes_per_s * eff.weight_bandwidth))

    def _draft(self, batch: Batch) -> float:
        """Seconds of `num_speculative_tokens` draft passes, each over the decoding sequences."""
        draft, gpu, eff = self.work.draft, self.hardware, self.profile
        if draft is None or not self.num_speculative_tokens:
            return 0.0
        # Prompts go through the draft once as well.
        prompt = self._linears(draft.linears, batch.prefill_tokens) if batch.prefill_tokens else 0.0
        prompt += self._linears(draft.once, self._tokens(batch))
        rows = batch.decode_sequences
        if not rows:
            return prompt
        one = self._linears(draft.linears, rows)
        one += self._draft_reading_s_per_token * batch.decode_context_tokens
        one += draft.head_bytes / (gpu.bandwidth_bytes_per_s * eff.weight_bandwidth)
        one += rows * overhead_facts().sampling.moved_bytes_per_logit * draft.vocab_size / gpu.bandwidth_bytes_per_s
        one += draft.num_layers * eff.layer_s
        one += draft.allreduces * (self._allreduce(rows * draft.message_bytes_per_token) + eff.allreduce_s)
        return self.num_speculative_tokens * one + prompt

    @property
    def _draft_reading_s_per_token(self) -> float:
        if self.work.draft is None:
            return 0.0
        return self.work.draft.kv_bytes_per_token / (self.hardware.bandwidth_bytes_per_s * self.profile.kv_bandwidth)


def interpolated(points: tuple[tuple[float, float], ...], at: float) -> float:
    """Return the value at `at` on the straight lines between `points`; 0 before the first and after the last.

    >>> interpolated(((1.0, 10.0), (3.0, 30.0)), 2.0)
    20.0
    """
    if not points[0][0] <= at <= points[-1][0]:
        return 0.0
    index = max(1, bisect_left(points, (at,)))
    (left, low), (right, high) = points[index - 1], points[index]
    return low + (high - low) * (at - left) / (right - left)


class StepClock:
    """The times of a run's steps: what does not change with the context is computed once for each kind of step."""

    def __init__(self, model: StepModel, shared_tokens: int = 0) -> None:
        """`shared_tokens` are at the head of every sequence and in the same blocks."""
        self._model = model
        self._saved = model.shared_reading_saved(shared_tokens)
        self.stages = model.pipeline_parallel_size
        self._per_pair = model.scoring_s_per_pair
        self._known: dict[tuple[int, int, int, int], tuple[float, float, float]] = {}

    def line(
        self, prefill_tokens: int, decode_sequences: int, sampled_rows: int, images: int = 0
    ) -> tuple[float, float, float]:
        """Return the seconds without context, the seconds per cached token, and the floor of launching kernels."""
        key = (prefill_tokens, decode_sequences, sampled_rows, images)
        line = self._known.get(key)
        if line is None:
            model = self._model
            empty = Batch(
                prefill_tokens=prefill_tokens, decode_sequences=decode_sequences, sampled_rows=sampled_rows,
                images=images,
            )  # fmt: skip
            base = sum(model.parts(empty).values())
            slope = model.context_s_per_token if decode_sequences else 0.0
            base -= slope * self._saved * max(0, decode_sequences - 1)
            line = self._known[key] = (base, slope, model.launch_floor(empty))
        return line

    def seconds(
        self, prefill_tokens: int, prefill_pairs: float, decode_sequences: int, context: float, sampled_rows: int,
        images: int,
    ) -> float:  # fmt: skip
        """Return the seconds of one step."""
        base, slope, floor = self.line(prefill_tokens, decode_sequences, sampled_rows, images)
        return max(base + self._per_pair * prefill_pairs + slope * context, floor)

    def wave(self, sequences: int) -> int:
        """Return the largest of the waves in which decoding sequences travel, one for each pipeline stage.

        A request stays in the wave that its prompt happened to fall into. So waves are as uneven as chance makes them:
        the largest of n has about the mean and sqrt(2 ln n) standard deviations. A public example has 2, 7, 10 and 13
        of 32 (github.com/vllm-project/vllm/pull/57433); this gives 13.
        """
        if self.stages == 1:
            return sequences
        even = sequences / self.stages
        spread = 2 * log(self.stages) * even * (1 - 1 / self.stages)
        return min(sequences, ceil(even + sqrt(spread)))

    def round_line(self, sequences: int) -> tuple[float, float, float]:
        """Return :meth:`line` for a round in which all `sequences` decode, per cached token of all of them.

        While one wave is in a stage the others are in the others, so a round takes as long as the largest wave's way.
        """
        wave = self.wave(sequences)
        base, slope, floor = self.line(0, wave, wave)
        return base, slope * wave / max(sequences, 1), floor


def ramp_seconds(first: float, growth: float, floor: float, count: int) -> float:
    """Return the seconds of `count` steps that start at `first` and grow by `growth` each, none shorter than `floor`.

    >>> ramp_seconds(1.0, 1.0, 0.0, 3), ramp_seconds(1.0, 1.0, 2.5, 3)
    (6.0, 8.0)
    """
    flat = 0
    if first < floor:
        flat = count if growth <= 0 else min(count, int((floor - first) / growth) + 1)
    rest = count - flat
    start = first + growth * flat
    return flat * floor + rest * start + growth * rest * (rest - 1) / 2


def largest_count(limit: int, holds: Callable[[int], bool]) -> int:
    """Return the largest count up to `limit` for which `holds`: never again after a no, and 1 is taken for granted."""
    if limit == 1 or holds(limit):
        return limit
    good, bad = 1, limit
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good
