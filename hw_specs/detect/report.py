"""What a probe learned, with what it amounts to; it survives a trip through JSON unchanged."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

from hw_specs.detect.choose import Selection, select
from hw_specs.detect.devices import Reading
from hw_specs.spec import GpuSet


@dataclass(frozen=True, kw_only=True)
class DetectionReport(Reading):
    """A reading, and the GPUs of it that are planned for."""

    @cached_property
    def selection(self) -> Selection:
        """The GPUs to plan for, those left out, and the reasons."""
        return select(self)

    @property
    def gpu_set(self) -> GpuSet | None:
        """The GPUs to plan for; None when there is nothing to plan with, and `problems` says why."""
        return self.selection.gpu_set

    def only(self, labels: Collection[str]) -> DetectionReport:
        """Return the report with some GPUs left out: they are there and are not chosen."""
        gpus = tuple(gpu if gpu.label in labels else replace(gpu, hidden_by=NOT_PICKED) for gpu in self.gpus)
        return replace(self, gpus=gpus)


NOT_PICKED = "a choice by hand"
"""What hides a GPU that a person left out."""
