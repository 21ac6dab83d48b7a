"""The engine's own method says which sizes it captures; a plan must say the same ones."""

from __future__ import annotations

import json
import os
import subprocess
from itertools import product
from pathlib import Path

import pytest

from planner.facts.release import resolve_release
from planner.memory.graph_sizes import step_sizes
from planner.serve.preflight.installed import InstalledEngine
from tests.engine.conftest import ENV, ROOT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
# Sequences, tokens of a step, tokens of a sequence, the largest size as it is named.
CASES = tuple(product((1, 3, 20, 100, 128, 300, 1024), (7, 300, 8192), (1, 2, 3, 4, 6, 17), (None, 1, 100, 512)))
CHILD = """
import json, sys
from types import SimpleNamespace as Some
from vllm.config.compilation import CUDAGraphMode
from vllm.config.vllm import VllmConfig

def sizes(sequences, tokens, wide, largest):
    draft = Some(num_speculative_tokens=wide - 1, uses_dynamic_speculative_decoding=lambda: False)
    compilation = Some(
        cudagraph_mode=CUDAGraphMode.FULL_AND_PIECEWISE, max_cudagraph_capture_size=largest,
        cudagraph_capture_sizes=None, post_init_cudagraph_sizes=lambda: None, pass_config=Some(enable_sp=False),
    )
    VllmConfig._set_cudagraph_sizes(Some(
        model_config=Some(enforce_eager=False), compilation_config=compilation, performance_mode="balanced",
        scheduler_config=Some(max_num_seqs=sequences, max_num_batched_tokens=tokens),
        parallel_config=Some(tensor_parallel_size=1), speculative_config=draft if wide > 1 else None,
        num_speculative_tokens=wide - 1, uniform_decode_query_len=wide,
    ))
    return compilation.cudagraph_capture_sizes

print("\\n" + json.dumps([sizes(*case) for case in json.load(sys.stdin)]))
"""


def test_a_plan_captures_the_sizes_that_the_engine_captures(engine: InstalledEngine) -> None:
    done = subprocess.run(
        [Path(engine.executable).with_name("python"), "-P", "-c", CHILD], input=json.dumps(CASES), capture_output=True,
        text=True, check=False, cwd=ROOT, env={**os.environ, **ENV, "VLLM_LOGGING_LEVEL": "ERROR"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    release = resolve_release(engine.version)
    for case, engine_sizes in zip(CASES, json.loads(done.stdout.splitlines()[-1]), strict=True):
        sequences, tokens, wide, largest = case
        planned = step_sizes(
            release, "9.0", max_num_seqs=sequences, max_num_batched_tokens=tokens, per_sequence=wide,
            cudagraph_capture_sizes=None, max_cudagraph_capture_size=largest,
        )  # fmt: skip
        assert planned == tuple(engine_sizes), case
