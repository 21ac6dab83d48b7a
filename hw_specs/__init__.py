"""What the machine is: the GPU catalogue, the ``8xH200`` grammar, and the GPUs that are really here.

It knows nothing of models or engines, and importing it reads no file and loads no vendor library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hw_specs.catalog import get_gpu as get_gpu
    from hw_specs.catalog import list_gpus as list_gpus
    from hw_specs.detect import DetectionReport as DetectionReport
    from hw_specs.detect import detect_gpus as detect_gpus
    from hw_specs.errors import BadGpuString as BadGpuString
    from hw_specs.errors import BadSnapshot as BadSnapshot
    from hw_specs.errors import M35Error as M35Error
    from hw_specs.errors import NoGpuFound as NoGpuFound
    from hw_specs.errors import UnknownGpu as UnknownGpu
    from hw_specs.gpu_set import parse_gpus as parse_gpus
    from hw_specs.resolve import resolve_gpus as resolve_gpus
    from hw_specs.spec import Fact as Fact
    from hw_specs.spec import GpuSet as GpuSet
    from hw_specs.spec import GpuSpec as GpuSpec
    from hw_specs.spec import Link as Link

_HOMES = {
    "BadGpuString": "hw_specs.errors",
    "BadSnapshot": "hw_specs.errors",
    "DetectionReport": "hw_specs.detect",
    "Fact": "hw_specs.spec",
    "GpuSet": "hw_specs.spec",
    "GpuSpec": "hw_specs.spec",
    "Link": "hw_specs.spec",
    "M35Error": "hw_specs.errors",
    "NoGpuFound": "hw_specs.errors",
    "UnknownGpu": "hw_specs.errors",
    "detect_gpus": "hw_specs.detect",
    "get_gpu": "hw_specs.catalog",
    "list_gpus": "hw_specs.catalog",
    "parse_gpus": "hw_specs.gpu_set",
    "resolve_gpus": "hw_specs.resolve",
}

__all__ = [
    "BadGpuString",
    "BadSnapshot",
    "DetectionReport",
    "Fact",
    "GpuSet",
    "GpuSpec",
    "Link",
    "M35Error",
    "NoGpuFound",
    "UnknownGpu",
    "detect_gpus",
    "get_gpu",
    "list_gpus",
    "parse_gpus",
    "resolve_gpus",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
