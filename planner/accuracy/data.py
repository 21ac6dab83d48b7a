"""The measured start-ups as requests that the planner can answer; it never judges them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hw_specs import get_gpu, parse_gpus
from hw_specs.spec import GpuSet
from hw_specs.units import gib
from planner.checkpoint.document import Section
from planner.checkpoint.huggingface import read_huggingface
from planner.checkpoint.mistral import read_mistral
from planner.checkpoint.preset import load_preset, preset_stems
from planner.facts import load
from planner.model import ModelSpec
from planner.planning.request import PlanRequest
from planner.settings import Settings

MODELS, STARTUPS, READINGS = (
    "measured/models.json",
    "measured/startups-h100-0.19.json",
    "measured/readings.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """One start-up: what was asked and what vLLM logged."""

    model: ModelSpec
    base: str
    """The model whose copies and quantisations belong together: what is left out as one."""
    quantised_on_load: bool
    """Whether vLLM quantised a plain checkpoint while loading it."""
    relative: bool
    """Outside the scope, but alike in what decides the terms beside weights and KV cache."""
    gpus: GpuSet
    vllm_version: str
    settings: Settings
    measured: Mapping[str, float] = field(hash=False)
    """GiB as printed, and ``kv_tokens``."""
    source: str

    @property
    def family(self) -> str:
        """Models of one maker and shape: ``Llama``, ``Granite`` …"""
        return self.base.partition("-")[0]

    @property
    def label(self) -> str:
        """Model and layout, for tables."""
        name = self.model.name.partition("/")[2] + (", FP8 on load" if self.quantised_on_load else "")
        return f"{name} {self.settings.layout}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A published figure or two of one start-up, too little for a decomposition."""

    model: ModelSpec
    gpus: str
    vllm_version: str
    tensor_parallel_size: int
    pipeline_parallel_size: int
    weights_gib: float | None
    kv_available_gib: float | None
    kv_tokens: int | None
    kv_cache_dtype: str
    source: str


@cache
def sibling(name: str, quantization: str | None = None) -> ModelSpec:
    """Return a model of the measured data, read from its configuration by the ordinary reader.

    Raises:
        KeyError: when the data hold no such model.
    """
    for stem in preset_stems():
        if load_preset(stem).name == name:
            return load_preset(stem)
    entry = load(MODELS)["models"][name]
    if "params" in entry:
        return read_mistral(Section(MODELS, entry["params"]), name=name)
    config = dict(entry["config"])
    if quantization:
        config["quantization_config"] = {"quant_method": quantization}
    return read_huggingface(Section(MODELS, config), name=name)


def _startup(row: dict[str, Any], source: str) -> Startup:
    entry = load(MODELS)["models"][row["model"]]
    return Startup(
        model=sibling(row["model"], row.get("online_quantization")),
        base=entry["base"],
        quantised_on_load="online_quantization" in row,
        relative=entry.get("relative", False),
        gpus=GpuSet(
            spec=get_gpu(row["gpu"]),
            count=row["tensor_parallel_size"] * row["pipeline_parallel_size"],
            memory_override_bytes=gib(row["total_gib"]),
        ),
        vllm_version=row["vllm_version"],
        settings=Settings(
            tensor_parallel_size=row["tensor_parallel_size"],
            pipeline_parallel_size=row["pipeline_parallel_size"],
            replicas=1,
            max_model_len=row["max_model_len"],
            max_num_seqs=row["max_num_seqs"],
            max_num_batched_tokens=row["max_num_batched_tokens"],
            gpu_memory_utilization=row["gpu_memory_utilization"],
            kv_cache_dtype=row["kv_cache_dtype"],
            language_model_only=True,
            enforce_eager=False,
            num_speculative_tokens=0,
            load_format="hf",
        ),
        measured=row["measured"],
        source=source,
    )


def startups() -> tuple[Startup, ...]:
    """Return the start-ups that the planner can be asked about: in scope, or relatives."""
    data = load(STARTUPS)
    known = load(MODELS)["models"]
    return tuple(
        _startup(row, data["source"])
        for row in data["startups"]
        if row["model"] in known and ("outside" not in row or known[row["model"]].get("relative"))
    )


def left_out() -> dict[str, int]:
    """Return why start-ups of the data are not used, with how many."""
    known = load(MODELS)["models"]
    reasons: dict[str, int] = {}
    for row in load(STARTUPS)["startups"]:
        if "outside" in row and not known.get(row["model"], {}).get("relative"):
            reasons[row["outside"]] = reasons.get(row["outside"], 0) + 1
    return reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Somebody's report that a configuration of the official model starts, or does not."""

    request: PlanRequest
    gpus: str
    started: bool
    note: str
    source: str


def starts() -> tuple[Start, ...]:
    """Return the public reports of starts and failures."""
    return tuple(
        Start(
            request=PlanRequest(
                gpus=parse_gpus(row["gpus"]),
                vllm_version=row["vllm_version"],
                max_model_len=row["max_model_len"],
                language_model_only=row["language_model_only"],
            ),
            gpus=row["gpus"],
            started=row["started"],
            note=row["note"],
            source=row["source"],
        )
        for row in load(READINGS)["starts"]
    )


def readings() -> tuple[Reading, ...]:
    """Return the single public readings."""
    return tuple(
        Reading(
            model=sibling(row["model"]),
            gpus=row["gpus"],
            vllm_version=row["vllm_version"],
            tensor_parallel_size=row["tensor_parallel_size"],
            pipeline_parallel_size=row["pipeline_parallel_size"],
            weights_gib=row.get("weights_gib"),
            kv_available_gib=row.get("kv_available_gib"),
            kv_tokens=row.get("kv_tokens"),
            kv_cache_dtype=row.get("kv_cache_dtype", "auto"),
            source=row["source"],
        )
        for row in load(READINGS)["readings"]
    )
