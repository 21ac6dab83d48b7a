from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import parse_gpus
from planner import InvalidRequest, PlanRequest, plan, serve_command
from planner.planning.choose import all_levers
from planner.planning.context_curve import context_curve
from planner.rendering.argv import read_command
from planner.rendering.emitters.shell import command_lines

MODEL = "mistralai/Mistral-Medium-3.5-128B"

REQUESTS = st.builds(
    PlanRequest,
    gpus=st.sampled_from(["1xMI300X", "8xH200", "4xH100", "8xMI355X", "2xB200", "8xL40S"]).map(parse_gpus),
    language_model_only=st.booleans(),
    enforce_eager=st.booleans(),
    kv_cache_dtype=st.sampled_from(["auto", "fp8"]),
    num_speculative_tokens=st.sampled_from([0, 3]),
    gpu_memory_utilization=st.none() | st.sampled_from([0.8, 0.95]),
    max_model_len=st.none() | st.sampled_from([4096, 65536]),
    max_num_seqs=st.none() | st.sampled_from([16, 256]),
    concurrency=st.none() | st.sampled_from([1, 4]),
    load_format=st.sampled_from(["mistral", "hf"]),
    kv_cache_memory_bytes=st.none() | st.just(8 * 2**30),
    vllm_version=st.sampled_from([None, "0.28.0"]),
    cudagraph_mode=st.sampled_from([None, "NONE", "FULL_DECODE_ONLY"]),
    cudagraph_capture_sizes=st.sampled_from([None, (1, 2, 8)]),
    async_scheduling=st.sampled_from([None, True, False]),
    api_server_count=st.sampled_from([None, 4]),
    enable_lora=st.just(True),
    max_loras=st.sampled_from([None, 2]),
    max_cpu_loras=st.sampled_from([None, 8]),
    lora_target_modules=st.sampled_from([None, ("o_proj", "qkv_proj")]),
    specialize_active_lora=st.booleans(),
) | st.builds(PlanRequest, gpus=st.just(parse_gpus("8xH200")), max_cudagraph_capture_size=st.sampled_from([8, 512]))


@given(REQUESTS)
def test_a_command_read_back_plans_the_same_settings(request: PlanRequest) -> None:
    before = plan(request)
    command = serve_command(before, port=8123)
    read = read_command(command.shell, plan=before)
    assert plan(read.request).settings == before.settings
    assert (read.argv, read.host, read.port) == (command.argv, "127.0.0.1", 8123)
    lines = read_command(command_lines(command.argv, command.env, width=60), plan=before)
    assert (lines.argv, dict(lines.env)) == (command.argv, command.env)


@pytest.fixture(scope="module")
def eight() -> PlanRequest:
    return PlanRequest(gpus=parse_gpus("8xH200"))


def test_spellings_of_the_engine(eight: PlanRequest) -> None:
    text = (
        f"A_B=1 vllm serve {MODEL} -tp=4 --max_model_len 64K --max-num-seqs=32 --no-enforce-eager "
        "--speculative-config.method eagle --speculative-config.num_speculative_tokens 3 --seed 7 "
        "--limit-mm-per-prompt '{\"image\": 2}' --gpu-memory-utilization .8 --port 9000"
    )
    read = read_command(text, plan=plan(eight))
    assert read.request.tensor_parallel_size == 4
    assert read.request.max_model_len == 65536
    assert read.request.num_speculative_tokens == 3
    assert read.request.limit_mm_per_prompt_image == 2
    assert read.request.replicas is None
    assert (read.port, read.env, read.unplanned) == (9000, (("A_B", "1"),), ("--seed", "7"))


def test_every_value_of_a_flag_that_takes_several_is_kept(eight: PlanRequest) -> None:
    text = f"vllm serve {MODEL} -tp 8 --served-model-name a b --seed 7"
    assert read_command(text, plan=plan(eight)).unplanned == ("--served-model-name", "a", "b", "--seed", "7")


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("-cc.cudagraph_mode=none", "cudagraph_mode", "NONE"),
        ("--compilation-config '{\"cudagraph_capture_sizes\": [1, 2]}'", "cudagraph_capture_sizes", (1, 2)),
        ("--cudagraph-capture-sizes 4 2 1", "cudagraph_capture_sizes", (4, 2, 1)),
        ("--no-async-scheduling", "async_scheduling", False),
        ("-asc 2", "api_server_count", 2),
        ("--max-loras 4", "max_loras", None),
        ("--enable-lora --max-loras 4", "max_loras", 4),
    ],
)
def test_graphs_and_adapters_in_the_engines_spellings(eight: PlanRequest, words: str, field: str, value: Any) -> None:
    asked = read_command(f"vllm serve {MODEL} {words}", plan=plan(eight)).request
    assert getattr(asked, field) == value


def test_a_key_of_the_compilation_that_no_plan_knows_is_refused(eight: PlanRequest) -> None:
    with pytest.raises(InvalidRequest, match="`mode` of --compilation-config"):
        read_command(f"vllm serve {MODEL} -cc '{{\"mode\": 0}}'", plan=plan(eight))


def test_what_is_left_out_is_what_the_engine_does(eight: PlanRequest) -> None:
    read = read_command(f"vllm serve {MODEL}", plan=plan(eight))
    assert (read.request.tensor_parallel_size, read.request.max_model_len) == (1, 262144)
    assert (read.request.max_num_seqs, read.request.max_num_batched_tokens) == (1024, 8192)
    assert not plan(read.request).feasible


@pytest.mark.parametrize(
    ("words", "field", "says"),
    [
        ("--cpu-offload-gb 4", "cpu_offload_gb", "does to memory"),
        ("--max-num-seq 4", "max_num_seq", "does to memory"),
        ("--api-key secret", "api_key", "everyone can read"),
        ("--max-model-len lots", "max_model_len", "cannot be `lots`"),
        ("--max-num-seqs", "max_num_seqs", "needs a value"),
        ("--load-format mistral --tokenizer-mode hf", "load_format", "contradict"),
        ("--speculative-config '{'", "speculative_config", "not JSON"),
        ("--speculative-config '[]'", "speculative_config", "object"),
        ("--speculative-config.method medusa", "speculative_config", "no draft of the method `medusa` is planned"),
        ("--speculative-config.method ngram", "num_speculative_tokens", "needs `num_speculative_tokens`"),
        ("--port 99999", "port", "between"),
        ("--enforce-eager=1", "enforce-eager", "takes no value"),
        ("another", "command", "follows no flag"),
        ("--max-num-seqs 0", "max_num_seqs", "positive"),
        ("'unclosed", "command", "cannot be read"),
    ],
)
def test_refusals_name_the_field_and_the_reason(eight: PlanRequest, words: str, field: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as error:
        read_command(f"vllm serve {MODEL} {words}", plan=plan(eight))
    assert error.value.field == field


def test_a_near_flag_is_named(eight: PlanRequest) -> None:
    with pytest.raises(InvalidRequest) as error:
        read_command(f"vllm serve {MODEL} --max-num-seq 4", plan=plan(eight))
    assert error.value.hint == "did you mean `--max-num-seqs`?"


@pytest.mark.parametrize("text", ["", "python -m vllm", "HF_TOKEN=abc vllm serve", "vllm serve other/model"])
def test_what_is_no_command_of_this_model_is_refused(eight: PlanRequest, text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_command(text, plan=plan(eight))


@pytest.mark.parametrize("gpus", ["1xMI300X", "2xH100", "8xH200"])
def test_every_lever_can_be_switched_on(gpus: str) -> None:
    request = PlanRequest(gpus=parse_gpus(gpus), num_speculative_tokens=3)
    levers = all_levers(request)
    assert {"fp8-kv", "no-draft"} <= {lever.name for lever in levers}
    for lever in levers:
        changed = lever.apply(request)
        assert changed != request
        assert plan(changed).feasible or not lever.fits


@given(st.sampled_from(["1xMI300X", "8xH200", "2xH100"]))
def test_more_sequences_never_get_more_context(gpus: str) -> None:
    answer = plan(PlanRequest(gpus=parse_gpus(gpus)))
    lengths = [point.max_model_len for point in context_curve(answer)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == answer.settings.max_model_len


@pytest.mark.parametrize("gpus", ["8xH200", "2xH100", "1xB200", "1xMI300X"])
def test_the_curve_and_the_size_of_the_cache_say_the_same(gpus: str) -> None:
    answer = plan(PlanRequest(gpus=parse_gpus(gpus)))
    kv = answer.kv_cache
    for point in context_curve(answer):
        safe_tokens = kv.available_low_bytes // kv.bytes_per_token_per_gpu
        room = min(safe_tokens // point.concurrency, answer.settings.max_model_len)
        assert room / 2 - 32 <= point.max_model_len <= room


def test_every_point_of_the_curve_fits() -> None:
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200")))
    for point in context_curve(answer):
        if point.max_model_len:
            asked = dataclasses.replace(
                answer.request,
                max_model_len=point.max_model_len,
                concurrency=point.concurrency,
                max_num_seqs=answer.settings.max_num_seqs,
            )
            assert plan(asked).verdict == "fits"


def test_a_bound_on_a_prompts_part_of_a_step_is_a_setting(eight: PlanRequest) -> None:
    made = plan(dataclasses.replace(eight, long_prefill_token_threshold=2048))
    again = read_command(serve_command(made).shell, plan=made).request
    assert again.long_prefill_token_threshold == made.settings.long_prefill_token_threshold == 2048
    assert "--long-prefill-token-threshold" not in serve_command(plan(eight)).argv
    with pytest.raises(InvalidRequest, match="beyond max_model_len"):
        plan(dataclasses.replace(eight, long_prefill_token_threshold=40_000, max_model_len=32_768))


@pytest.mark.parametrize(
    "asked",
    [
        {"long_prefill_token_threshold": 200_000, "max_model_len": 262_144},
        {"long_prefill_token_threshold": 200_000},
        {"speculative_max_model_len": 200_000, "num_speculative_tokens": 3},
    ],
    ids=["threshold", "threshold, length open", "draft"],
)
def test_what_the_engine_refuses_above_a_length_is_cut_with_it(asked: dict[str, int]) -> None:
    made = plan(PlanRequest(gpus=parse_gpus("4xH100"), concurrency=8, **asked))  # type: ignore[arg-type]
    levers = [plan(lever.apply(made.request)) for lever in made.levers]  # each is a request that is taken
    assert any(one.settings.max_model_len < 200_000 for one in (made, *levers))
    for one in (made, *levers):
        most = max(one.settings.long_prefill_token_threshold, one.settings.speculative_max_model_len or 0)
        assert most <= one.settings.max_model_len
