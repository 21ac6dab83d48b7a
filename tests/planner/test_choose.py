"""The planner's answers: what is publicly known, and what a user relies on."""

from __future__ import annotations

import dataclasses

import pytest

from hw_specs import parse_gpus
from planner import InvalidRequest, PlanRequest, UnknownVersion, plan
from planner.facts.release import newest_version

from .answers import answer


def test_one_mi300x_text_only_on_the_nightly_of_may() -> None:
    """131,072 starts and 262,144 does not, as the public recipe reports; graphs were not subtracted then."""
    at = {"language_model_only": True, "vllm_version": "0.22.0"}
    assert answer("1xMI300X", max_model_len=131072, **at).verdict == "fits"
    assert answer("1xMI300X", max_model_len=262144, **at).verdict == "does-not-fit"


def test_one_mi300x_on_0_33_needs_a_smaller_batch() -> None:
    defaults = {"max_num_seqs": 1024, "max_num_batched_tokens": 16384}
    asked = {"language_model_only": True, "max_model_len": 131072}
    assert answer("1xMI300X", **asked, **defaults).verdict != "fits", "the graph estimate is subtracted since 0.26"
    relaxed = answer("1xMI300X", **asked)
    assert relaxed.verdict in ("fits", "tight"), "holes of padded FP8 rows could cost up to 1.6 GiB"
    assert relaxed.settings.max_num_seqs < 1024
    assert relaxed.verdict == "fits" or any(lever.fits for lever in relaxed.levers)


@pytest.mark.parametrize("gpus", ["8xL4", "8xRTX-4090", "8xRTX-5090", "4xL40S", "2xH100", "1xH200"])
@pytest.mark.parametrize("asked", [{}, {"enforce_eager": True}, {"max_model_len": 65536}])
def test_an_open_share_starts_wherever_a_smaller_one_does(gpus: str, asked: dict[str, object]) -> None:
    """vLLM's own share asks some cards for more than is free at start; a lower one is chosen, not offered."""
    found = answer(gpus, **asked)
    if not found.feasible:
        for share in range(80, 92):
            lower = PlanRequest(gpus=found.gpus, gpu_memory_utilization=share / 100, **asked)  # type: ignore[arg-type]
            assert plan(lower, with_levers=False).verdict != "fits"
        assert not any(lever.change.get("gpu_memory_utilization", 1) < 0.92 for lever in found.levers)


def test_a_lowered_share_is_explained_and_a_given_one_is_kept() -> None:
    found = answer("8xRTX-5090")
    assert found.verdict == "fits"
    assert found.settings.gpu_memory_utilization < 0.92
    assert any("--gpu-memory-utilization" in reason for reason in found.reasons)
    assert answer("8xRTX-5090", gpu_memory_utilization=0.92).settings.gpu_memory_utilization == 0.92
    assert answer("8xH200").settings.gpu_memory_utilization == 0.92


def test_one_h100_does_not_load() -> None:
    found = answer("1xH100")
    assert found.verdict == "does-not-fit"
    assert found.shortfall_bytes > 45 * 2**30
    assert "weights" in found.reasons[0]


def test_what_is_chosen_fits_at_the_low_bound() -> None:
    for gpus in ("1xMI300X", "1xB200", "2xH100", "4xB200", "8xH200"):
        found = answer(gpus)
        assert found.verdict == "fits"
        assert found.kv_cache.largest_max_model_len_low >= found.settings.max_model_len


def test_text_only_is_an_option_never_a_silent_choice() -> None:
    found = answer("1xMI300X")
    assert not found.settings.language_model_only
    assert any(lever.name == "text-only" for lever in found.levers)


def test_a_short_length_that_nobody_asked_for_is_no_answer() -> None:
    found = answer("1xH200")
    assert found.verdict == "does-not-fit"
    assert found.settings.max_model_len == 8192
    assert answer("1xH200", max_model_len=1024, language_model_only=True).verdict == "fits"


def test_levers_keep_what_they_promise() -> None:
    found = answer("1xMI300X", max_model_len=131072, max_num_seqs=1024, max_num_batched_tokens=16384)
    assert found.levers
    flags: dict[str, dict[str, object]] = {
        "text-only": {"language_model_only": True},
        "fp8-kv": {"kv_cache_dtype": "fp8"},
        "enforce-eager": {"enforce_eager": True},
        "max-num-seqs": {"max_num_seqs": 128},
    }
    for lever in found.levers:
        if lever.name in flags:
            changed = plan(dataclasses.replace(found.request, **flags[lever.name]))  # type: ignore[arg-type]
            assert (changed.verdict == "fits") == lever.fits
            gain = changed.kv_cache.available_bytes - found.kv_cache.available_bytes
            assert gain == lever.gain_bytes


def test_concurrency_lowers_the_length_until_all_fit() -> None:
    one, ten = answer("1xMI300X"), answer("1xMI300X", concurrency=10)
    assert ten.settings.max_model_len < one.settings.max_model_len
    assert ten.kv_cache.max_concurrency >= 10


def test_the_card_draft_length_is_left_out_and_explained() -> None:
    found = answer("8xH200", num_speculative_tokens=3)
    assert found.settings.max_model_len == 262144
    assert "eagle-draft-length" in {warning.code for warning in found.warnings}
    cut = answer("8xH200", num_speculative_tokens=3, speculative_max_model_len=65536)
    assert cut.settings.max_model_len == 65536
    before = answer("8xH200", num_speculative_tokens=3, speculative_max_model_len=65536, vllm_version="0.32.0")
    assert before.settings.max_model_len == 262144


def test_tp16_saves_no_kv_over_tp8() -> None:
    eight = answer("2x8xH200", tensor_parallel_size=8)
    sixteen = answer("2x8xH200", tensor_parallel_size=16)
    assert eight.kv_cache.bytes_per_token_per_gpu == sixteen.kv_cache.bytes_per_token_per_gpu


def test_layouts_are_planned_and_illegal_ones_say_why() -> None:
    found = answer("8xH200")
    assert (found.settings.tensor_parallel_size, found.settings.replicas) == (8, 1)
    layouts = {
        (a.layout.tensor_parallel_size, a.layout.pipeline_parallel_size, a.layout.replicas) for a in found.alternatives
    }
    assert {(4, 1, 2), (2, 1, 4), (4, 2, 1)} <= layouts
    assert any(no.layout.tensor_parallel_size == 1 and "weights" in no.reason for no in found.rejected)
    three = answer("3xH200")
    assert three.settings.tensor_parallel_size == 2
    assert any(no.layout.tensor_parallel_size == 3 for no in three.rejected)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"tensor_parallel_size": 3}, "tensor_parallel_size"),
        ({"tensor_parallel_size": 16}, "tensor_parallel_size"),
        ({"max_model_len": 300_000}, "max_model_len"),
        ({"max_model_len": 0}, "max_model_len"),
        ({"gpu_memory_utilization": 1.2}, "gpu_memory_utilization"),
        ({"max_num_seqs": 512, "max_num_batched_tokens": 256}, "max_num_batched_tokens"),
        ({"kv_cache_dtype": "fp9"}, "kv_cache_dtype"),
        ({"kv_cache_dtype": "fp8_e5m2"}, "kv_cache_dtype"),
        ({"replicas": 9}, "replicas"),
        ({"pipeline_parallel_size": 89}, "pipeline_parallel_size"),
        ({"speculative_max_model_len": 100}, "speculative_max_model_len"),
        ({"num_speculative_tokens": 3, "max_model_len": 32768, "speculative_max_model_len": 65536},
         "speculative_max_model_len"),
    ],
)  # fmt: skip
def test_what_the_engine_refuses_is_refused_by_name(settings: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        answer("8xH200", **settings)
    assert caught.value.field == field


def test_versions() -> None:
    newer = answer("8xH200", vllm_version="0.99.1")
    assert (newer.vllm_version, newer.rules_version) == ("0.99.1", newest_version())
    assert "unknown-version" in {warning.code for warning in newer.warnings}
    for bad in ("0.11.0", "latest", ""):
        with pytest.raises(UnknownVersion):
            answer("8xH200", vllm_version=bad or "x")


def test_old_releases_differ_where_the_engine_did() -> None:
    assert answer("8xH200", vllm_version="0.19.1").settings.gpu_memory_utilization == 0.9
    old, new = (answer("8xB200", vllm_version=version) for version in ("0.27.0", "0.28.0"))
    assert (old.settings.max_num_batched_tokens, new.settings.max_num_batched_tokens) == (8192, 16384)
    assert answer("8xH200", vllm_version="0.20.0").ledger.line("weights.vision").bytes == 990_959_104
    assert answer("8xH200", vllm_version="0.19.1").ledger.line("weights.vision").bytes == 5_356_443_136
    assert answer("8xMI300X", vllm_version="0.25.1").ledger.line("graphs").bytes == 0
    assert answer("8xMI300X", vllm_version="0.29.0").ledger.line("graphs").bytes > 0
    for version in ("0.25.1", "0.28.0"):
        assert answer("8xH200", vllm_version=version).ledger.line("graphs").bytes == 0, (
            "runner V2 estimates nothing yet"
        )


def test_a100_runs_weight_only_with_a_warning() -> None:
    found = answer("8xA100")
    assert found.feasible
    assert found.settings.max_num_batched_tokens == 2048, "vLLM's default for this name"
    assert "fp8-weight-only" in {warning.code for warning in found.warnings}


@pytest.mark.parametrize(
    ("gpus", "settings"),
    [
        ("8xH200", {"concurrency": 1000}),
        ("1xMI300X", {"concurrency": 4, "max_model_len": 65536}),
        ("2xMI300X", {"concurrency": 4, "max_model_len": 262144}),
    ],
)
def test_too_many_sequences_are_named_with_the_number_that_fits(gpus: str, settings: dict[str, int]) -> None:
    found = answer(gpus, **settings)
    assert found.verdict == "does-not-fit"
    assert f"not {settings['concurrency']:,}" in found.reasons[0]
    lever = next(lever for lever in found.levers if lever.name == "concurrency")
    fitting = int(lever.flag.split()[1])
    length = settings.get("max_model_len", found.settings.max_model_len)
    batch = {
        "max_num_seqs": found.settings.max_num_seqs,
        "max_num_batched_tokens": found.settings.max_num_batched_tokens,
        "tensor_parallel_size": found.settings.tensor_parallel_size,
        "pipeline_parallel_size": found.settings.pipeline_parallel_size,
    }
    assert answer(gpus, concurrency=fitting, max_model_len=length, **batch).verdict == "fits"
    assert answer(gpus, concurrency=fitting + 1, max_model_len=length, **batch).verdict != "fits"


def test_a_cache_sized_beyond_the_gpu_is_cured_by_what_is_there() -> None:
    found = answer("8xH200", kv_cache_memory_bytes=200 * 2**30)
    assert found.shortfall_bytes > 80 * 2**30
    lever = next(lever for lever in found.levers if lever.name == "kv-cache-memory-bytes")
    assert answer("8xH200", kv_cache_memory_bytes=int(lever.flag.split()[1])).verdict == "fits"


def test_a_length_that_the_draft_limits_is_no_shortage() -> None:
    found = answer("1xMI300X", num_speculative_tokens=3, speculative_max_model_len=65536)
    assert (found.verdict, found.settings.max_model_len, found.levers) == ("fits", 65536, ())
    assert not any("worst" in reason for reason in found.reasons)


@pytest.mark.parametrize("vendor", ["nvidia", "amd"])
@pytest.mark.parametrize("table", ["outside_torch", "context"])
def test_every_size_of_server_has_a_row(table: str, vendor: str) -> None:
    from planner.memory.overheads import _sized_row

    for world in (1, 2, 3, 8, 16, 64, 128, 1408):
        for linked in (True, False):
            for version in ("0.19.0", "0.20.0", "0.33.0"):
                for architecture in ("8.0", "9.0", "10.0", "gfx942", "gfx950"):
                    size = _sized_row(
                        table, vendor=vendor, architecture=architecture, linked=linked, last_stage=linked,
                        version=version, world_size=world, tensor_parallel_size=min(world, 16),
                    )  # fmt: skip
                    assert 0 <= size.low_bytes <= size.bytes <= size.high_bytes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gpus", "8xH200"), ("gpu_memory_utilization", "0.9"), ("gpu_memory_utilization", True),
        ("limit_mm_per_prompt_image", "a"), ("load_format", "x"), ("vllm_version", 33), ("num_speculative_tokens", 1.5),
        ("language_model_only", "no"), ("block_size", 7), ("kv_cache_dtype", None),
    ],
)  # fmt: skip
def test_values_of_the_wrong_kind_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        PlanRequest(**({"gpus": parse_gpus("8xH200")} | {field: value}))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_kv_type_without_a_kernel_for_this_gpu_is_said() -> None:
    codes = {warning.code for warning in answer("8xA100", kv_cache_dtype="nvfp4").warnings}
    assert "kv-cache-dtype-unsupported" in codes
    assert "kv-cache-dtype-unsupported" not in {w.code for w in answer("8xB200", kv_cache_dtype="nvfp4").warnings}


@pytest.mark.parametrize(("version", "warned"), [("0.24.0", False), ("0.25.1", True), ("0.26.0", False)])
def test_a_release_that_dies_with_the_draft_is_named(version: str, warned: bool) -> None:
    found = plan(PlanRequest(gpus=parse_gpus("8xH200"), vllm_version=version, num_speculative_tokens=3))
    assert ("eagle-broken-release" in [warning.code for warning in found.warnings]) == warned


@pytest.mark.parametrize(("version", "rules"), [("0.25.0", "0.24.0"), ("0.27.1", "0.27.0"), ("0.19.0", "0.19.1")])
def test_a_release_that_nobody_read_says_whose_rules_it_gets(version: str, rules: str) -> None:
    found = plan(PlanRequest(gpus=parse_gpus("8xH200"), vllm_version=version))
    (message,) = [warning.message for warning in found.warnings if warning.code == "unread-version"]
    assert rules in message


def test_images_that_are_not_profiled_count_where_the_slack_is_small() -> None:
    """A step of the model card's 16,384 tokens encodes five images with a dense mask, beside the budget."""
    asked = PlanRequest(
        gpus=parse_gpus("8xH200"),
        vllm_version="0.26.0",
        max_num_batched_tokens=16384,
        max_model_len=262144,
        gpu_memory_utilization=0.9,
    )
    blind = plan(asked)
    assert blind.verdict == "tight"
    (message,) = [warning.message for warning in blind.warnings if warning.code == "slack"]
    assert "profiles no image" in message
    assert "gpu-memory-utilization" in [lever.name for lever in blind.levers]
    assert plan(dataclasses.replace(asked, language_model_only=True)).verdict == "fits"
    open_length = plan(dataclasses.replace(asked, max_model_len=None))
    assert open_length.verdict == "does-not-fit", "never tight by our own choice"
    assert "profiles no image" in open_length.reasons[0]
    small = plan(dataclasses.replace(asked, gpus=parse_gpus("8xH100"), gpu_memory_utilization=0.98))
    assert small.verdict == "does-not-fit"
    assert "profiles no image" in small.reasons[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"concurrency": 1_000_000}, "GiB over the budget"),
        ({"kv_cache_memory_bytes": 200 * 2**30}, "GiB too large"),
    ],
)
def test_a_reason_has_no_negative_size(settings: dict[str, object], said: str) -> None:
    found = answer("8xH200", **settings)
    assert said in found.reasons[0]
    assert "-" not in found.reasons[0].split(";")[0]
