"""The command line as its users meet it: exit codes, streams, bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import json_schema
from planner.checkpoint import load_preset
from planner.cli import COMMANDS, main


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "planner", *argv], capture_output=True, text=True, timeout=60, check=False
    )


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(list(argv))
    seen = capsys.readouterr()
    return code, seen.out, seen.err


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--gpus", "8xH200"], 0),
        (["plan", "--gpus", "8xH200"], 0),
        (["--gpus", "1xH100"], 3),
        (["--gpus", "9000xH200"], 2),
        (["--gpus", "H2000"], 2),
        (["--gpus", "8xH200", "--max-model-len", "plenty"], 2),
        (["--gpus", "8xH200", "--tensor-parallel-size", "3"], 2),
        (["--nonsense"], 2),
        (["plam"], 2),
        (["--version"], 0),
        (["--help"], 0),
        (["plan", "--help"], 0),
    ],
)
def test_exit_codes(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, *argv)[0] == code


def test_a_tight_plan_passes_unless_strict(capsys: pytest.CaptureFixture[str]) -> None:
    batch = ["--gpus", "1xMI300X", "--max-num-seqs", "128", "--max-num-batched-tokens", "8192"]
    kv = json.loads(call(capsys, *batch, "--json")[1])["kv_cache"]
    between = (kv["largest_max_model_len"] + kv["largest_max_model_len_low"]) // 2
    argv = [*batch, "--max-model-len", str(between), "--json"]
    code, out, err = call(capsys, *argv)
    assert (code, json.loads(out)["verdict"], json.loads(out)["feasible"]) == (0, "tight", True)
    assert "warning: tight" in err
    assert call(capsys, *argv, "--strict")[0] == 3


def test_errors_go_to_stderr_with_a_hint_and_leave_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "--gpus", "8xH20O")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "\nhint: " in err
    assert "`H200`" in err


def test_library_errors_speak_flags_here(capsys: pytest.CaptureFixture[str]) -> None:
    err = call(capsys, "--gpus", "8xH200", "--max-model-len", "300000")[2]
    assert "--max-model-len" in err
    assert "max_model_len" not in err


@pytest.mark.parametrize("gpus", ["8xH200", "1xH100", "1xMI300X"])
def test_json_is_one_document_that_obeys_its_schema(gpus: str) -> None:
    done = run("--gpus", gpus, "--json")
    document = json.loads(done.stdout)
    jsonschema.validate(document, json_schema())
    assert document["feasible"] == (done.returncode == 0)
    assert sum(line["bytes"] for line in document["ledger"]) == document["gpus"]["total_bytes"]
    assert {
        "weights.text",
        "weights.vision",
        "weights.draft",
        "buffers",
        "activations",
        "graphs",
        "kv_cache",
        "free",
    } <= {line["name"] for line in document["ledger"]}


def test_the_same_bytes_on_a_terminal_apart_from_colour() -> None:
    import os
    import pty
    import re

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "planner", "--gpus", "8xH200"], stdout=follower, stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"},
    )  # fmt: skip
    os.close(follower)
    seen = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    process.wait(timeout=30)
    os.close(leader)
    text = seen.decode().replace("\r\n", "\n")
    assert "\x1b[" in text
    assert re.sub(r"\x1b\[[0-9;]*m", "", text) == run("--gpus", "8xH200").stdout


@pytest.mark.parametrize(("text", "tokens"), [("131072", 131072), ("128k", 128000), ("128K", 131072)])
def test_lengths_as_vllm_writes_them(text: str, tokens: int, capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, "--gpus", "8xH200", "--max-model-len", text, "--json")[1]
    assert json.loads(out)["settings"]["max_model_len"] == tokens


@pytest.mark.parametrize("text", ["auto", "-1"])
def test_auto_length_is_ours_to_choose(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, "--gpus", "8xH200", "--max-model-len", text, "--json")[1]
    assert json.loads(out)["settings"]["max_model_len"] == 262144


def test_underscores_as_vllm_allows(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--gpus", "8xH200", "--max_model_len", "4096", "--kv_cache_dtype", "fp8")[0] == 0


def test_eagle_takes_the_cards_number_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    draft = load_preset().draft
    assert draft is not None
    for argv, tokens in ((["--eagle"], draft.card_num_speculative_tokens), (["--eagle", "2"], 2)):
        out = call(capsys, "--gpus", "8xH200", *argv, "--json")[1]
        assert json.loads(out)["settings"]["num_speculative_tokens"] == tokens


def test_a_draft_in_vllms_words_is_the_same_plan(capsys: pytest.CaptureFixture[str]) -> None:
    draft = '{"method": "eagle", "num_speculative_tokens": 2, "max_model_len": 65536}'
    ours = call(capsys, "--gpus", "4xH200", "--eagle", "2", "--speculative-max-model-len", "65536")
    assert call(capsys, "--gpus", "4xH200", "--speculative-config", draft) == ours
    assert call(capsys, "--gpus", "4xH200", "--speculative-config", draft, "--eagle", "3")[0] == 2


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        ('{"method": "eagle3", "model": "a/b", "num_speculative_tokens": 3}', "no draft checkpoint `a/b` here"),
        ('{"method": "medusa", "num_speculative_tokens": 3}', "no draft of the method `medusa` is planned"),
        ('{"method": "mtp", "num_speculative_tokens": 1}', "has no MTP layers"),
        ('{"method": "ngram", "num_speculative_tokens": true}', "cannot be `True`"),
        ('{"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}', "would leave it out"),
        ('{"method": "eagle"}', "needs `num_speculative_tokens`"),
        ("{", "not JSON"),
        ("[1]", "JSON object"),
    ],
)
def test_a_draft_that_is_not_planned_is_named(draft: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "--gpus", "4xH200", "--speculative-config", draft)
    assert (code, out) == (2, "") and said in err


@pytest.mark.parametrize("flag", ["--mm-ipc-gpu-memory-gb", "--max-num-partial-prefills", "--max_num_partial_prefills"])
def test_a_flag_of_the_engine_that_no_plan_counts_is_named(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "--gpus", "4xH200", flag, "2")
    assert code == 2 and "`vllm serve` has it" in err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["-tp", "6", "-dcp", "2"], "`vllm serve` has it, and no plan counts what it brings"),
        (["-dp", "2"], "it is `--replicas` here"),
        (["-sc", "{}"], "it is `--speculative-config` here"),
        (["-q", "fp8"], "`vllm serve` has it, and no plan counts what it brings"),
        (["-x"], "`m35-plan plan --help` lists the options"),
    ],
)
def test_an_unknown_short_option_is_named_as_typed(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "--gpus", "8xH200", *words)
    assert (code, out) == (2, "")
    assert f"no such option '{next(word for word in words if word not in ('-tp', '6'))}'" in err
    assert hint in err


def test_a_closed_pipe_is_no_error() -> None:
    script = f"{sys.executable} -m planner --gpus 8xH200 --json | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {script}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argv", ["--gpus 8xH200", "--gpus 1xH100 --json", "gpus --json", "plan --help", "--version"])
def test_a_reader_that_reads_nothing_is_no_error(argv: str) -> None:
    script = f"{sys.executable} -m planner {argv} 2>&3 | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", f"exec 3>&2; {script}"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0"
    assert "error" not in done.stderr.lower()
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("argv", ["--gpus 8xH200", "gpus --json", "plan --help"])
@pytest.mark.parametrize(("stdout", "reason"), [(">/dev/full", "no space left on device"), (">&-", "stdout is closed")])
def test_output_that_cannot_be_written_is_one_error_line(argv: str, stdout: str, reason: str) -> None:
    script = f"{sys.executable} -m planner {argv} {stdout}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("warning:", "note:"))]
    assert errors == [f"error: cannot write the output: {reason}"]


@pytest.mark.parametrize(
    "words",
    [
        ["--vllm-version", ""], ["--gpu-memory", ""], ["--gpu-memory", " "], ["--model", ""], ["--kv-cache-dtype", ""],
        ["--gpus", ""], ["--host", ""], ["--host", "-x"], ["--host", "a\nb"], ["--max-model-len", "٣"],
        ["--max-model-len", "٣k"],
    ],
)  # fmt: skip
def test_what_an_unset_shell_variable_leaves_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("plan", "launch", "check"):
        gpus = [] if words[0] == "--gpus" else ["--gpus", "8xH200"]
        code, out, err = call(capsys, command, *gpus, *words)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert "\nhint: " in err
        assert len(err.splitlines()) == 3


@pytest.mark.parametrize("words", [["-tp4"], ["-tp=4"], ["-tp", "4"], ["--tensor-parallel-size=4"], ["-tp2", "-pp2"]])
def test_a_short_option_may_hold_its_value(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _err = call(capsys, "--gpus", "8xH200", *words, "--json")
    settings = json.loads(out)["settings"]
    assert code == 0
    assert settings["tensor_parallel_size"] * settings["pipeline_parallel_size"] == 4


def test_words_behind_the_dashes_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, "launch", "--gpus", "8xH200", "--dry-run", "--", "-tp4")[1]
    assert "-tp4" in out.split()


def test_help_names_what_sweeps_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert "pip install numpy" in " ".join(call(capsys, "sweep", "--help")[1].split())


OPTIONS = [
    "--gpus", "--gpu-memory", "--tensor-parallel-size", "-tp", "-pp", "--replicas", "--max-model-len", "--concurrency",
    "--max-num-seqs", "--max-num-batched-tokens", "--gpu-memory-utilization", "--kv-cache-memory-bytes",
    "--kv-cache-dtype", "--block-size", "--language-model-only", "--enforce-eager", "--eagle", "--vllm-version",
    "--emit", "--json", "--explain", "--strict", "--load-format", "--mm-encoder-tp-mode", "--port", "--host",
]  # fmt: skip
VALUES = [
    "8xH200",
    "1xMI300X",
    "0",
    "-1",
    "1e9",
    "128K",
    "auto",
    "fp8",
    "0.5",
    "nan",
    "inf",
    "",
    "x",
    "💥",
    "--",
    "json",
]


@given(st.lists(st.sampled_from(OPTIONS) | st.sampled_from(VALUES) | st.text(max_size=8), max_size=8))
def test_fuzzed_arguments_end_in_words_not_in_a_traceback(argv: list[str]) -> None:
    argv = ["plan", "--gpus", "8xH200", *[a for a in argv if a not in ("--help", "-h")]]
    assert main(argv) in (0, 2, 3)


@given(st.sampled_from(sorted(COMMANDS)))
def test_every_command_says_what_it_does(name: str) -> None:
    assert main([name, "--help"]) == 0


def test_an_error_names_the_option_that_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "plan", "--gpus", "8xH200", "--limit-mm-per-prompt.image=-1")
    assert code == 2
    assert err.startswith("error: --limit-mm-per-prompt.image must be")
    code, _, err = call(capsys, "sweep", "--gpus", "8xH200", "--spec-tokens=x")
    assert (code, err.splitlines()[0]) == (2, "error: cannot read `x` in --spec-tokens")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "--plan", "{file}"], "`{file}` is not a plan"),
        (["verify", "--plan", "{file}"], "`{file}` is not a plan"),
        (["diff", "{file}", "8xH200"], "`{file}` is not a plan"), (["review"], "there is no file and no command"),
        (["sweep", "--gpus", "8xH200", "--plot", "x.y"], "cannot plot to `x.y`"), (["sweep"], "--gpus must be given"),
        (["--gpus", "8xH200", "--emit", "docker", "--output", "{file}/x"], "cannot write into --output `{file}/x`"),
    ],
)  # fmt: skip
def test_a_word_that_is_also_an_option_is_written_as_it_is_meant(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.json"
    file.write_text("{}")
    assert main([word.format(file=file) for word in words]) == 2
    assert f"error: {said.format(file=file)}" in capsys.readouterr().err


ROOT = Path(__file__).parents[2]
CASES = [
    ("plan", ["plan", "--gpus", "8xH200"]), ("gpus", ["gpus"]), ("gpu", ["gpus", "H200"]), ("runs", ["runs"]),
    ("calibrations", ["calibrate", "--list"]), ("sweep", ["sweep", "--gpus", "8xH200"]), ("stop", ["stop", "--all"]),
    ("start", ["launch", "--gpus", "8xH200", "--target", "docker", "--dry-run"]), ("accuracy", ["accuracy"]),
    ("detection", ["detect", str(ROOT / "tests/hw_specs/snapshots/h200-idle.json")]),
    ("plan-diff", ["diff", "--gpus", "8xH200", "0.28.0", "0.33.0"]), ("spec", ["spec"]),
    ("fleet", ["fleet", str(ROOT / "tests/hw_specs/snapshots/h200-idle.json")]),
    ("fleet-load", ["fleet", str(ROOT / "tests/hw_specs/snapshots/h200-idle.json"), "--request-rate", "0.1"]),
    ("review", ["review", "--format", "json", str(ROOT / "examples/compose.yaml")]),
]  # fmt: skip
NEED_A_SERVER = {"attach", "bench", "check", "diagnose", "rehearse", "verify", "watch"}
"""Their documents are held against their schemas in ``tests/serve``."""


@pytest.mark.parametrize(("kind", "words"), CASES)
def test_every_document_says_what_it_is(
    kind: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    code, out, _ = call(capsys, *words, *(["--json"] if words[0] not in ("spec", "review") else []))
    document = json.loads(out)
    assert code in (0, 3) and document["kind"] == kind
    spec = json.loads(call(capsys, "spec")[1])
    assert list(document)[:2] == ["kind", "schema_version"]
    assert document["schema_version"] == spec["kinds"][kind]["schema_version"]
    if kind != "spec":
        jsonschema.validate(document, spec["schemas"][kind])


@pytest.mark.parametrize("words", [["diff", "--gpus", "8xH200", "0.28.0", "0.33.0"], ["gpus", "H200"]])
def test_a_document_needs_no_other_command_in_its_process(words: list[str]) -> None:
    """What heads a document must be known wherever it is made."""
    done = subprocess.run(
        [sys.executable, "-m", "planner", *words, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["kind"] in ("plan-diff", "gpu")


def test_every_command_that_prints_json_stands_in_the_specification(capsys: pytest.CaptureFixture[str]) -> None:
    """A new command with `--json` needs a case above, or among those of servers."""
    spec = json.loads(call(capsys, "spec")[1])
    print_json = {
        name
        for name, one in spec["commands"].items()
        if any("--json" in option["flags"] for option in one["parameters"])
    }
    assert print_json - {words[0] for _, words in CASES} == NEED_A_SERVER
    assert set(spec["kinds"]) - {"spec"} == set(spec["schemas"])


def test_what_a_lever_types_is_never_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, page, _ = call(capsys, "--gpus", "8xL4", "--max-model-len", "131072")
    _, text, _ = call(capsys, "--gpus", "8xL4", "--max-model-len", "131072", "--json")
    flag = json.loads(text)["levers"][1]["flag"]
    assert len(flag) > 40
    assert flag in " ".join(page.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["8xH200"], "`m35-plan --gpus 8xH200`"),
        (["lunch"], "`launch`"),
        (["help", "fits"], "`fits` is neither a topic nor a command"),
    ],
)
def test_a_first_word_that_is_not_a_command(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "no --" not in err


def test_requests_of_a_question_have_separators(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1,000,000 x 8,192 tokens" in call(capsys, "--gpus", "8xH200", "--concurrency", "1000000")[1]
