"""The commands around a run: its log, its report, its calibration, the list of runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hw_specs import parse_gpus
from planner.cli import main
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.serve import Endpoint, Run, StartOrder, launch, list_runs
from planner.serve.process.record import RunRecord
from planner.serve.process.runs import place_run
from tests.ports import own_port

from .conftest import Fake, order
from .logs import REAL, RECONSTRUCTED
from .said import started

pytestmark = pytest.mark.slow

V2 = str(RECONSTRUCTED / "v2-8xh200-0.33.0.log")


def test_a_log_can_be_diagnosed_from_a_file_or_a_pipe(m35, tmp_path: Path) -> None:
    log = REAL / "draft-longer-than-target.log"
    said = m35("diagnose", str(log))
    assert said.code == 5 and "  59  Value error, speculative_max_model_len=65536" in said.out
    with log.open("rb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "planner", "diagnose", "-", "--json"], stdin=pipe, capture_output=True, check=False
        )
    assert json.loads(done.stdout)["code"] == "draft-length"
    assert m35("diagnose", str(REAL / "text-only.log")).code == 0
    assert m35("diagnose", str(tmp_path / "none.log")).code == 2
    f3 = tmp_path / "f3.log"
    f3.write_text(
        "ValueError: To serve at least one request with the model's max seq len (262144), (88.0 GiB KV cache is needed,"
        " which is larger than the available KV cache memory (36.5 GiB). Based on the available memory, the estimated"
        " maximum model length is 108720. Try\n"
    )
    planned = m35("diagnose", str(f3), "--gpus", "1xMI300X", "--max-model-len", "262144")
    assert "booked as memory outside torch" in planned.out and "it fits then" in planned.out


def test_calibrate_and_plan_again(m35) -> None:
    assert "GPU" in m35("calibrate", V2).err
    assert m35("calibrate", V2, "--gpus", "8xH200", "--dry-run").out.count("would keep") == 1
    assert m35("calibrate", "--list").out == "nothing was measured on this machine yet\n"
    said = m35("calibrate", V2, "--gpus", "8xH200")
    assert said.code == 0 and "kept: " in said.out
    assert "h200-sxm" in m35("calibrate", "--list").out
    again = m35("--gpus", "8xH200")
    assert "measured here: activations, outside_torch, graphs" in again.err
    wrong = m35("calibrate", V2, "--gpus", "8xH200", "--max-num-seqs", "128")
    assert wrong.code == 2 and "max_num_seqs 1024, the plan says 128" in wrong.err
    assert m35("calibrate", str(REAL / "text-only.log"), "--gpus", "8xH200").code == 2


def test_a_verified_run_has_an_acceptance_report(m35, fake: Fake, tmp_path: Path) -> None:
    answer = make_plan(PlanRequest(gpus=parse_gpus("8xH200")))
    run = launch(order(fake.argv(log=Path(V2))), plan=answer)
    assert m35("attach", run.id).code == 0
    last = Path(V2).read_bytes().splitlines()[-1]
    deadline = time.monotonic() + 60
    while last not in run.read_log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for name, row in (("report.md", "| 2.10 | derived |"), ("report.html", '<td class="right">2.10</td>')):
        page = tmp_path / name
        assert m35("verify", "--run", run.id, "--only", "health", "--report", str(page)).code in (0, 6)
        text = page.read_text()
        assert row in text, re.findall(".*ctivations.*", text)
        assert run.id in text and "KV tokens 2,558,592, predicted" in text and "health" in text
    assert m35("verify", "--run", run.id, "--report", "report.pdf").code == 2
    assert "--run" in m35("verify", "--report", "report.md").err
    for place in ("/dev/null/report.md", str(tmp_path / "none" / "report.html")):
        said = m35("verify", "--run", run.id, "--report", place)
        assert said.code == 2 and not said.out and f"no file can be written at `{place}`" in said.err


def test_one_bad_record_does_not_break_every_plan(m35, state: Path) -> None:
    m35("calibrate", V2, "--gpus", "8xH200")
    path = state / "calibration.jsonl"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"terms": {"graphs": "x"}}) + "\n" + path.read_text())
    said = m35("--gpus", "8xH200")
    assert said.code == 0 and "left out: graphs is `x`, no size in bytes" in said.err
    assert "measured here: activations, outside_torch, graphs" in said.err
    assert "left out" in m35("calibrate", "--list").err


def test_what_has_no_plan_or_no_log_says_so(m35, fake: Fake, tmp_path: Path) -> None:
    m35("launch", *started(fake))
    run = list_runs()[0]
    said = m35("calibrate", run.id)
    assert said.code == 2 and f"run `{run.id}` was started without a plan" in said.err
    said = m35("verify", "--run", run.id, "--restart", "--report", str(tmp_path / "page.md"))
    assert said.code == 2 and not said.out and "nothing was predicted of it" in said.err
    assert run.status().alive, "it is refused before anything is stopped"
    (tmp_path / "logs").mkdir()
    assert "holds no run" in m35("diagnose", str(tmp_path / "logs")).err
    (tmp_path / "logs" / "server.log").touch()
    assert "logs/server.log`" in m35("diagnose", str(tmp_path / "logs")).err


def test_check_is_a_program_s_answer_too(m35) -> None:
    said = m35("check", "--gpus", "8xH200", "--vllm", "/nowhere/vllm", "--json")
    document = said.json()
    assert said.code == 5 and document["ok"] is False
    assert {"name", "status", "seen", "hint", "duration_s"} == set(document["checks"][0])
    assert m35("check", "--gpus", "8xH200", "--only", "api_key").code == 0
    assert m35("check", "--gpus", "8xH200", "--only", "mistral_common", "--strict").code == 5
    assert m35("check", "--only", "nope", "--gpus", "8xH200").code == 2


def test_a_start_that_a_check_stops_tells_a_program_which(m35) -> None:
    said = m35("launch", "--gpus", "8xH200", "--vllm", "/nowhere/vllm", "--json")
    (line,) = said.out.splitlines()
    document = json.loads(line)
    assert said.code == 5 and document["kind"] == "check" and not document["ok"]
    assert "vllm" in {check["name"] for check in document["checks"] if check["status"] == "fail"}


def test_a_page_that_cannot_be_written_is_no_bug(m35) -> None:
    said = m35("accuracy", "--write", "/dev/null/x")
    assert said.code == 2 and "cannot write `/dev/null/x/accuracy.md`: not a directory" in said.err


def test_nothing_is_wider_than_a_terminal(m35, fake: Fake) -> None:
    m35("launch", *started(fake, "crash", log=REAL / "fp8-kernel-missing.log"))
    m35("calibrate", V2, "--gpus", "8xH200")
    texts = [
        m35("diagnose").out, m35("runs").out, m35("check", "--gpus", "8xH200").out, m35("calibrate", "--list").out,
        m35("calibrate", V2, "--gpus", "8xH200").out,
    ]  # fmt: skip
    wide = [line for text in texts for line in text.splitlines() if len(line) > 80 and "log: /" not in line]
    assert wide == []
    assert not [text for text in texts if "GB" in text.replace("GiB", "")]


def test_ctrl_c_while_the_server_is_stopped_says_how_to_end_it(
    m35, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(self: Run, **_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "stop", impatient)
        said = m35("launch", "--timeout", "capture=0.1", *started(fake, "never-ready"))
    [run] = list_runs()
    assert said.code == 130 and f"`m35-plan stop {run.id}`" in said.err
    assert m35("stop").code == 0 and fake.processes() == []


def test_the_list_of_runs_cuts_nothing_and_tells_ready_from_starting(
    m35, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = started(fake, "health-500")
    assert m35("launch", "--detach", *words).code == 0
    long_name = "a-model-with-a-rather-long-name-" * 4
    monkeypatch.setenv("VLLM_API_KEY", "k" * 16)
    far = Endpoint(host="fe80:1234:5678:9abc:def0:1234:5678:9abc", port=65535)
    near = Endpoint(host="127.0.0.1", port=own_port())
    mute = launch(
        StartOrder(argv=(sys.executable, "-c", "import time; time.sleep(60)", long_name), endpoint=near, target="cuda")
    )
    failed = launch(StartOrder(argv=("false", "serve", long_name), endpoint=far, target="cuda"))
    while failed.status().alive or mute.status().state == "preparing":
        time.sleep(0.02)
    listed = m35("runs").out
    assert len(listed.splitlines()) == 4 and long_name in listed and far.host in listed
    assert listed.count("  starting  ") == 2 and "  failed (1)  " in listed


def test_a_short_beginning_of_many_names_lists_a_few(m35, fake: Fake) -> None:
    for number in range(5):
        record = RunRecord(
            id=f"2026-{number}", created_at_s=1.0, target="local", endpoint=Endpoint(host="127.0.0.1", port=1),
            argv=("x",), launcher_pid=1, launcher_start_ticks=1,
        )  # fmt: skip
        place_run(record, {}, directory=None)
    said = m35("stop", "2026")
    assert said.code == 2 and "names 5 runs" in said.err and "and 2 more; `m35-plan runs` lists them" in said.err
    assert max(map(len, said.err.splitlines())) <= 120


def test_a_dry_run_names_flags_that_no_plan_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "--dry-run", "--gpus", "8xH200", "--", "--enable-sleep-mode"]) == 0
    said = capsys.readouterr()
    assert (
        "--enable-sleep-mode" in said.out
        and "warning: --enable-sleep-mode takes what the plan does not count" in said.err
    )
