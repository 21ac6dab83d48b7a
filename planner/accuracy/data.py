"""The measured start-ups as requests that the planner can answer; it never judges them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

from hw_specs import get_gpu
from hw_specs.spec import GpuSet
from hw_specs.units import gib
from planner.accuracy.rows import PublishedStart, models, published
from planner.checkpoint.document import Section
from planner.checkpoint.huggingface import read_huggingface
from planner.checkpoint.mistral import read_mistral
from planner.checkpoint.preset import load_preset, preset_stems
from planner.facts.record import Record, keys
from planner.model import ModelSpec
from planner.planning.request import PlanRequest
from planner.settings import Settings

T = TypeVar("T", Settings, PlanRequest)
_MODELS = "measured/models.json"


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


@cache
def sibling(name: str, quantization: str = "") -> ModelSpec:
    """Return a model of the measured data, read from its configuration by the ordinary reader.

    Raises:
        KeyError: when the data hold no such model.
    """
    for stem in preset_stems():
        if load_preset(stem).name == name:
            return load_preset(stem)
    found = models()[name]
    if found.params is not None:
        return read_mistral(Section(_MODELS, dict(found.params)), name=name)
    config = dict(found.config or {})
    if quantization:
        config["quantization_config"] = {"quant_method": quantization}
    return read_huggingface(Section(_MODELS, config), name=name)


def asked(cls: type[T], row: Record, **others: Any) -> T:
    """Return a value of `cls` with `others` and what a row of the data says; what neither says has its default."""
    named = {one.name for one in fields(cls)} & keys(type(row)).keys() - others.keys()
    return cls(**{name: getattr(row, name) for name in named}, **others)


def _startup(row: PublishedStart) -> Startup:
    known = models()[row.model]
    return Startup(
        model=sibling(row.model, row.online_quantization),
        base=known.base,
        quantised_on_load=bool(row.online_quantization),
        relative=known.relative,
        gpus=GpuSet(
            spec=get_gpu(row.gpu),
            count=row.tensor_parallel_size * row.pipeline_parallel_size,
            memory_override_bytes=gib(row.total_gib),
        ),
        vllm_version=row.vllm_version,
        settings=asked(
            Settings, row, replicas=1, language_model_only=True, enforce_eager=False, num_speculative_tokens=0,
            load_format="hf",
        ),
        measured=row.measured,
        source=published().source,
    )  # fmt: skip


def startups() -> tuple[Startup, ...]:
    """Return the start-ups that the planner can be asked about: in scope, or relatives."""
    known = models()
    return tuple(
        _startup(row)
        for row in published().startups
        if row.model in known and (not row.outside or known[row.model].relative)
    )


def left_out() -> dict[str, int]:
    """Return why start-ups of the data are not used, with how many."""
    known = models()
    return dict(
        Counter(
            row.outside
            for row in published().startups
            if row.outside and not (row.model in known and known[row.model].relative)
        )
    )
