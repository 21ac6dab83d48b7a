"""What the engine measured, from the events of its start; it reads no file and judges nothing by itself.

Two forms of the engine's closing line exist. In the older one "peak activation" stands alone; in the newer one,
which gives consumed memory as a whole, it already contains the graph *estimate*, while the graph figure beside it
is the *actual* one. :func:`read_measured` undoes that, so that a `Measured` means the same whatever it was read from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from planner.serve.log.events import Event, Figure, Progress
from planner.serve.prometheus import samples

Reading = Literal["whole", "text", "size", "number"]
"""How a figure of the log becomes the field of its name: an integer or a text where it stands first, a size or a number
where the tightest rank says it last."""


def _read(how: Reading) -> Any:
    """A field that is the figure of its name."""
    return field(default=None, metadata={"read": how})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Figures of one start-up, per GPU, of the rank with the least room for KV; None is what the log does not say."""

    vllm_version: str | None = _read("text")
    model: str | None = _read("text")
    device: str | None = _read("text")
    """``cuda``, ``rocm``, ``cpu``."""
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = _read("whole")
    max_model_len: int | None = None
    max_num_seqs: int | None = _read("whole")
    max_num_batched_tokens: int | None = _read("whole")
    gpu_memory_utilization: float | None = None
    kv_cache_dtype: str | None = _read("text")
    language_model_only: bool | None = None
    enforce_eager: bool | None = None
    num_speculative_tokens: int | None = None
    """0 where the engine's own configuration names no draft."""
    spec_method: str | None = _read("text")
    """How they are drafted."""
    total_bytes: int | None = _read("size")
    free_bytes: int | None = _read("size")
    """Free when the engine took stock."""
    requested_bytes: int | None = _read("size")
    weights_bytes: int | None = None
    """What loading took: target, draft and RoPE table; the largest rank."""
    rank_weights_bytes: int | None = None
    """The same of the rank that the sizes below are of."""
    consumed_bytes: int | None = None
    """Weights, persistent buffers and memory outside torch together."""
    peak_activation_bytes: int | None = None
    """Without the graph estimate."""
    peak_with_estimate_bytes: int | None = None
    """Both together, where the log gives nothing else."""
    graph_estimate_bytes: int | None = None
    """What was subtracted from the budget for graphs."""
    graph_actual_bytes: int | None = _read("size")
    non_torch_bytes: int | None = None
    """Outside torch alone; only the older form of the closing line says it."""
    kv_available_bytes: int | None = _read("size")
    num_gpu_blocks: int | None = _read("size")
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None
    load_s: float | None = _read("number")
    compile_s: float | None = None
    compiled_anew: bool | None = None
    """Whether this start compiled, other than loading what an earlier one left; None where the log does not say."""
    capture_s: float | None = _read("number")
    init_engine_s: float | None = _read("number")
    shards: int | None = None
    ranks: tuple[str, ...] = ()
    """Processes that reported loading."""
    tolerance_bytes: int = 0
    """Rounding of the printed sizes; a difference below it means nothing."""
    estimate_source: str = ""
    """Which line the graph estimate comes from."""


@dataclass(slots=True)
class _Readings:
    """All figures by name, in order, with their ranks."""

    by_name: dict[str, list[Figure]] = field(default_factory=dict)

    def add(self, figure: Figure) -> None:
        self.by_name.setdefault(figure.name, []).append(figure)

    def first(self, name: str) -> int | float | str | None:
        found = self.by_name.get(name)
        return found[0].value if found else None

    def last(self, name: str, rank: str | None = None) -> int | float | str | None:
        found = [item for item in self.by_name.get(name, ()) if rank is None or item.rank == rank]
        found = found or self.by_name.get(name, [])
        return found[-1].value if found else None

    def most(self, name: str) -> int | None:
        values = [item.value for item in self.by_name.get(name, ()) if isinstance(item.value, int)]
        return max(values) if values else None


def read_measured(events: Iterable[Event]) -> Measured:
    """Return what `events` say about sizes; repeated lines of several ranks are reduced to the tightest one.

    >>> read_measured([]).kv_available_bytes is None
    True
    """
    readings = _Readings()
    shards = None
    for event in events:
        if isinstance(event, Figure):
            readings.add(event)
        elif isinstance(event, Progress) and event.phase == "load":
            shards = max(shards or 0, event.total)
    rank = _tightest_rank(readings)

    def size(name: str) -> int | None:
        value = readings.last(name, rank)
        return value if isinstance(value, int) else None

    def number(name: str) -> float | None:
        value = readings.last(name, rank)
        return float(value) if isinstance(value, (int, float)) else None

    def text(name: str) -> str | None:
        value = readings.first(name)
        return str(value) if value is not None else None

    def whole(name: str) -> int | None:
        return _whole(readings.first(name))

    readers: dict[Reading, Callable[[str], Any]] = {"whole": whole, "text": text, "size": size, "number": number}
    alike = {one.name: readers[one.metadata["read"]](one.name) for one in fields(Measured) if "read" in one.metadata}
    eager = text("enforce_eager")
    only = text("language_model_only")
    estimate, source = _graph_estimate(readings, rank, eager=eager == "True")
    consumed, non_torch = size("consumed_bytes"), size("non_torch_bytes")
    weights = readings.most("weights_bytes")
    own_weights = size("weights_bytes")
    if consumed is None and non_torch is not None and own_weights is not None:
        consumed = own_weights + non_torch
    peak, both = size("peak_activation_bytes"), size("peak_with_estimate_bytes")
    if peak is None and both is not None and estimate is not None:
        peak = both - estimate
    elif peak is not None and estimate is not None:
        both = peak + estimate
    concurrency = readings.last("max_concurrency_ratio")
    length = readings.first("max_model_len")
    served = readings.last("kv_max_model_len")
    tensor_parallel_size = whole("tensor_parallel_size")
    drafts = whole("num_speculative_tokens")
    if drafts is None and tensor_parallel_size is not None:
        drafts = 0  # the line that gives the layout gives the draft, too
    return Measured(
        **alike,
        tensor_parallel_size=tensor_parallel_size,
        # The draft prints its own length after the target's; what the KV cache was sized for wins over both.
        max_model_len=_whole(served) or _whole(length),
        gpu_memory_utilization=number("gpu_memory_utilization_fraction"),
        language_model_only=only == "True" if only is not None else text("modality") == "text-only" or None,
        enforce_eager=None if eager is None else eager == "True",
        num_speculative_tokens=drafts,
        weights_bytes=weights,
        rank_weights_bytes=own_weights,
        consumed_bytes=consumed,
        peak_activation_bytes=peak,
        peak_with_estimate_bytes=both,
        graph_estimate_bytes=estimate,
        non_torch_bytes=non_torch,
        kv_cache_tokens=_whole(readings.last("kv_cache_tokens")),
        max_concurrency=float(concurrency) if isinstance(concurrency, (int, float)) else None,
        compile_s=number("compile_s"),
        compiled_anew=None if number("compile_s") is None else text("compile_cache") is None,
        shards=shards,
        ranks=tuple(dict.fromkeys(item.rank for item in readings.by_name.get("weights_bytes", ()))),
        tolerance_bytes=max((item.tolerance_bytes for found in readings.by_name.values() for item in found), default=0),
        estimate_source=source,
    )


def with_metrics(measured: Measured, text: str) -> Measured:
    """Return `measured` with what ``GET /metrics`` says about the KV cache; its figures are exact.

    >>> page = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="59578"} 1.0'
    >>> with_metrics(Measured(), page).num_gpu_blocks
    59578
    """
    for sample in samples(text):
        if sample.name == "vllm:cache_config_info":
            blocks, tokens = (_number(sample.labels.get(key)) for key in ("num_gpu_blocks", "kv_cache_size_tokens"))
            return replace(
                measured,
                num_gpu_blocks=measured.num_gpu_blocks if blocks is None else blocks,
                kv_cache_tokens=measured.kv_cache_tokens if tokens is None else tokens,
            )
    return measured


def _number(label: str | None) -> int | None:
    # A server may say anything; more digits than any cache has blocks are not a number.
    return int(label) if label and label.isascii() and label.isdigit() and len(label) <= 18 else None


def _whole(value: int | float | str | None) -> int | None:
    return value if isinstance(value, int) else None


def _tightest_rank(readings: _Readings) -> str | None:
    """The rank with the least KV memory; blocks are the smallest over the ranks, so it decides."""
    found = [item for item in readings.by_name.get("kv_available_bytes", ()) if isinstance(item.value, int)]
    budget = list(readings.by_name.get("requested_bytes", ()))
    if budget:
        ranks = {item.rank for item in budget}
        found = [item for item in found if item.rank in ranks] or found
    if not found:
        return budget[0].rank if budget else None
    return min(found, key=lambda item: int(item.value)).rank


def _graph_estimate(readings: _Readings, rank: str | None, *, eager: bool) -> tuple[int | None, str]:
    if eager:
        return 0, "eager mode"
    value = readings.last("graph_estimate_bytes", rank)
    if isinstance(value, int):
        return value, "graph line"
    with_graphs = readings.last("graph_utilization_fraction", rank)
    without = readings.last("graph_effective_utilization_fraction", rank)
    total = readings.last("total_bytes", rank)
    if isinstance(with_graphs, float) and isinstance(without, float) and isinstance(total, int):
        # Four decimals of the total: good to a few MiB.
        return round((with_graphs - without) * total), "utilization line"
    return None, ""
