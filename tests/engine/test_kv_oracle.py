"""Our KV arithmetic against vLLM's own planning code: thousands of random vectors, exactly equal."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from planner.memory.kv_cache import KvGeometry

from .conftest import install_engine

pytestmark = pytest.mark.engine

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VECTORS = 3000
GIB = 2**30


def engine_python() -> Path:
    return install_engine() / "bin" / "python"


def vectors() -> list[dict[str, Any]]:
    chance = random.Random(20261123)
    found = []
    for _ in range(VECTORS):
        stages = chance.choice([1, 1, 1, 2, 3, 4])
        layers = [chance.randint(1, 90) for _ in range(stages)]
        kv_heads, head_dim = chance.choice([1, 2, 4, 8]), chance.choice([64, 96, 128, 192])
        block_size = chance.choice([16, 32, 64, 128])
        dtype = chance.choice(["bfloat16", "fp8"])
        length = chance.choice([-1, 1, 16, 17, 262144, chance.randint(1, 262144)])
        block = kv_heads * head_dim * 2 * block_size * (2 if dtype == "bfloat16" else 1)
        exact = [layers[0] * block * (-(-max(1, length) // block_size) + chance.choice([-1, 0, 1, 2]))] * stages
        free = [chance.choice([-1, 1, 1, 1, 1]) * chance.randint(0, 200 * GIB) for _ in layers]
        found.append(
            {
                "layers": layers,
                "kv_heads": kv_heads,
                "head_dim": head_dim,
                "dtype": dtype,
                "block_size": block_size,
                "available": chance.choice([free, exact]),
                "max_model_len": length,
            }
        )
    return found


def ours(vector: dict[str, Any]) -> dict[str, Any]:
    """The same question, answered by the planner."""
    width = 2 if vector["dtype"] == "bfloat16" else 1
    ranks = [
        (
            KvGeometry(
                bytes_per_token=layers * vector["kv_heads"] * vector["head_dim"] * 2 * width,
                block_size=vector["block_size"],
                null_block_reserved=True,
            ),
            available,
        )
        for layers, available in zip(vector["layers"], vector["available"], strict=True)
    ]
    length = vector["max_model_len"]
    if length == -1:
        length = min(pool.longest(available, 262144) for pool, available in ranks)
        if length <= 0:
            return {"error": "auto"}
    for pool, available in ranks:
        if not pool.starts(available, length):
            return {"error": "length", "longest": pool.longest(available, length)}
    blocks = min(pool.num_blocks(available) for pool, available in ranks)
    pool = ranks[0][0]
    return {
        "blocks": blocks,
        "tokens": pool.tokens(blocks, length),
        "concurrency": pool.concurrency(blocks, length),
        "max_model_len": length,
    }


def test_blocks_tokens_lengths_and_refusals_are_the_engines() -> None:
    questions = vectors()
    done = subprocess.run(
        [str(engine_python()), str(HERE / "kv_oracle.py")],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"},
    )
    lines = [line[7:] for line in done.stdout.splitlines() if line.startswith("ORACLE ")]
    assert len(lines) == VECTORS, done.stderr[-2000:]
    refused = 0
    for question, line in zip(questions, lines, strict=True):
        theirs, mine = json.loads(line), ours(question)
        if "error" in theirs:
            refused += 1
            assert "error" in mine, (question, theirs, mine)
            estimate = re.search(r"estimated maximum model length is (\d+)", theirs["error"])
            if estimate:
                assert mine["longest"] == int(estimate[1]), (question, theirs)
        else:
            assert mine == theirs, question
    assert VECTORS * 0.1 < refused < VECTORS * 0.9, "the vectors should try both sides"
