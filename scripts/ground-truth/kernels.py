"""Times the engine's FP8 matrix product on the model's own shapes, and a copy: how much of the peak is reached.

Random data, CUDA events, the median; inputs rotate through several copies so that the cache does not answer.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from vllm import _custom_ops as ops

SHAPES = {"qkv": (14336, 12288), "o": (12288, 12288), "gate_up": (57344, 12288), "down": (12288, 28672)}
"""(out, in) of one layer at tensor parallel 1; smaller slices follow from the head, row and column splits."""
ROWS = [1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
SPLITS = [1, 2, 4, 8]
QUEUE_CYCLES = 20_000_000
"""About 10 ms of GPU time, longer than launching all repeats takes."""


def sliced(name: str, split: int) -> tuple[int, int]:
    out, inner = SHAPES[name]
    return (out // split, inner) if name in {"qkv", "gate_up"} else (out, inner // split)


def median_ms(call: Callable[[int], object], repeats: int = 12) -> float:
    for index in range(3):
        call(index)
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    # Behind a full queue the clock sees the product; else, for small ones, how fast Python launches.
    torch.cuda._sleep(QUEUE_CYCLES)
    for index, (start, end) in enumerate(marks):
        start.record()
        call(index)
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in marks)


def copy_bytes_per_s(device: torch.device) -> float:
    source = torch.randn(2 << 30, dtype=torch.bfloat16, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 2 / median_ms(lambda _: target.copy_(source)) * 1e3


def main() -> None:
    torch.manual_seed(35)
    device = torch.device("cuda")
    one = torch.tensor([1e-3], device=device)
    rows = []
    copy = copy_bytes_per_s(device)
    for name in SHAPES:
        for split in SPLITS:
            out, inner = sliced(name, split)
            count = max(2, (256 << 20) // (out * inner) + 1)
            weights = [
                torch.randn(out, inner, device=device, dtype=torch.bfloat16).to(torch.float8_e4m3fn)
                for _ in range(count)
            ]
            for m in ROWS:
                x = torch.randn(m, inner, device=device, dtype=torch.bfloat16).to(torch.float8_e4m3fn)
                ms = median_ms(
                    lambda index, x=x, weights=weights: ops.cutlass_scaled_mm(
                        x, weights[index % len(weights)].t(), one, one, torch.bfloat16
                    )
                )
                rows.append({"name": name, "split": split, "m": m, "n": out, "k": inner, "ms": round(ms, 5)})
            del weights
    head = torch.randn(131072, 12288, device=device, dtype=torch.bfloat16)
    for m in ROWS[:8]:
        x = torch.randn(m, 12288, device=device, dtype=torch.bfloat16)
        ms = median_ms(lambda _, x=x: torch.nn.functional.linear(x, head))
        rows.append({"name": "lm_head_bf16", "split": 1, "m": m, "n": 131072, "k": 12288, "ms": round(ms, 5)})
    document = {"device": torch.cuda.get_device_name(), "copy_bytes_per_s": round(copy), "products": rows}
    Path(sys.argv[1]).write_text(json.dumps(document), encoding="utf-8")
    layer = {
        m: sum(row["ms"] for row in rows if row["split"] == 1 and row["m"] == m and row["name"] in SHAPES) for m in ROWS
    }
    print(f"copy {copy / 1e12:.2f} TB/s; one layer's products, ms by rows: {layer}")


if __name__ == "__main__":
    main()
