"""The public measurements of speed as values: ``measured_speed.json``; it never forecasts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from planner.facts.record import Record, read
from planner.speed.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One public measurement and how it is used."""

    id: str
    source: str
    quality: Literal["A", "B", "C"]
    role: Literal["fit", "test", "excluded"]
    reason: str = ""
    """Why it is excluded; empty otherwise."""
    kind: Literal["serve", "offline", "latency", "line", "none"]
    """What ran: a server, many requests at once, one batch, one sequence over its context, or nothing to replay."""
    date: str = ""
    notes: str = ""
    reported_model: str
    model: str = ""
    """Key of the models that were measured."""
    gpu: str = ""
    gpu_count: int
    tensor_parallel_size: int
    pipeline_parallel_size: int
    engine: str
    engine_version: str = "not said"
    profile: str = ""
    also_fits: tuple[str, ...] = ()
    """Other builds that it says something of."""
    kv_cache_dtype: str
    language_model_only: bool = False
    enforce_eager: bool = False
    max_num_seqs: int = 0
    max_num_batched_tokens: int = 0
    num_gpu_blocks: int | None = None
    """As the engine printed it; None where it did not."""
    speculative_tokens: int = 0
    acceptance_rate: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    length_distribution: Literal["uniform", "exponential"] = "uniform"
    concurrency: int | None = None
    num_requests: int = 0
    request_rate: float | None = None
    prefix_cache_hit_rate: float = 0.0
    cached_requests: int = 0
    result: Mapping[str, float]
    """Figure name → value as the source reports it; empty where nothing can be compared."""
    reported: str = ""
    """The figures of such a source, in its own words."""
    basis: str = ""
    """Where a figure was read off another way than the rest; empty for the rest."""
    unstated: Mapping[str, str] = field(default_factory=dict)
    """What the source leaves out and how it was read."""
    fit_figures: tuple[str, ...] | None = None
    """Figures that a fit may see; None is all."""
    group: str = ""
    """What is left out together with it; empty is its source."""
    half: Literal["build", "judge", ""] = ""
    predicted_before: Mapping[str, float] = field(default_factory=dict)
    """What the model said before any fit saw it."""
    inside_before: int | None = None

    @property
    def workload(self) -> Workload | None:
        """The load of the run; None where there is nothing to replay."""
        if self.kind == "none":
            return None
        return Workload(
            prompt_tokens=self.prompt_tokens, output_tokens=self.output_tokens, concurrency=self.concurrency,
            num_requests=self.num_requests, prefix_cache_hit_rate=self.prefix_cache_hit_rate,
            request_rate=self.request_rate, length_distribution=self.length_distribution,
        )  # fmt: skip

    @property
    def taught(self) -> tuple[str, ...]:
        """The figures that a fit may see."""
        return tuple(self.result) if self.fit_figures is None else self.fit_figures

    def teaches(self, profile: str) -> bool:
        """Whether the fit of `profile` may see it; a reading can say something of two builds."""
        return self.role == "fit" and profile in (self.profile, *self.also_fits)


class MeasuredModel(Record):
    """A shipped model, whole or cut to some layers, or the dimensions of another one."""

    preset: str = ""
    source: str = ""
    num_hidden_layers: int | None = None
    """None is all of the preset's."""
    hidden_size: int = 0
    num_attention_heads: int = 0
    num_key_value_heads: int = 0
    head_dim: int = 0
    intermediate_size: int = 0
    vocab_size: int = 0
    weights: str = ""


class MeasuredGpu(Record):
    """A GPU that was measured and is not in the catalogue."""

    name: str
    vendor: str
    bandwidth_bytes_per_s: float
    bf16_flops_per_s: float
    fp8_flops_per_s: float
    fp4_flops_per_s: float
    link_bytes_per_s: float
    pair_bytes_per_s: float
    memory_bytes: int
    source: str


class OtherForecast(Record):
    """What another tool says of one measured run."""

    tool: str
    record: str
    """Id of the measurement."""
    result: Mapping[str, float]


class MeasuredSpeed(Record):
    """The whole file."""

    schema_version: int
    about: str
    gpus: Mapping[str, MeasuredGpu]
    models: Mapping[str, MeasuredModel]
    other_forecasts: tuple[OtherForecast, ...]
    records: tuple[Measurement, ...]


@cache
def measured_speed() -> MeasuredSpeed:
    """Return what ``measured_speed.json`` says.

    Raises:
        BadFacts: where the file has another shape.
    """
    return read("measured_speed.json", MeasuredSpeed)
