"""The commands as people and programs use them: ``gpus``, ``detect``, ``fleet`` and ``--gpus auto``.

``UPDATE_GOLDEN=1 pytest tests/hw_specs`` rewrites the golden files.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hw_specs import list_gpus
from hw_specs.detect.snapshot import _adapter, from_json
from planner.cli import main

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
SCENARIOS = sorted(path.stem for path in (HERE / "stubs/scenarios").glob("*.txt"))
NOTHING = {"amd-garbage", "empty"}
Machine = Callable[..., None]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_detect_table(machine: Machine, capsys: pytest.CaptureFixture[str], scenario: str) -> None:
    machine(scenario)
    code = main(["detect"])
    out, err = capsys.readouterr()
    assert code == (4 if scenario in NOTHING or scenario == "no-memory" else 0)
    text = out + (f"--- stderr\n{err}" if err else "")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    path = GOLDEN / f"detect-{scenario}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("scenario", ["mixed", "mig", "8xmi300x", "empty"])
def test_detect_json_is_one_document_and_reads_back(
    machine: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path, scenario: str
) -> None:
    machine(scenario)
    code = main(["detect", "--json"])
    out, _ = capsys.readouterr()
    document = json.loads(out)
    assert (document["plan_for"] is None) == (code == 4)
    report = from_json(out)
    if code == 0:
        assert document["plan_for"]["gpus"] == str(report.gpu_set)
        (tmp_path / "host.json").write_text(out)
        assert main(["detect", str(tmp_path / "host.json")]) == 0
        assert "(snapshot)" in capsys.readouterr().out


def test_detect_ids(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine("mig")
    assert main(["detect", "--ids"]) == 0
    out = capsys.readouterr().out
    assert "0.2  00000000:18:00.0  0x2335  MIG-6b000001-1111-4222-8333-000000000001" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_plan_without_gpus_is_for_this_machine(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine("mixed")
    assert main(["--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["gpus"]["name"], document["gpus"]["count"]) == ("H100", 2)
    assert document["gpus"]["total_bytes"] == (81559 - 480) * 2**20
    assert document["command"]["env"]["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert "note: planning for 2xH100 of this machine" in err
    assert "left out: GPU 0, 1" in err


def test_a_plan_from_a_snapshot_equals_the_plan_on_the_machine(
    machine: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    machine("8xh200")
    main(["detect", "--json"])
    (tmp_path / "host.json").write_text(capsys.readouterr().out)
    main(["--gpus", "auto"])
    there = capsys.readouterr().out
    machine(None)
    assert main(["--gpus", f"@{tmp_path / 'host.json'}"]) == 0
    assert capsys.readouterr().out == there


def test_a_busy_gpu_is_said_with_what_would_pass(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine("8xh200-busy")
    assert main([]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("fits") and "1 held by others" in out
    assert "left out: python3 (pid 4242) holds 40.00 GiB on GPU 3" in out
    assert "--gpu-memory-utilization 0.69" in out
    assert main(["--tensor-parallel-size", "8"]) == 3
    out, err = capsys.readouterr()
    assert out.startswith("does not fit")
    assert "python3 (pid 4242) holds 40.00 GiB on GPU 3" in err
    assert "--gpu-memory-utilization 0." in err
    assert main(["--gpu-memory-utilization", "0.69"]) == 0


def test_slow_links_are_said(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine("4xh100-nvl")
    main([])
    assert "no direct link" in capsys.readouterr().err


def test_no_gpu_ends_with_4(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(None)
    for argv in ([], ["--gpus", "auto"], ["detect"], ["detect", "--json"]):
        assert main(argv) == 4
        _, err = capsys.readouterr()
        assert argv == ["detect", "--json"] or "no GPU found on this machine" in err
        assert "Traceback" not in err


def test_a_hanging_driver_is_given_up(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(text="gpu name=NVIDIA H200; device=0x2335\nfail call=nvmlInitWithFlags; how=hang\n")
    assert main(["detect", "--timeout", "1"]) == 4
    assert "did not answer within 1 s during `nvmlInit`" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["missing.json", ".", "bad.json"])
def test_what_is_no_snapshot_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{}")
    assert main(["--gpus", f"@{name}"]) == 2
    assert "hint:" in capsys.readouterr().err


@pytest.fixture
def fleet(machine: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> list[str]:
    """Snapshots of several machines, one of them broken."""
    paths = []
    for scenario in ("8xh200", "1xmi300x", "mixed", "mig", "empty"):
        machine(scenario)
        main(["detect", "--json"])
        document = json.loads(capsys.readouterr().out) | {"hostname": f"host-with-a-rather-long-name-{scenario}"}
        paths.append(tmp_path / f"{scenario}.json")
        paths[-1].write_text(json.dumps(document))
    machine(None)
    return [str(path) for path in paths]


def test_fleet_gives_one_row_per_host(fleet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", *fleet]) == 3
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 1 + len(fleet)
    assert all(f"host-with-a-rather-long-name-{Path(path).stem}" in out for path in fleet)
    assert "fits" in lines[1] and "TP8" in lines[1]
    assert "does-not-fit" in lines[4]
    assert "no plan" in lines[5]
    assert "no GPU" in err


def test_fleet_as_json_and_its_exit_codes(fleet: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["fleet", "--json", "--language-model-only", *fleet[:3]]) == 0
    hosts = json.loads(capsys.readouterr().out)["hosts"]
    assert [host["feasible"] for host in hosts] == [True] * 3
    assert all(host["plan"]["settings"]["language_model_only"] for host in hosts)
    (tmp_path / "bad.json").write_text("nonsense")
    assert main(["fleet", "--json", fleet[0], str(tmp_path / "bad.json")]) == 2
    assert json.loads(capsys.readouterr().out)["hosts"][1]["problem"]
    assert main(["fleet"]) == 2


def test_fleet_with_a_setting_that_only_some_hosts_allow(fleet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "--tensor-parallel-size", "8", *fleet[:3]]) == 3
    out, err = capsys.readouterr()
    assert "fits" in out.splitlines()[1]
    assert "tensor_parallel_size 8 is larger" in err or "tensor-parallel-size 8 is larger" in err


def test_gpus_lists_every_entry_within_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus"]) == 0
    out = capsys.readouterr().out
    assert all(any(line.startswith(spec.name) for line in out.splitlines()) for spec in list_gpus())
    for spec in list_gpus():
        assert main(["gpus", spec.name]) == 0
        out += capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert main(["gpus", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["gpus"]) == len(list_gpus())
    assert main(["gpus", "H2000"]) == 2


def test_the_reference_page_is_current() -> None:
    root = HERE.parents[1]
    spec = importlib.util.spec_from_file_location("gpu_reference", root / "scripts/gpu_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (root / "docs/reference/gpus.md").read_text(encoding="utf-8")
    assert page == module.render(), "run `python scripts/gpu_reference.py`"
    index = (root / "hw_specs/data/names.toml").read_text(encoding="utf-8")
    assert index == module.render_index(), "run `python scripts/gpu_reference.py`"


def test_the_guide_shows_what_the_command_prints() -> None:
    guide = (HERE.parents[1] / "docs/how-to/plan-for-this-machine.md").read_text(encoding="utf-8")
    table = (GOLDEN / "detect-mixed.txt").read_text(encoding="utf-8").replace("test-host", "node-7")
    assert table.rstrip() in guide


def test_the_code_of_the_guide_runs(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    guide = (HERE.parents[1] / "docs/how-to/plan-for-this-machine.md").read_text(encoding="utf-8")
    code = guide.partition("```python\n")[2].partition("```")[0]
    for scenario, expected in (("8xh200", "fits"), ("empty", "→")):
        machine(scenario)
        exec(compile(code, "guide", "exec"), {})
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--json"], ["SNAPSHOT"]])
def test_a_python_without_pydantic_is_told_what_to_install(
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
) -> None:
    machine("8xmi300x")
    host = tmp_path / "host.json"
    assert main(["detect", "--json"]) == 0
    host.write_text(capsys.readouterr().out)
    _adapter.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "pydantic"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert main(["detect", *(str(host) if one == "SNAPSHOT" else one for one in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: the package `pydantic` is not installed")
    assert "hint: `pip install m35-plan`" in err
    assert "Traceback" not in err
