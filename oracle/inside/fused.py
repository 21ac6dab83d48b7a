"""How many bytes per token Inductor keeps alive in one compiled piece of the language model; nothing is pretended.

The piece is what stands between two attention layers: output projection, norm, gate and up, SwiGLU, down, norm, QKV.
Matrix products and the all-reduce are opaque operations that return BF16, as in vLLM. Inductor compiles it for the
CPU at an eighth of the width and it is run; the memory events of the profiler give the peak, which scales with width.
A Triton build may fuse otherwise: the result is derived, not exact.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

FP8 = torch.float8_e4m3fn
NARROWER = 8
TOKENS = 4096
BF16_BYTES = 2


@torch.library.custom_op("oracle::product", mutates_args=())
def product(x: torch.Tensor, width: int) -> torch.Tensor:
    """A matrix product: only its output matters."""
    return torch.zeros(x.shape[0], width, dtype=torch.bfloat16)


@product.register_fake
def _(x: torch.Tensor, width: int) -> torch.Tensor:
    return x.new_empty(x.shape[0], width, dtype=torch.bfloat16)


@torch.library.custom_op("oracle::reduce", mutates_args=())
def reduce(x: torch.Tensor) -> torch.Tensor:
    """An out-of-place all-reduce."""
    return x.clone()


@reduce.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def _quantised(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (x.float() * scale).clamp(-448, 448).to(FP8)


def _norm(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    total = x.float() + residual.float()
    scaled = total * torch.rsqrt(total.pow(2).mean(-1, keepdim=True) + 1e-5)
    return scaled.to(torch.bfloat16) * weight, total.to(torch.bfloat16)


def bytes_per_token(*, hidden: int, intermediate: int, kv_width: int, tensor_parallel_size: int) -> int:
    """Peak bytes per token of one piece, with the two inputs that its caller holds."""
    tp = tensor_parallel_size
    h, f, kv = hidden // NARROWER, intermediate // NARROWER // tp, kv_width // NARROWER

    def piece(attention: Any, residual: Any, first: Any, second: Any, scale: Any) -> Any:
        out = product(_quantised(attention, scale), h)
        x, residual = _norm(reduce(out) if tp > 1 else out, residual, first)
        gate_up = product(_quantised(x, scale), 2 * f)
        act = torch.nn.functional.silu(gate_up[:, :f]) * gate_up[:, f:]
        out = product(_quantised(act, scale), h)
        x, residual = _norm(reduce(out) if tp > 1 else out, residual, second)
        return product(_quantised(x, scale), (h + 2 * kv) // tp), residual

    torch._dynamo.reset()
    arguments = (
        torch.zeros(TOKENS, h // tp, dtype=torch.bfloat16),
        torch.zeros(TOKENS, h, dtype=torch.bfloat16),
        torch.ones(h, dtype=torch.bfloat16),
        torch.ones(h, dtype=torch.bfloat16),
        torch.tensor(1.0),
    )
    compiled = torch.compile(piece, dynamic=False)
    with torch.inference_mode():
        compiled(*arguments)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as watched:
            result = compiled(*arguments)
    del result
    held = (h // tp + h) * BF16_BYTES * TOKENS
    return round((held + _peak(watched)) / TOKENS) * NARROWER


def _peak(watched: Any) -> int:
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak


if __name__ == "__main__":
    sizes = json.loads(sys.argv[1])
    print(json.dumps({tp: bytes_per_token(**sizes, tensor_parallel_size=tp) for tp in (1, 2, 4, 8, 16)}))
