from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
from pathlib import Path

import pytest

from hw_specs import parse_gpus
from hw_specs.units import gib
from planner.calibrate import HEAD, calibration_of, calibrations, keep, read_calibrations
from planner.checkpoint.preset import load_preset
from planner.cli.acceptance import measured_lines
from planner.errors import LogNotUnderstood, PlannerError
from planner.planning.answer import Plan
from planner.planning.calibration import SHAPING, pick_calibration
from planner.planning.choose import make_plan
from planner.planning.question import Question
from planner.planning.request import PlanRequest, option_for
from planner.rendering.document import plan_document, to_json_value
from planner.serve.log.comparison import Predicted, compare, outside_torch_bytes
from planner.serve.log.measured import Measured, read_measured, with_metrics
from planner.serve.log.parser import parse_log
from planner.settings import Lora

from .logs import PUBLIC, REAL, RECONSTRUCTED, read

# The log was written before any start of this release was seen; what is outside torch there is less than it says.
V2 = (
    read(RECONSTRUCTED, "v2-8xh200-0.33.0.log")
    .replace(b"18.06 GiB for consumed", b"17.36 GiB for consumed")
    .replace(b"107.36", b"108.06")
)


def h200() -> Plan:
    return make_plan(PlanRequest(gpus=parse_gpus("8xH200"), vllm_version="0.33.0"))


@pytest.mark.parametrize("path", [*sorted(PUBLIC.glob("*.log")), *RECONSTRUCTED.glob("*.log")], ids=lambda p: p.stem)
def test_the_budget_closes_in_either_form(path: Path) -> None:
    """requested - consumed - (peak + estimate) is the available memory, to the rounding of four printed figures."""
    found = read_measured(parse_log(path.read_bytes()))
    assert found.requested_bytes and found.consumed_bytes and found.peak_with_estimate_bytes
    left = found.requested_bytes - found.consumed_bytes - found.peak_with_estimate_bytes
    assert left == pytest.approx(found.kv_available_bytes, abs=4 * found.tolerance_bytes)


def test_the_estimate_is_taken_out_of_the_peak() -> None:
    found = read_measured(parse_log(V2))
    assert found.peak_with_estimate_bytes == gib(3.2) and found.graph_estimate_bytes == gib(1.1)
    assert found.peak_activation_bytes == gib(3.2) - gib(1.1)
    assert found.graph_actual_bytes == gib(1.05)
    assert len(found.ranks) == 8 and found.shards == 27


def test_an_estimate_can_be_read_back_from_the_utilization_line() -> None:
    text = b"\n".join(line for line in V2.split(b"\n") if b"graph pool" not in line)
    found = read_measured(parse_log(text))
    assert found.estimate_source == "utilization line"
    assert found.graph_estimate_bytes == pytest.approx(gib(1.1), abs=gib(0.02))


def test_without_an_estimate_the_sum_stays_a_sum() -> None:
    found = read_measured(parse_log(read(PUBLIC, "llama-3.1-8b-a100-tp1-0.31.0.log")))
    assert found.peak_activation_bytes is None and found.peak_with_estimate_bytes == gib(1.44)


def test_the_length_served_is_the_one_the_cache_was_sized_for() -> None:
    assert read_measured(parse_log(V2)).max_model_len == 262144
    assert read_measured(parse_log(read(REAL, "fp8-eagle-vision.log"))).max_model_len == 8192


def test_metrics_give_the_exact_block_count() -> None:
    page = (
        '# HELP x\nvllm:cache_config_info{block_size="16",num_gpu_blocks="159912",kv_cache_size_tokens="2558592"} 1.0\n'
    )
    found = with_metrics(read_measured(parse_log(V2)), page)
    assert (found.num_gpu_blocks, found.kv_cache_tokens) == (159912, 2558592)
    assert with_metrics(found, "nothing of use") == found


def test_predicted_and_measured_stand_side_by_side() -> None:
    found = compare(Predicted.of(h200()), read_measured(parse_log(V2)))
    names = [item.name for item in found.differences]
    assert names == [
        "weights", "consumed", "outside_torch", "activations", "graphs", "graphs.actual", "kv_available", "tokens",
    ]  # fmt: skip
    assert found.wrong == () and "within" in found.summary


def test_a_plan_says_the_same_from_its_json() -> None:
    whole = h200()
    text = json.dumps(to_json_value(plan_document(whole)))
    assert Predicted.read(json.loads(text)) == Predicted.of(whole)
    newer = json.loads(text)
    newer["ledger"][0]["more"] = newer["kv_cache"]["more"] = 1
    assert Predicted.read(newer) == Predicted.of(whole)


def test_the_term_that_was_wrong_is_named() -> None:
    text = V2.replace(b"17.36 GiB for consumed", b"22.36 GiB for consumed").replace(b"108.06", b"103.06")
    found = compare(Predicted.of(h200()), read_measured(parse_log(text)))
    assert found.wrong == ("outside_torch",)
    off = next(item.difference for item in found.differences if item.name == "outside_torch")
    assert off > gib(4)
    assert f"memory outside torch was predicted wrong: {off / 2**30:.2f} GiB larger" in found.summary


def test_a_calibration_brings_the_prediction_to_the_measurement() -> None:
    first, measured = h200(), read_measured(parse_log(V2))
    keep(calibration_of(first, measured, run="run-1"))
    again = make_plan(dataclasses.replace(first.request, calibrations=calibrations()))
    assert again.kv_cache.available_bytes == pytest.approx(gib(108.06), abs=gib(0.02))
    basis = {line.name: line for line in again.ledger.lines}
    assert basis["graphs"].basis == "measured" and "measured here: run-1" in basis["graphs"].source
    other = make_plan(PlanRequest(gpus=parse_gpus("4xH200"), vllm_version="0.33.0", calibrations=calibrations()))
    assert "measured here" not in other.ledger.line("graphs").source


def test_a_log_of_another_start_is_refused(state: Path) -> None:
    measured = read_measured(parse_log(V2))
    for change, words in (
        ({"tensor_parallel_size": 4}, "tensor_parallel_size 8, the plan says 4"),
        ({"max_num_seqs": 128}, "max_num_seqs 1024, the plan says 128"),
        ({"enforce_eager": True}, "enforce_eager False"),
        ({"vllm_version": "0.32.0"}, "vllm_version 0.33.0"),
        ({"max_model_len": 65536}, "max_model_len 262144, the plan says 65536"),
        ({"num_speculative_tokens": 3}, "num_speculative_tokens 0, the plan says 3"),
        ({"kv_cache_dtype": "fp8"}, "kv_cache_dtype bfloat16, the plan says fp8"),
    ):
        other = make_plan(dataclasses.replace(h200().request, **change))  # type: ignore[arg-type]
        with pytest.raises(LogNotUnderstood, match=words) as refusal:
            calibration_of(other, measured, run="x")
        assert option_for(next(iter(change))) in str(refusal.value.hint), "the hint names an option that exists"
    with pytest.raises(PlannerError, match=r"139\.80 GiB"):
        calibration_of(
            make_plan(PlanRequest(gpus=parse_gpus("8xB200"), max_num_batched_tokens=8192)), measured, run="x"
        )
    with pytest.raises(LogNotUnderstood, match="none of the figures"):
        calibration_of(h200(), read_measured(parse_log(b"")), run="x")
    assert calibrations() == () and not (state / "calibration.jsonl").exists()


def start_of(path: Path, **changes: object) -> tuple[Plan, Measured]:
    """A plan for one H200 with the settings of the log at `path`, so that the model alone may differ."""
    measured = read_measured(parse_log(path.read_bytes()))
    names = ("vllm_version", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization")
    told = {name: getattr(measured, name) for name in names} | {
        "language_model_only": bool(measured.language_model_only),
        "enforce_eager": bool(measured.enforce_eager),
    }
    return make_plan(PlanRequest(gpus=parse_gpus("1xH200"), **told)), dataclasses.replace(measured, **changes)  # type: ignore[arg-type]


H200_LOGS = PUBLIC.parent / "0.26.0-h200"
H200_LAUNCHED = PUBLIC.parent / "0.26.0-h200-launched"


def test_a_log_of_another_model_is_refused() -> None:
    """The same settings on the same GPU, from engines that loaded a model of the same family with fewer layers."""
    for name in ("cut8-text-eager.log", "cut44-text-graphs.log"):
        with pytest.raises(LogNotUnderstood, match=r"GiB of weights per GPU, the plan expects 119\.50"):
            calibration_of(*start_of(H200_LOGS / name), run="x")
    whole, measured = start_of(H200_LOGS / "full-text-eager.log")
    assert calibration_of(whole, measured, run="x").terms["outside_torch"] > 0
    named = dataclasses.replace(measured, model="/hub/models--mistralai--Other-7B/snapshots/abc")
    with pytest.raises(LogNotUnderstood, match="the log is of the model `mistralai/Other-7B`"):
        calibration_of(whole, named, run="x")
    nameless = dataclasses.replace(measured, weights_bytes=None, rank_weights_bytes=None)
    with pytest.raises(LogNotUnderstood, match="neither which model"):
        calibration_of(whole, nameless, run="x")


def test_weights_that_were_measured_are_taken_off_and_contradictions_refused() -> None:
    whole, measured = h200(), read_measured(parse_log(V2))
    kept = calibration_of(whole, measured, run="x").terms["outside_torch"]
    assert measured.rank_weights_bytes is not None and measured.consumed_bytes is not None
    more = dataclasses.replace(measured, rank_weights_bytes=measured.rank_weights_bytes + gib(0.01))
    assert calibration_of(whole, more, run="x").terms["outside_torch"] == kept - gib(0.01)
    torn = dataclasses.replace(measured, consumed_bytes=measured.consumed_bytes - gib(4))
    with pytest.raises(LogNotUnderstood, match="cannot be of one start"):
        calibration_of(whole, torn, run="x")


def test_records_that_cannot_be_read_are_left_out(state: Path) -> None:
    keep(calibration_of(h200(), read_measured(parse_log(V2)), run="good"))
    path = state / "calibration.jsonl"
    text = path.read_text()
    other = text.replace(f'"schema_version":"{HEAD[1]}"', '"schema_version":"99.0"')
    path.write_text(other + "broken\n" + text + '{"schema":2}\n')
    assert [record.run for record in calibrations()] == ["good"]


def test_a_record_of_the_form_before_heads_is_read_as_a_start_without_adapters(state: Path) -> None:
    keep(calibration_of(h200(), read_measured(parse_log(V2)), run="now"))
    path = state / "calibration.jsonl"
    record = json.loads(path.read_text())
    assert {"kind": record.pop("kind"), "schema_version": record.pop("schema_version")} == dict(
        zip(("kind", "schema_version"), HEAD, strict=True)
    )
    for name in SHAPING:
        del record[name]
    for schema in (1, 2, 3):
        with path.open("a") as file:
            file.write(json.dumps({"schema": schema, **record, "run": f"form {schema}"}) + "\n")
    now, before = calibrations()
    assert before == dataclasses.replace(now, run="form 2") and before.lora is None


def test_a_start_with_adapters_speaks_for_plans_with_the_same_alone(state: Path) -> None:
    lora = Lora(max_loras=2, max_lora_rank=16, max_cpu_loras=2, lora_target_modules=("o_proj",))
    measured = calibration_of(h200(), read_measured(parse_log(V2)), run="x")
    keep(dataclasses.replace(measured, lora=lora, cudagraph_capture_sizes=(1, 2)))
    assert calibrations() == (dataclasses.replace(measured, lora=lora, cudagraph_capture_sizes=(1, 2)),)
    question = Question.of(dataclasses.replace(h200().request, calibrations=calibrations()))
    found = pick_calibration(question, h200().settings)
    assert found is not None and "graphs" not in found.terms


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"terms": {"graphs": "x"}}, "graphs is `x`"),
        ({"terms": {"graphs": -1}}, "graphs is `-1`"),
        ({"terms": {"outside_torch": 2**60}}, "GiB, h200-sxm has"),
        ({"terms": {"graphs": 1.5}}, "graphs is `1.5`"),
        ({"terms": [1]}, "terms is `\\[1\\]`"),
        ({"gpu": ["h200"]}, "gpu is"),
        ({"gpu": "gpu-of-dreams"}, "`gpu-of-dreams` is not known"),
        ({"max_num_seqs": True}, "max_num_seqs is `True`"),
        ({"tensor_parallel_size": None}, "tensor_parallel_size is `None`"),
    ],
)
def test_a_kept_record_that_cannot_be_true_is_left_out_and_named(
    state: Path, change: dict[str, object], words: str
) -> None:
    keep(calibration_of(h200(), read_measured(parse_log(V2)), run="good"))
    path = state / "calibration.jsonl"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | change) + "\n" + path.read_text())
    kept, faults = read_calibrations()
    assert [item.run for item in kept] == ["good"]
    assert len(faults) == 1 and re.search(words, faults[0])


def test_a_full_disk_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("planner.state.os.fsync", full)
    with pytest.raises(PlannerError, match="no space left on device"):
        keep(calibration_of(h200(), read_measured(parse_log(V2)), run="x"))


def test_a_peak_that_holds_a_compilation_is_not_kept() -> None:
    """The same configuration twice on one H200: the first start compiled, the second loaded what that left."""
    whole = make_plan(PlanRequest(gpus=parse_gpus("1xH200"), vllm_version="0.26.0", language_model_only=True))
    eight = dataclasses.replace(whole.model, layers=(dataclasses.replace(whole.model.layers[0], count=8),))
    cut = make_plan(dataclasses.replace(whole.request, model=eight, max_model_len=262144))
    first, later = (
        read_measured(parse_log((H200_LOGS / name).read_bytes()))
        for name in ("cut8-text-graphs.log", "cut8-text-graphs-again.log")
    )
    assert (first.compiled_anew, later.compiled_anew) == (True, False)
    assert sorted(calibration_of(cut, first, run="first").terms) == ["outside_torch"]
    kept = calibration_of(cut, later, run="later")
    assert sorted(kept.terms) == ["activations", "outside_torch"]
    after = [
        make_plan(dataclasses.replace(cut.request, calibrations=(record,))).kv_cache.available_bytes
        for record in (calibration_of(cut, first, run="first"), kept)
    ]
    assert after == pytest.approx([first.kv_available_bytes, later.kv_available_bytes], abs=gib(0.06))


def test_captured_graphs_are_held_against_their_forecast_where_no_estimate_is_subtracted() -> None:
    whole, measured = start_of(H200_LOGS / "full-text-graphs.log")
    found = next(item for item in compare(Predicted.of(whole), measured).differences if item.name == "graphs.actual")
    assert found.predicted > gib(2)
    assert not found.outside(measured.tolerance_bytes)


@pytest.mark.parametrize(("name", "layers"), [("full-size-rehearsal.log", 88), ("launch-four-layers.log", 4)])
def test_what_was_launched_on_a_gpu_is_within_the_bounds_of_its_plan(name: str, layers: int) -> None:
    """Both figures of the plan were made before the start; these logs are of its own launches."""
    whole, measured = start_of(H200_LAUNCHED / name)
    cut = dataclasses.replace(whole.model, layers=(dataclasses.replace(whole.model.layers[0], count=layers),))
    planned = make_plan(dataclasses.replace(whole.request, model=cut))
    found = compare(Predicted.of(planned), measured)
    names = {item.name for item in found.differences}
    assert {"weights", "outside_torch", "activations", "graphs.actual", "kv_available", "tokens"} <= names
    assert [item.name for item in found.differences if item.outside(2 * measured.tolerance_bytes)] == []
    assert found.wrong == ()


def test_the_remainders_of_the_vision_tower_are_taken_off_once() -> None:
    """They are in what loading reports; 72 to 82 MiB outside torch were read in bytes from such starts."""
    log = PUBLIC.parent / "0.33.0-h200-launched" / "launch-engine-killed.log"
    terms = {"weights.rounding": 48_120_368, "buffers": 790_249_984, "segments": 70_254_592}
    found = outside_torch_bytes(terms, read_measured(parse_log(log.read_bytes())))
    assert found == pytest.approx(74 * 2**20, abs=10 * 2**20)


@pytest.mark.parametrize("name", ["first", "later"])
def test_the_all_reduce_s_workspace_is_found_where_the_start_made_it(name: str) -> None:
    """Compiling makes it in the profile run; a later start makes it with its first graph, inside the estimate."""
    log = PUBLIC.parent / "0.33.0-h200-launched" / f"launch-tp2-{name}.log"
    measured = read_measured(parse_log(log.read_bytes()))
    whole = load_preset()
    model = dataclasses.replace(whole, layers=(dataclasses.replace(whole.layers[0], count=4),))
    request = PlanRequest(gpus=parse_gpus("2xH200"), model=model, max_model_len=32768, vllm_version="0.33.0")
    planned = make_plan(request)
    found = compare(Predicted.of(planned), measured)
    assert found.wrong == () and measured.kv_available_bytes == 124_092_342_600
    if name == "first":
        assert measured_lines(planned, found)["graphs"] == "1.29", "the line is the estimate; 0.48 were captured"
    kept = calibration_of(planned, dataclasses.replace(measured, model=planned.model.name), run="x").terms
    assert kept["graphs"] == pytest.approx(1_385_126_953, abs=2 * measured.tolerance_bytes)
    assert 0 < kept["outside_torch"] < 16 * 2**20
