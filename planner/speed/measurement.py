"""The public measurements of speed as values: ``measured_speed.json``; it never forecasts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from planner.checkpoint.formats import weight_format
from planner.checkpoint.preset import load_preset
from planner.facts.record import Record, door
from planner.model import LayerGroup, ModelSpec
from planner.speed.workload import Workload

_GROUPS = {"fp8-block": {"group_rows": 128, "group_columns": 128}, "int4": {"group_columns": 128, "zero_point_bits": 4}}
"""What the checkpoints of the measured models say of formats that leave it to them."""


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
    turns: int = 1
    system_tokens: int = 0
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
            turns=self.turns, system_tokens=self.system_tokens,
        )  # fmt: skip


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


measured_speed = door("measured_speed.json", MeasuredSpeed)


@cache
def measured_model(key: str) -> ModelSpec:
    """Return the dimensions of a model that was measured.

    Raises:
        KeyError: when the data file does not describe it.
    """
    record = measured_speed().models[key]
    if record.preset:
        whole = load_preset(record.preset)
        layers = record.num_hidden_layers or whole.num_hidden_layers
        if layers == whole.num_hidden_layers:
            return whole
        (group,) = whole.layers
        return replace(whole, layers=(replace(group, count=layers),))
    weights = weight_format(record.weights, **_GROUPS.get(record.weights, {}))
    return ModelSpec(
        name=key, hidden_size=record.hidden_size, num_attention_heads=record.num_attention_heads,
        num_key_value_heads=record.num_key_value_heads, head_dim=record.head_dim,
        intermediate_size=record.intermediate_size, vocab_size=record.vocab_size,
        max_position_embeddings=131072, tie_word_embeddings=False,
        layers=(LayerGroup(count=record.num_hidden_layers or 0, attention=weights, mlp=weights),),
    )  # fmt: skip
