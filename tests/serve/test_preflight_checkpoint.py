"""Preflight: whether the checkpoint that is planned lies in the cache, whole."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from planner.serve import run_preflight
from planner.serve.preflight.checkpoint import hub_cache, layout_state, snapshot_of

from .machine import MODEL, Machine, Start, one


def tensors(size: int = 64, *, cut: int = 0) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(size)
    return whole[: len(whole) - cut]


def index(*names: str) -> bytes:
    return json.dumps({"weight_map": {f"w{i}": name for i, name in enumerate(names)}}).encode()


NATIVE = {
    "params.json": b'{"dim": 12288}',
    "tekken.json": b'{"config": {}}',
    "consolidated.safetensors.index.json": index("consolidated-1.safetensors", "consolidated-2.safetensors"),
    "consolidated-1.safetensors": tensors(),
    "consolidated-2.safetensors": tensors(),
}


HF = {
    "config.json": b'{"text_config": {"rope_parameters": {"mscale_all_dim": 0.0}}}',
    "model.safetensors.index.json": index("model-1.safetensors"),
    "model-1.safetensors": tensors(),
}


def test_a_complete_layout_in_the_cache(machine: Machine) -> None:
    machine.cache(NATIVE)
    start = machine.start(checkpoint_bytes=128)
    result = one(start, "checkpoint")
    assert result.status == "pass" and "mistral layout complete: 2 files" in result.seen
    assert one(start, "disk").seen == "nothing to download"


def test_whole_files_of_a_smaller_model_are_not_the_planned_one(machine: Machine) -> None:
    machine.cache(NATIVE)
    result = one(machine.start(), "checkpoint")
    assert result.status == "fail" and "0.00 GiB, this model's 124.43" in result.seen
    assert "124.43 GiB to download" in one(machine.start(), "disk").seen


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"consolidated-00001-of-00003.safetensors": tensors()}, "2 missing or damaged: consolidated-00002-of-00003"),
        ({**NATIVE, "consolidated.safetensors.index.json": b'{"weight_map": {"a": "cons'}, "index.json"),
        ({**NATIVE, "consolidated.safetensors.index.json": b"{}"}, "index.json"),
        ({"consolidated-1.safetensors": tensors()}, "index.json"),
        ({**NATIVE, "params.json": b""}, "params.json"),
        ({**NATIVE, "tekken.json": b"not json"}, "tekken.json"),
        ({**NATIVE, "consolidated-1.safetensors": b"\x02" + bytes(7) + b"[]"}, "consolidated-1.safetensors"),
    ],
)
def test_what_only_looks_complete_is_not(machine: Machine, files: dict[str, bytes], words: str) -> None:
    configs = {name: data for name, data in NATIVE.items() if name in ("params.json", "tekken.json")}
    machine.cache({**configs, **files})
    result = one(machine.start(checkpoint_bytes=64), "checkpoint")
    assert result.status == "warn" and words in result.seen


def test_shards_that_number_themselves_need_no_index(machine: Machine) -> None:
    shards = {f"consolidated-{n:05d}-of-00003.safetensors": tensors() for n in (1, 2, 3)}
    machine.cache({"params.json": NATIVE["params.json"], "tekken.json": NATIVE["tekken.json"], **shards})
    assert "3 files" in one(machine.start(checkpoint_bytes=192), "checkpoint").seen


@pytest.mark.parametrize("reference", [None, "another-commit"])
def test_only_the_snapshot_that_the_reference_names_counts(machine: Machine, reference: str | None) -> None:
    snapshot = machine.cache(NATIVE)
    main = snapshot.parent.parent / "refs" / "main"
    main.unlink() if reference is None else main.write_text(reference)
    assert snapshot_of(MODEL, machine.env) is None
    start = machine.start(checkpoint_bytes=128)
    assert one(start, "checkpoint").status == "warn"
    assert "to download" in one(start, "disk").seen and "nothing" not in one(start, "disk").seen
    offline = Start(dataclasses.replace(start.order, env={**machine.env, "HF_HUB_OFFLINE": "1"}), start.plan)
    assert one(offline, "checkpoint").status == "fail"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"consolidated-2.safetensors": None}, "consolidated-2.safetensors"),
        ({"consolidated-2.safetensors": tensors(cut=1)}, "consolidated-2.safetensors"),
        ({"consolidated-2.safetensors": b"12"}, "consolidated-2.safetensors"),
        ({"tekken.json": None}, "tekken.json"),
    ],
)
def test_missing_and_cut_files_are_named(machine: Machine, change: dict[str, bytes | None], words: str) -> None:
    machine.cache({name: data for name, data in {**NATIVE, **change}.items() if data is not None})
    result = one(machine.start(), "checkpoint")
    assert result.status == "warn" and words in result.seen and "--include" in result.hint
    start = machine.start()
    offline = Start(dataclasses.replace(start.order, env={**machine.env, "HF_HUB_OFFLINE": "1"}), start.plan)
    assert one(offline, "checkpoint").status == "fail"


def test_the_other_layout_is_not_the_planned_one(machine: Machine) -> None:
    machine.cache(HF)
    result = one(machine.start(checkpoint_bytes=64), "checkpoint")
    assert result.status == "warn" and "only the hf layout is here" in result.seen
    assert one(machine.start(load_format="hf", checkpoint_bytes=64), "checkpoint").status == "pass"


def test_an_empty_cache_says_how_to_fetch_one_layout(machine: Machine) -> None:
    result = one(machine.start(), "checkpoint")
    assert result.status == "warn" and "--include 'consolidated*'" in result.hint
    assert "--exclude 'consolidated*'" in one(machine.start(load_format="hf"), "checkpoint").hint


def test_disk_room_is_for_one_layout_less_what_is_here(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 100 * 2**30

    monkeypatch.setattr("planner.serve.preflight.checkpoint.shutil.disk_usage", lambda place: Usage)
    result = one(machine.start(), "disk")
    assert result.status == "fail" and "124.43 GiB to download, 100.00 GiB free" in result.seen
    assert "248.86 GiB" in result.hint and "GB " not in result.seen + result.hint
    Usage.free = 300 * 2**30
    assert one(machine.start(), "disk").status == "pass"


def test_the_draft_is_looked_for_where_one_is_used(machine: Machine) -> None:
    start = machine.start()
    assert list(run_preflight(start.order, plan=start.plan, only=["draft"])) == []
    start = machine.start(num_speculative_tokens=3)
    assert one(start, "draft").status == "warn"
    draft = {name: data for name, data in NATIVE.items() if "index" not in name and "-" not in name}
    machine.cache({**draft, "consolidated.safetensors": tensors()}, name=f"{MODEL}-EAGLE")
    assert one(start, "draft").status == "pass"


def test_the_yarn_trap(machine: Machine) -> None:
    bad = b'{"text_config": {"rope_parameters": {"mscale_all_dim": 1.0}}}'
    start = machine.start()
    assert list(run_preflight(start.order, plan=start.plan, only=["configuration"])) == []
    machine.cache({**NATIVE, **HF, "config.json": bad})
    assert one(machine.start(), "configuration").status == "warn"
    assert one(machine.start(load_format="hf"), "configuration").status == "fail"
    machine.install("vllm", "0.29.0")
    assert one(machine.start(load_format="hf", version="0.29.0"), "configuration").status == "warn"
    machine.cache({**NATIVE, **HF})
    assert one(machine.start(load_format="hf"), "configuration").status == "pass"


def test_the_cache_is_where_the_hub_says(tmp_path: Path) -> None:
    assert hub_cache({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}) == Path("/a")
    assert hub_cache({"HF_HOME": "/b"}) == Path("/b/hub")
    assert hub_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")
    assert hub_cache({"HOME": "/home/u"}) == Path("/home/u/.cache/huggingface/hub")
    assert snapshot_of("a/b", {"HF_HOME": str(tmp_path)}) is None
    assert not layout_state(tmp_path, "mistral").complete
