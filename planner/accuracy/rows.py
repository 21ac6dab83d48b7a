"""The measured start-ups as ``planner/facts/measured`` holds them, one record a row; it computes nothing."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

from planner.facts.record import Record, door, read

OWN = "measured/startups-h200-0.26.json"
SEVERAL = "measured/startups-h100-tp-0.26.json"
FORECAST_BEFORE = tuple(f"measured/startups-h200-0.33-{campaign}.json" for campaign in ("tp2", "load", "tp4", "one"))
"""Campaigns of which every start was forecast before it was made."""
NEWEST = ("measured/startups-h100-0.33.json", "measured/startups-h200-0.33.json", *FORECAST_BEFORE)


class Model(Record):
    """A model that was measured: its configuration, reduced to what decides memory."""

    base: str
    """The model whose copies and quantisations belong together: what is left out as one."""
    config: Mapping[str, object] | None = None
    params: Mapping[str, object] | None = None
    relative: bool = False
    """Outside the scope, but alike in what decides the terms beside weights and KV cache."""


class _Models(Record):
    source: str
    note: str
    models: Mapping[str, Model]


class PublishedStart(Record):
    """One start-up of the public data set, with what vLLM printed of it."""

    model: str
    gpu: str
    total_gib: float
    vllm_version: str
    tensor_parallel_size: int
    pipeline_parallel_size: int
    gpu_memory_utilization: float
    max_model_len: int
    max_num_batched_tokens: int
    max_num_seqs: int
    kv_cache_dtype: str
    measured: Mapping[str, float]
    """GiB as printed, and ``kv_tokens``."""
    outside: str = ""
    """Why it is not used."""
    online_quantization: str = ""
    """How vLLM quantised a plain checkpoint while loading it."""


class _Published(Record):
    source: str
    note: str
    startups: tuple[PublishedStart, ...]


class Reading(Record):
    """A published figure or two of one start-up, too little for a decomposition."""

    model: str
    gpus: str
    vllm_version: str
    tensor_parallel_size: int
    pipeline_parallel_size: int
    weights_gib: float | None = None
    kv_available_gib: float | None = None
    kv_tokens: int | None = None
    kv_cache_dtype: str = "auto"
    source: str


class Start(Record):
    """Somebody's report that a configuration of the official model starts, or does not."""

    gpus: str
    vllm_version: str
    max_model_len: int
    language_model_only: bool
    started: bool
    note: str
    source: str


class _Readings(Record):
    note: str
    readings: tuple[Reading, ...]
    starts: tuple[Start, ...]


class OwnStart(Record):
    """One start of this project's own, of which a plugin inside the engine read every figure in bytes."""

    name: str
    status: str = "ready"
    model: str = ""
    """Another architecture than this one."""
    gpus: int = 1
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    layers: int
    language_model_only: bool
    draft: bool
    enforce_eager: bool
    kv_cache_dtype: str
    speculation: Mapping[str, object] | None = None
    """Method and tokens of a draft, where it is not three tokens of the model's own EAGLE."""
    other_flags: tuple[str, ...] = ()
    """What else the engine was told, that a plan has no setting for."""
    model_runner: int
    flashinfer_sampler: bool
    fused_all_reduce: Literal["auto", "trtllm", "none"] = "auto"
    compile_cache: str | None
    """``cold``, ``warm``, or nothing for an eager start."""
    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int
    gpu_memory_utilization: float | None = None
    stages: tuple[Mapping[str, object], ...] = ()
    """The engine's figures of each pipeline stage."""
    measured: Mapping[str, object] | None = None
    """The same where there is one stage only."""
    phases: object = None
    log: object = None
    bench: object = None
    agents: object = None
    """What agents saw: requests that hold all that was said before."""
    judges_facts: bool = False
    """Whether it was made after the facts were set."""
    fitted: bool | None = None
    """Whether a coefficient of its release was read from it; what the campaign says where nothing is said."""


class OwnStarts(Record):
    """One campaign of such starts."""

    source: str
    date: str
    note: str
    vllm_version: str
    gpu: str
    gpu_memory_utilization: float | None = None
    tensor_parallel_size: int = 1
    fitted: bool = True
    """Whether coefficients were read from its starts."""
    machine: object
    startups: tuple[OwnStart, ...]


class Forecast(Record):
    """What the planner said of a public start before anything was read from it."""

    at: str
    """The commit that said it."""
    kv: tuple[float, ...]
    """GiB of KV pool: expected, low, high."""


class Asked(Record):
    """What the planner is asked of a public start."""

    gpu: str
    model: str
    vllm_version: str
    max_model_len: int
    kv_cache_dtype: str
    language_model_only: bool
    online_quantization: str = ""
    """How vLLM quantised a plain checkpoint while loading it."""
    fitted: tuple[str, ...] = ()
    """Components that something was read of from this start."""
    split: Literal["", "build", "judge"] = ""
    """The half that its source was put into before any forecast of it was looked at."""
    forecast: Forecast | None = None


class PublicStart(Record):
    """One public start-up, figures as printed: GiB a GPU."""

    id: str
    thread: str | None
    """None where the page lies outside GitHub."""
    url: str | None
    """None where it was read in an excerpt that names no address."""
    date: str
    vllm: str | None
    runner: str | None
    vendor: str
    gpu: str
    gpus: int | None
    tp: int
    pp: int
    dp: int = 1
    ep: bool = False
    link: bool | None = None
    """Whether fast links join the GPUs."""
    model: str
    layers: int | None = None
    layers_basis: str | None = None
    hidden: int = 0
    vocab: int = 0
    kind: str
    quant: str | None = None
    attention: str = ""
    aiter: bool = False
    T: int | None = None
    """Batched tokens."""
    S: int | None = None
    """Sequences."""
    captures: Mapping[str, int] | None = None
    util: float | None = None
    util_without_graphs: float | None = None
    eager: bool = False
    compile: str = ""
    total: float | None = None
    total_assumed: float | None = None
    free: float | None = None
    requested: float | None = None
    load: float | None = None
    kv: float | None = None
    kv_tokens: int | None = None
    activation: float | None = None
    non_torch: float | None = None
    consumed: float | None = None
    """Free memory at the start less free memory after profiling."""
    peak_printed: float | None = None
    """The peak activation of releases since 0.27, which holds the graph estimate where one is subtracted."""
    graph_estimate: float | None = None
    graph_actual: float | None = None
    graph_actual_low: float | None = None
    graph_actual_high: float | None = None
    estimate_subtracted: object = None
    """Yes, no, or words about it."""
    torch_reserved_after: float | None = None
    torch_allocated_after: float | None = None
    non_torch_after: float | None = None
    non_torch_before_load: float | None = None
    profile_capture: object = None
    derived: Mapping[str, object] | None = None
    """Arithmetic on the figures, never the source's."""
    note: str = ""
    plan: Asked | None = None
    """None where it says too little to be planned."""


class _Public(Record):
    source: str
    date: str
    note: str
    startups: tuple[PublicStart, ...]


@cache
def public_starts() -> tuple[PublicStart, ...]:
    """Return public start-ups of other models, cards and releases."""
    return read("measured/startups-public.json", _Public).startups


@cache
def models() -> Mapping[str, Model]:
    """Return the models that were measured, by name."""
    return read("measured/models.json", _Models).models


published = door("measured/startups-h100-0.19.json", _Published)
"""The public data set of start-ups."""

single_readings = door("measured/readings.json", _Readings)
"""Single public readings, and reports of starts and failures."""


@cache
def own_starts(name: str) -> OwnStarts:
    """Return the starts of one file of our own, :data:`OWN`, :data:`SEVERAL` or one of :data:`NEWEST`."""
    return read(name, OwnStarts)
