"""What a forecast is made for, as far as it looks; it holds nothing itself."""

from __future__ import annotations

from typing import Protocol

from hw_specs.spec import GpuSet
from planner.model import ModelSpec
from planner.settings import Settings


class Blocks(Protocol):
    """A KV cache, as far as speed depends on it."""

    @property
    def num_gpu_blocks(self) -> int:
        """Blocks of one replica, the null block included."""
        ...


class Served(Protocol):
    """What a forecast is made for: a plan is one."""

    @property
    def settings(self) -> Settings:
        """What the engine is started with."""
        ...

    @property
    def model(self) -> ModelSpec:
        """The checkpoint."""
        ...

    @property
    def gpus(self) -> GpuSet:
        """What it runs on."""
        ...

    @property
    def vllm_version(self) -> str:
        """The release."""
        ...

    @property
    def kv_cache(self) -> Blocks:
        """The cache of one replica."""
        ...
