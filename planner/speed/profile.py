"""How much of a GPU's peak an engine reaches: efficiencies and fixed costs as facts; it never computes a time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Literal

from planner.errors import BadFacts
from planner.facts.release import parse_version
from planner.facts.speed import Profile, speed_facts

Case = Literal["expected", "fast", "slow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """One engine build on one vendor's GPUs. Fractions are of the vendor's peak; seconds are added per step."""

    id: str
    vendor: str
    weight_bandwidth: float
    """Share of memory bandwidth while weights stream through a skinny matrix product."""
    kv_bandwidth: float
    """Share of memory bandwidth while attention reads the cache."""
    matmul_fp8: float
    matmul_bf16: float
    matmul_fp4: float
    roofline_power: float
    """How sharp the corner between reading and multiplying is: the two times are added as powers of this; the larger
    one alone counts when it is infinite."""
    shared_reading: float
    """Time of reading a cached token that another sequence read in the same step, as a share of reading it anew."""
    shared_cache: float
    """Share of the GPU's last cache into which one layer's shared tokens must fit to be read anew only once."""
    attention_bf16: float
    """Share of the BF16 peak in prefill attention."""
    link: float
    """Share of the link in large all-reduces where no latency table exists."""
    custom_allreduce_bytes_per_s: float
    """What one GPU moves in the engine's own kernel for small messages where no table exists."""
    step_s: float
    """Scheduler, sampler and launch cost of any step."""
    layer_s: float
    """Norms, rotary embedding, quantisation, gaps between kernels: per decoder layer."""
    sequence_s: float
    """Host work per sequence and step that is not hidden."""
    allreduce_s: float
    """Added to each collective on top of its table or link time."""
    fused_allreduce: float
    """Share of the table's time left where the engine fuses the all-reduce with the norm behind it."""
    replicated_passes: float
    """Passes over the hidden state per token and layer that tensor parallelism does not divide, in memory time."""
    eager_layer_s: float
    """Launch time per layer, a floor for steps that no graph covers."""
    eager_allreduce_s: float
    """Launch time per collective in such a step, beside its layer's."""
    compiled_launch: float
    """Share of both that is left where the step is compiled: it launches fewer kernels, and them from less Python."""
    frontend_s: float
    """HTTP, tokenising and hand-over: work of the front end per request, which it does on all of them by turns."""
    first_token_s: float
    """From sending a request to the engine's seeing it and from its first token to the client, beside `frontend_s`."""
    streaming_s: float
    """What a new request waits in the front end for each answer that is being streamed meanwhile."""
    unpacking: float
    """Share of the product's speed left where weights are widened on the fly: 4-bit, or FP8 where it is lacking."""
    async_scheduling: bool
    """Whether a step is scheduled while the one before runs."""
    row_excess: tuple[tuple[float, float], ...] = ()
    """FP8 products by rows: what they take above the rounded roofline, as a share of the time to read the weights.
    Between the rows that are listed it is a straight line; none before the first and after the last."""


_RATES = (
    "weight_bandwidth",
    "kv_bandwidth",
    "shared_cache",
    "matmul_fp8",
    "matmul_bf16",
    "matmul_fp4",
    "roofline_power",
    "attention_bf16",
    "link",
    "custom_allreduce_bytes_per_s",
    "unpacking",
)


@cache
def profile(profile_id: str) -> Profile:
    """Return one build with its numbers: each with bounds, basis, source and the points it was fitted on.

    Raises:
        BadFacts: when it has a number that no profile has, or lacks one.
        KeyError: when no such build was fitted.
    """
    found = speed_facts().profile[profile_id]
    for name in sorted(found.values.keys() ^ set(PARAMETERS)):
        said = "is missing" if name in PARAMETERS else "is not a known key"
        raise BadFacts("speed.toml", f"profile.{profile_id}.values.{name}", said)
    return found


def engine_profile(profile_id: str, case: Case = "expected") -> EngineProfile:
    """Return one build's numbers; ``fast`` and ``slow`` take every bound in the same direction.

    Raises:
        KeyError: when no such build was fitted.
    """
    record = profile(profile_id)
    numbers: dict[str, float] = {}
    for name, fact in record.values.items():
        if case == "expected":
            numbers[name] = fact.value
        else:
            numbers[name] = fact.high if (case == "fast") == (name in _RATES) else fact.low
    table = record.row_excess
    return EngineProfile(
        id=profile_id, vendor=record.vendor, async_scheduling=record.async_scheduling,
        row_excess=tuple(zip(table.rows, table.shares, strict=True)) if table else (), **numbers,
    )  # fmt: skip


def profile_id_for(vendor: str, vllm_version: str, *, architecture: str = "", arithmetic: str = "") -> str:
    """Return the build whose numbers serve `vendor` at `vllm_version`: the newest one not newer than it.

    Numbers fitted for one `architecture` and the `arithmetic` of its linear layers go before those of the whole vendor.

    Raises:
        KeyError: when nothing was ever measured on that vendor.
    """
    asked = parse_version(vllm_version)
    candidates: list[tuple[tuple[int, int, int], bool, str]] = [
        (parse_version(record.since), record.architecture is not None, profile_id)
        for profile_id, record in speed_facts().profile.items()
        if record.vendor == vendor
        and record.architecture in (None, architecture)
        and record.arithmetic in (None, arithmetic)
    ]
    if not candidates:
        raise KeyError(vendor)
    older = [entry for entry in candidates if entry[0] <= asked] or [min(candidates)]
    own = [entry for entry in older if entry[1]]
    return max(own or older)[2]


_NO_PARAMETER = ("id", "vendor", "async_scheduling", "row_excess")
PARAMETERS = tuple(field.name for field in fields(EngineProfile) if field.name not in _NO_PARAMETER)
