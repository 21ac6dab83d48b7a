"""Times the engine's FP8 matrix product and its attention on the model's own shapes, and a copy of memory.

    python kernels.py OUT.json [--rows 16 24 32] [--splits 1]

How much of the peak is reached. Random data, CUDA events, the median; inputs rotate through several copies so that the
cache does not answer.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from vllm import _custom_ops as ops
from vllm.vllm_flash_attn import flash_attn_varlen_func

SHAPES = {"qkv": (14336, 12288), "o": (12288, 12288), "gate_up": (57344, 12288), "down": (12288, 28672)}
"""(out, in) of one layer at tensor parallel 1; smaller slices follow from the head, row and column splits."""
ROWS = [1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
SPLITS = [1, 2, 4, 8]
HEADS, KV_HEADS, HEAD_DIM, BLOCK = 96, 8, 128, 16
CONTEXT = 1088
"""Tokens that each sequence of a decode step looks back on."""
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


def attention_ms(sequences: int, device: torch.device) -> float:
    """One layer's decode attention over a paged BF16 cache."""
    blocks = -(-CONTEXT // BLOCK)
    cache = torch.randn(2, sequences * blocks, BLOCK, KV_HEADS, HEAD_DIM, device=device, dtype=torch.bfloat16)
    query = torch.randn(sequences, HEADS, HEAD_DIM, device=device, dtype=torch.bfloat16)
    table = torch.randperm(sequences * blocks, device=device, dtype=torch.int32).view(sequences, blocks)
    starts = torch.arange(sequences + 1, device=device, dtype=torch.int32)
    used = torch.full((sequences,), CONTEXT, device=device, dtype=torch.int32)
    return median_ms(
        lambda _: flash_attn_varlen_func(
            query, cache[0], cache[1], max_seqlen_q=1, cu_seqlens_q=starts, max_seqlen_k=CONTEXT, seqused_k=used,
            causal=True, block_table=table, fa_version=3,
        )
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--splits", type=int, nargs="+", default=SPLITS)
    args = parser.parse_args()
    torch.manual_seed(35)
    device = torch.device("cuda")
    one = torch.tensor([1e-3], device=device)
    rows = []
    copy = copy_bytes_per_s(device)
    for name in SHAPES:
        for split in args.splits:
            out, inner = sliced(name, split)
            count = max(2, (256 << 20) // (out * inner) + 1)
            weights = [
                torch.randn(out, inner, device=device, dtype=torch.bfloat16).to(torch.float8_e4m3fn)
                for _ in range(count)
            ]
            for m in args.rows:
                x = torch.randn(m, inner, device=device, dtype=torch.bfloat16).to(torch.float8_e4m3fn)
                ms = median_ms(
                    lambda index, x=x, weights=weights: ops.cutlass_scaled_mm(
                        x, weights[index % len(weights)].t(), one, one, torch.bfloat16
                    )
                )
                rows.append({"name": name, "split": split, "m": m, "n": out, "k": inner, "ms": round(ms, 5)})
            del weights
    head = torch.randn(131072, 12288, device=device, dtype=torch.bfloat16)
    for m in [one for one in args.rows if one <= 1024]:
        x = torch.randn(m, 12288, device=device, dtype=torch.bfloat16)
        ms = median_ms(lambda _, x=x: torch.nn.functional.linear(x, head))
        rows.append({"name": "lm_head_bf16", "split": 1, "m": m, "n": 131072, "k": 12288, "ms": round(ms, 5)})
    attention = [
        {"sequences": m, "context": CONTEXT, "ms": round(attention_ms(m, device), 5)} for m in args.rows if m <= 256
    ]
    document = {
        "device": torch.cuda.get_device_name(),
        "copy_bytes_per_s": round(copy),
        "products": rows,
        "attention": attention,
    }
    args.out.write_text(json.dumps(document), encoding="utf-8")
    layer = {
        m: sum(one["ms"] for one in rows if (one["split"], one["m"]) == (args.splits[0], m) and one["name"] in SHAPES)
        for m in args.rows
    }
    print(f"copy {copy / 1e12:.2f} TB/s; one layer's products, ms by rows: {layer}; attention: {attention}")


if __name__ == "__main__":
    main()
