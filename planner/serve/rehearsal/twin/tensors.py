"""Numpy arrays to BF16 and FP8 E4M3 bytes and to a safetensors file; it knows nothing of models.

The file is written here because safetensors' numpy interface has no BF16 and no FP8, and its byte-level
function changed between releases. What was written is read back with the library before it counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DType = Literal["BF16", "F8_E4M3"]
E4M3_MAX = 448.0
"""Largest finite FP8 E4M3 number (Micikevicius et al. 2022, "FP8 formats for deep learning", table 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Encoded elements in row-major order."""

    dtype: DType
    shape: tuple[int, ...]
    data: bytes


def bf16(array: NDArray[np.float32]) -> Tensor:
    """Round `array` to BF16, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return Tensor(dtype="BF16", shape=array.shape, data=rounded.astype("<u2").tobytes())


def bf16_value(number: float) -> float:
    """Return `number` as BF16 holds it."""
    import numpy as np

    (raw,) = np.frombuffer(bf16(np.array([number], dtype=np.float32)).data, dtype="<u2").astype(np.uint32) << 16
    return float(np.array([raw], dtype=np.uint32).view(np.float32)[0])


def e4m3(array: NDArray[np.float32]) -> Tensor:
    """Round `array` to the nearest FP8 E4M3 number, beyond ±448 to ±448; ties go to the even pattern."""
    import numpy as np

    size = np.minimum(np.abs(array), np.float32(E4M3_MAX))
    bits = size.view(np.uint32)
    # Of 23 mantissa bits 3 stay; then the exponent's bias is 7 instead of 127.
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20) - (120 << 3)
    subnormal = np.rint(size * np.float32(2.0**9)).astype(np.uint32)
    pattern = np.where(size < 2.0**-6, subnormal, normal) | np.where(np.signbit(array), 0x80, 0)
    return Tensor(dtype="F8_E4M3", shape=array.shape, data=pattern.astype(np.uint8).tobytes())


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors` to `path`, then read the file's table back with the safetensors library.

    Raises:
        ValueError: when the library reads another dtype or shape than was written.
    """
    from safetensors import safe_open

    header: dict[str, object] = {}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    table = json.dumps(header, separators=(",", ":")).encode()
    table += b" " * (-len(table) % 8)
    with path.open("wb") as file:
        file.write(len(table).to_bytes(8, "little") + table)
        for tensor in tensors.values():
            file.write(tensor.data)
    with safe_open(str(path), framework="np") as read:
        for name, tensor in tensors.items():
            part = read.get_slice(name)
            if part.get_dtype() != tensor.dtype or tuple(part.get_shape()) != tensor.shape:
                raise ValueError(f"{path} was not written as intended at `{name}`")
