"""What a shell offers behind a half-typed command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from hw_specs import list_gpus, parse_gpus
from planner.cli import COMMANDS, app
from planner.rendering.emitters import EMITTERS


def offered(line: str) -> list[str]:
    """What bash is told for the last word of `line`."""
    done = CliRunner().invoke(
        app,
        prog_name="m35-plan",
        env={"_M35_PLAN_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)},
    )
    assert done.exit_code == 0, done.output
    return [item.removeprefix("plain,") for item in done.stdout.splitlines()]


def test_the_program_itself_completes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from planner.cli import run; run()"], capture_output=True, text=True, check=False,
        env=os.environ | {"_M35_PLAN_COMPLETE": "bash_complete", "COMP_WORDS": "m35-plan d", "COMP_CWORD": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["plain,detect", "plain,diff", "plain,diagnose"]


def test_an_empty_word_may_become_any_command() -> None:
    assert offered("m35-plan ") == list(COMMANDS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("m35-plan --g", ["--gpus", "--gpu-memory", "--gpu-memory-utilization"]),
        ("m35-plan --vers", ["--version"]),
        ("m35-plan --gpus 8xH200 --max-nu", ["--max-num-seqs", "--max-num-batched-tokens"]),
        ("m35-plan detect --js", ["--json"]),
        ("m35-plan --emit ku", ["kubernetes"]),
        ("m35-plan --emit=ku", ["kubernetes"]),
        ("m35-plan launch --target d", ["docker"]),
        ("m35-plan --compilation-config.cudagraph_mode FULL_", ["FULL_DECODE_ONLY", "FULL_AND_PIECEWISE"]),
        ("m35-plan --gpus 8xmi30", ["8xmi300A", "8xmi300X", "8xmi308X"]),
        ("m35-plan --gpus 2x8xB2", ["2x8xB200"]),
        ("m35-plan --gpus a8", ["a800-PCIe", "a800"]),
        ("m35-plan nonsense de", ["detect"]),
        ("m35-plan diagnose lat", ["latest", "file,lat"]),
        ("m35-plan verify --run l", ["latest"]),
    ],
)
def test_words_are_completed(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_every_gpu_and_every_emitter_is_offered() -> None:
    names = offered("m35-plan --gpus 1x")
    assert {parse_gpus(name, 2**37).spec for name in names} == set(list_gpus())
    assert offered("m35-plan --emit ") == [*EMITTERS, "json", "markdown", "html"]


def test_shipped_models_are_offered() -> None:
    assert "mistral-medium-3.5-128b" in offered("m35-plan --model mis")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    done = CliRunner().invoke(app, prog_name="m35-plan", env={"_M35_PLAN_COMPLETE": f"{shell}_source"})
    assert done.exit_code == 0
    assert f"_M35_PLAN_COMPLETE={shell}_complete" in done.stdout
