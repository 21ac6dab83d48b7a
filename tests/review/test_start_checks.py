"""What the engine refuses between its parser and the weights; ``tests/engine`` asks the engine itself the same."""

from __future__ import annotations

import pytest

from hw_specs import parse_gpus
from planner.facts.engine_flags import flags_of
from planner.facts.start_checks import start_checks
from planner.review import review
from planner.review.findings import Review
from tests.review.start_lines import LATER, LENGTH, REFUSED, TAKEN

MODEL = "mistralai/Mistral-Medium-3.5-128B"
LINE = f"vllm serve {MODEL} -tp 8 --max-model-len {LENGTH} "


def judged(more: str, gpus: str = "8xH200", version: str | None = "0.33.0") -> Review:
    return review(LINE + more, gpus=parse_gpus(gpus), vllm_version=version)


@pytest.mark.parametrize("more", REFUSED + LATER)
def test_what_the_engine_refuses_is_an_error(more: str) -> None:
    answer = judged(more)
    assert answer.servers[0].verdict == "does-not-fit"
    assert any(one.stops and one.severity == "error" for one in answer.findings)


@pytest.mark.parametrize("more", TAKEN)
def test_what_the_engine_takes_is_none(more: str) -> None:
    answer = judged(more)
    assert [one for one in answer.findings if one.severity == "error"] == []
    assert answer.servers[0].verdict in ("fits", "unknown")


@pytest.mark.parametrize("more", ["-tp 16", "-tp 8 -pp 2", "-tp 8 -dp 2"])
def test_ranks_beyond_a_node_must_be_told_of_the_other(more: str) -> None:
    (found,) = [one for one in judged(more, gpus="2x8xH200").findings if one.code != "flag-repeated"]
    assert found.code == "refused"
    assert "16 ranks" in found.message


@pytest.mark.parametrize(
    "told", ["--nnodes 2 --node-rank 0 --master-addr 10.0.0.1", "--distributed-executor-backend ray"]
)
def test_told_of_it_they_start(told: str) -> None:
    answer = judged(f"-pp 2 {told}", gpus="2x8xH200")
    assert not answer.findings
    assert answer.servers[0].verdict == "fits"


def test_an_engine_from_before_the_checks_is_not_accused_of_them() -> None:
    old = judged("--max-num-batched-tokens 2048 --no-enable-chunked-prefill", version="0.8.5")
    assert not any("chunked" in one.message for one in old.findings)


def test_a_name_that_went_or_came_is_judged_by_the_release() -> None:
    gone = "--load-format gguf"
    assert judged(gone, version="0.22.0").servers[0].verdict == "fits"
    assert judged(gone, version="0.33.0").servers[0].verdict == "does-not-fit"
    (found,) = [one for one in judged(gone, version=None).findings if "gguf" in one.message]
    assert (found.severity, found.stops) == ("warn", False)
    assert judged("--load-format ipc_cache", version="0.29.0").servers[0].verdict == "does-not-fit"
    assert judged("--load-format ipc_cache", version="0.30.0").servers[0].verdict == "fits"


def test_one_refusal_is_told_once() -> None:
    for more in ("--max-num-seqs 0", "--max-model-len 32Ki", "--max-num-batched-tokens 8 --max-num-seqs 9"):
        assert len([one for one in judged(more).findings if one.stops]) == 1


def test_the_sizes_that_are_valid_are_named() -> None:
    (found,) = [one for one in judged("-tp 3").findings if one.code == "refused"]
    assert found.cure == "--tensor-parallel-size 8; valid sizes: 1, 2, 4, 8"
    text = "vllm serve meta-llama/Llama-3.1-70B-Instruct -tp 3"
    (other,) = [one for one in review(text, gpus=parse_gpus("8xH100")).findings if one.code == "refused"]
    assert other.cure == "one of 1, 2, 4, 8, 16"


def test_every_flag_of_the_checks_is_one_of_the_engine() -> None:
    facts, known = start_checks(), flags_of(None)
    named = {
        *(flag for one in facts.ranges for flag in one.flags),
        *(flag for one in facts.needs for flag in (one.flag, *one.needs)),
        *(flag for pair in facts.excludes for flag in pair.flags),
        *(flag for order in facts.orders for flag in (order.low, order.high)),
        *(flag for twice in facts.twice for flag in (twice.flag, twice.object)),
        *facts.json.objects,
        *facts.json.lists,
        *facts.json.braced,
        *facts.keys,
        *(flag for flag in facts.values if flag != "method"),
    }
    assert [flag for flag in named if known.find(f"--{flag}") is None] == []


@pytest.mark.parametrize(
    ("gpus", "backend", "words"),
    [
        ("8xMI300X", "FLASHINFER", "needs FlashInfer, which ROCm does not have"),
        ("8xMI300X", "ROCM_AITER_FA", ""),
        ("8xH200", "FLASHINFER", ""),
        ("8xH200", "FLASHMLA", "is for multi-head latent attention"),
    ],
)
def test_an_attention_backend_is_one_that_gpu_and_model_can_use(gpus: str, backend: str, words: str) -> None:
    line = f"vllm serve mistralai/Mistral-Medium-3.5-128B --tensor-parallel-size 8 --attention-backend {backend}"
    found = [one.message for one in review(line, gpus=parse_gpus(gpus), vllm_version="0.33.0").findings]
    assert any(words in one for one in found) if words else found == []
