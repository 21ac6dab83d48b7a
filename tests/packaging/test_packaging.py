"""What is installed: who owns it, what it says of itself, and what the source archive holds."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import planner
from planner.cli import COMMANDS, main
from planner.cli.commands.help import TOPICS
from planner.cli.exit_code import ExitCode

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def foreign(site: Path, name: str = "llm_d_planner") -> Path:
    """Another distribution that owns `planner`, as pip leaves it."""
    (site / "planner").mkdir(parents=True)
    (site / "planner" / "__init__.py").write_text("")
    (site / "planner" / "cli.py").write_text("def other():\n    pass\n")
    info = site / f"{name}-0.3.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 0.3.3\n")
    (info / "RECORD").write_text("planner/__init__.py,,\nplanner/cli.py,,\n")
    return site


@pytest.mark.parametrize("door", ["run", "run_tui"])
def test_another_owner_of_planner_is_named(door: str, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(foreign(tmp_path)), str(ROOT)])}
    code = f"import sys; sys.argv[1:] = ['--gpus', '8xH200']; import m35_plan; m35_plan.{door}()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: `llm-d-planner` brings a package `planner`")
    assert "pip install --force-reinstall --no-deps m35-plan" in done.stderr


def test_a_failure_of_our_own_keeps_its_traceback() -> None:
    code = "import m35_plan\nm35_plan._enter(lambda: __import__('no_such_module'))"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in done.stderr


def test_ctrl_c_while_the_program_is_still_loaded_says_nothing() -> None:
    """The door imports nothing before it can catch it."""
    code = (
        "import sys; before = set(sys.modules); import m35_plan\n"
        "print(sorted(set(sys.modules) - before))\n"
        "def door(): raise KeyboardInterrupt\n"
        "m35_plan._enter(door)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.INTERRUPTED, "")
    assert set(ast.literal_eval(done.stdout)) <= {"__future__", "gc", "m35_plan"}


def test_the_version_is_the_one_that_is_installed() -> None:
    assert planner.__version__ == version("m35-plan")


def test_the_changelog_dates_the_version() -> None:
    dated = re.findall(r"^## (\S+), (\d{4}-\d{2}-\d{2})$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert dated[0][0] == PROJECT["project"]["version"]


def test_the_source_archive_holds_what_the_tests_read() -> None:
    included = set(PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"ROOT / \"([\w.-]+)\"", path.read_text()):
            if (ROOT / name).exists() and name not in (".git", ".engine", ".venv"):
                assert name in included, f"{path.relative_to(ROOT)} reads {name}"


def test_help_explains_topics_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    listed = capsys.readouterr().out
    for topic in TOPICS:
        assert topic in listed
        assert main(["help", topic]) == 0
        text = capsys.readouterr().out
        assert text.strip()
        assert all(len(line) <= 80 for line in text.splitlines())
    for name in set(COMMANDS) - set(TOPICS):
        assert main(["help", name]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: m35-plan {name}")
    assert main(["help", "nonsense"]) == 2
    assert "exit-codes" in capsys.readouterr().err


def test_pins_are_within_what_is_declared() -> None:
    """What the tests run on is allowed by the declared versions; `scripts/versions` runs the others."""
    from packaging.requirements import Requirement

    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    pins = {name.lower().replace("_", "-"): pin for name, pin in pins.items()}
    extras = PROJECT["project"]["optional-dependencies"]
    declared = [
        *PROJECT["project"]["dependencies"],
        *(one for name, part in extras.items() if name != "vllm" for one in part),
    ]
    for text in declared:
        one = Requirement(text)
        if one.name != PROJECT["project"]["name"]:
            pin = pins.get(one.name.lower().replace("_", "-"))
            assert pin is not None, f"{one.name} has no pin"
            assert pin in one.specifier, f"{one.name} {pin} is not {one.specifier}"
