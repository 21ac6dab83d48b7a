"""Everything that the engine refuses of one command is said at once, with sizes that it takes."""

from __future__ import annotations

import pytest

from hw_specs import parse_gpus
from planner.review import review
from planner.review.findings import Finding

MODEL = "mistralai/Mistral-Medium-3.5-128B"


def stopping(more: str, gpus: str = "8xH200", version: str | None = "0.33.0") -> list[Finding]:
    answer = review(f"vllm serve {MODEL} {more}", gpus=parse_gpus(gpus), vllm_version=version)
    assert answer.servers[0].verdict == "does-not-fit"
    return [one for one in answer.findings if one.stops]


@pytest.mark.parametrize(
    ("more", "gpus", "cure"),
    [
        ("-tp 6", "4xH200", "--tensor-parallel-size 4"),
        ("-tp 8", "4xH200", "ask for 8 GPUs, or --tensor-parallel-size 4"),
        ("-tp 12", "6xH200", "--tensor-parallel-size 4"),
        ("-tp 8 -pp 2", "8xH200", "ask for 16 GPUs, or --tensor-parallel-size 4"),
        ("-tp 6 -dp 2", "8xH200", "--tensor-parallel-size 4"),
        ("-pp 8", "4xH200", "ask for 8 GPUs, or parallel sizes with a product of 4 at most"),
    ],
)
def test_the_cure_for_too_few_gpus_names_sizes_that_the_engine_takes(more: str, gpus: str, cure: str) -> None:
    (found,) = stopping(more, gpus)
    assert (found.code, found.cure) == ("too-few-gpus", cure)


REFUSED = {
    "tensor-parallel-size": "--tensor-parallel-size 6",
    "max-model-len": "--max-model-len 300000",
    "kv-cache-dtype": "--kv-cache-dtype fp4",
    "block-size": "--block-size 7",
    "max-num-batched-tokens": "--max-num-batched-tokens 100 --max-num-seqs 200",
}


@pytest.mark.parametrize("version", [None, "0.33.0"])
def test_one_refused_setting_hides_no_other(version: str | None) -> None:
    found = stopping(" ".join(REFUSED.values()), version=version)
    assert {one.at.value for one in found} == {f"--{name}" for name in REFUSED}
    assert len(found) == len(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_refused_alone_is_not_accused_beside_a_refused_one(name: str) -> None:
    (found,) = stopping(REFUSED[name] + " --gpu-memory-utilization 0.9 --enforce-eager")
    assert found.at.value == f"--{name}"


def test_too_few_gpus_hide_no_refused_setting() -> None:
    found = stopping("-tp 6 --max-model-len 300000", "4xH200")
    assert [(one.code, one.at.value) for one in found] == [("too-few-gpus", "-tp"), ("refused", "--max-model-len")]


@pytest.mark.parametrize("beside", ["-dcp 2", "--cpu-offload-gb 4", "--enable-sleep-mode"])
def test_a_flag_that_no_plan_counts_hides_no_impossible_size(beside: str) -> None:
    assert "-tp" in {one.at.value for one in stopping(f"-tp 6 {beside}")}
    line = f"vllm serve {MODEL} -tp 6 {beside} --hf-overrides '{{}}'"
    answer = review(line, gpus=parse_gpus("8xH200"))
    assert "-tp" not in {one.at.value for one in answer.findings if one.stops}, "it may have other heads then"


@pytest.mark.parametrize(
    ("more", "at", "field"),
    [
        ("--compilation-config.cudagraph_mode SOME", "--compilation-config.cudagraph_mode", "cudagraph_mode"),
        ('-cc \'{"cudagraph_mode": "SOME"}\'', "-cc", "cudagraph_mode"),
    ],
)
def test_a_key_of_a_setting_in_json_is_refused_where_it_stands(more: str, at: str, field: str) -> None:
    (found,) = stopping(more)
    assert found.at.value == at
    assert found.message.startswith(f"{field} must be "), "no name that the engine has not"
