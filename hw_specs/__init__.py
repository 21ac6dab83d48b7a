"""What the machine is: the GPU catalogue, the ``8xH200`` grammar, and the GPUs that are really here.

It knows nothing of models or engines, and importing it reads no file and loads no vendor library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw_specs.lazy import lazy

if TYPE_CHECKING:
    from hw_specs.catalog import get_gpu as get_gpu
    from hw_specs.catalog import list_gpus as list_gpus
    from hw_specs.detect import DetectionReport as DetectionReport
    from hw_specs.detect import detect_gpus as detect_gpus
    from hw_specs.errors import BadFacts as BadFacts
    from hw_specs.errors import BadGpuString as BadGpuString
    from hw_specs.errors import BadSnapshot as BadSnapshot
    from hw_specs.errors import M35Error as M35Error
    from hw_specs.errors import MissingPackage as MissingPackage
    from hw_specs.errors import NoGpuFound as NoGpuFound
    from hw_specs.errors import UnknownGpu as UnknownGpu
    from hw_specs.gpu_set import parse_gpus as parse_gpus
    from hw_specs.resolve import resolve_gpus as resolve_gpus
    from hw_specs.spec import Fact as Fact
    from hw_specs.spec import GpuSet as GpuSet
    from hw_specs.spec import GpuSpec as GpuSpec
    from hw_specs.spec import Link as Link

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "catalog": "get_gpu list_gpus",
        "detect": "DetectionReport detect_gpus",
        "errors": "BadFacts BadGpuString BadSnapshot M35Error MissingPackage NoGpuFound UnknownGpu",
        "gpu_set": "parse_gpus",
        "resolve": "resolve_gpus",
        "spec": "Fact GpuSet GpuSpec Link",
    },
)
