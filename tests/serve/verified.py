"""A fake server, verified."""

from __future__ import annotations

from planner.serve.verification.smoke import Expectations, SmokeReport
from planner.serve.verification.verifier import verify

from .fakes.openai_server import LIMIT, MODEL, fake_server

PLANNED = Expectations(
    model=MODEL,
    vllm_version="0.33.0",
    max_model_len=LIMIT,
    max_num_seqs=64,
    images=True,
    num_speculative_tokens=3,
    spec_method="eagle",
    kv_cache_dtype="auto",
    block_size=16,
    num_gpu_blocks=1000,
)


def run(fault: str = "", expect: Expectations = PLANNED, **more: object) -> SmokeReport:
    with fake_server(fault) as server:
        return verify(server.url, expect, timeout_s=20.0, **more)  # type: ignore[arg-type]
