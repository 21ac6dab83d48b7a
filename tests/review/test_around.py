"""What carries the review into pipelines: the action's own steps, the hooks, the image's recipe."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
GOOD = "#!/bin/sh\nvllm serve mistralai/Mistral-Medium-3.5-128B -tp 8 --host 127.0.0.1\n"
BAD = "#!/bin/sh\nvllm serve mistralai/Mistral-Medium-3.5-128B -tp 8 --host 127.0.0.1 --swap-space 4\n"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    folder = tmp_path / "sample"
    (folder / "deploy").mkdir(parents=True)
    (folder / "serve-good.sh").write_text(GOOD)
    (folder / "deploy" / "serve bad.sh").write_text(BAD)
    (folder / "notes.yaml").write_text("a: 1\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    return folder


def action() -> dict[str, object]:
    document = yaml.safe_load((ROOT / "action.yml").read_text())
    assert isinstance(document, dict)
    return document


def run_step(folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run the action's second step as a runner would: inputs through env, bash -e."""
    document = action()
    step = document["runs"]["steps"][1]  # type: ignore[index]
    defaults = {name: str(one.get("default", "")) for name, one in document["inputs"].items()}  # type: ignore[union-attr]
    values = {**defaults, **{name.replace("_", "-"): value for name, value in inputs.items()}}
    env = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: values[found[1]], text)
        for name, text in step["env"].items()
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder, env={**os.environ, "PATH": PATH, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_action_annotates_and_fails_and_takes_no_text_for_code(sample: Path) -> None:
    done = run_step(sample, files="**/*.sh", gpus="8xH200")
    assert done.returncode == 3
    assert "::error file=deploy/serve bad.sh,line=2,col=" in done.stdout
    assert run_step(sample, files="serve-*.sh", gpus="8xH200").returncode == 0
    assert run_step(sample, files="none/*.sh").returncode == 2
    hostile = run_step(sample, files="serve-*.sh", gpus="8xH200; touch hacked")
    assert hostile.returncode == 2
    assert not (sample / "hacked").exists()


def test_the_action_writes_sarif_beside(sample: Path) -> None:
    import json

    done = run_step(sample, files="**/*.sh", gpus="8xH200", sarif="review.sarif")
    assert done.returncode == 3
    log = json.loads((sample / "review.sarif").read_text())
    assert {one["ruleId"] for one in log["runs"][0]["results"]} == {"flag-gone"}


def test_the_action_is_pinned_and_keeps_expressions_out_of_its_scripts() -> None:
    steps = action()["runs"]["steps"]  # type: ignore[index]
    assert all("${{" not in step["run"] for step in steps)
    for step in steps:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]) if "uses" in step else step["shell"] == "bash"
    assert "--constraint" in steps[0]["run"]


@pytest.mark.parametrize(("name", "code"), [("m35-plan-review", 3), ("m35-plan-review-fix", 0)])
def test_the_hooks_judge_a_sample_repository(sample: Path, name: str, code: int) -> None:
    hooks = {one["id"]: one for one in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    hook = hooks[name]
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=sample, capture_output=True, text=True, check=True).stdout
    files = [one for one in tracked.split("\0") if one and re.search(hook["files"], one)]
    assert files == ["deploy/serve bad.sh", "serve-good.sh"]
    # Hooks get no arguments but the files; without GPUs the gone flag is all that is sure.
    done = subprocess.run(
        [*shlex.split(hook["entry"]), *files],
        cwd=sample, env={**os.environ, "PATH": PATH}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert (sample / "deploy" / "serve bad.sh").read_text() == (BAD if code else GOOD)
    assert (sample / "serve-good.sh").read_text() == GOOD


def test_the_image_is_pinned_small_and_runs_as_nobody_special() -> None:
    recipe = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+)", recipe, re.MULTILINE)
    assert len(set(stages)) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-alpine\d+\.\d+", stages[0])
    final = recipe.rpartition("\nFROM ")[2]
    assert re.search(r"^USER \d{4,}$", final, re.MULTILINE)
    assert "pip install" not in final
    assert '\nENTRYPOINT ["m35-plan"]\n' in final
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", recipe, re.MULTILINE))
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {name for line in copied for name in line.split()} == kept
    assert all((ROOT / name).exists() for name in kept)


def test_the_images_recipe_builds_a_program_that_runs(tmp_path: Path) -> None:
    """Its own COPY lines into an empty folder, and its build there: what is not copied is missing, as in the image."""
    recipe = (ROOT / "Dockerfile").read_text()
    build = recipe.partition("\nFROM ")[2].partition("\nFROM ")[0] or recipe.rpartition("\nFROM ")[0]
    source = tmp_path / "src"
    source.mkdir()
    for *names, target in (line.split() for line in re.findall(r"^COPY (.+)$", build, re.MULTILINE)):
        for name in names:
            place = source / target / (Path(name).name if len(names) > 1 or target.endswith("/") else "")
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, place)
    assert re.search(r"pip install .* \.\s*(?:\\|$)", build, re.MULTILINE)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    installed = tmp_path / "installed"
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-build-isolation", "--no-index", "--target", installed, "."],
        cwd=source, check=True, timeout=240,
    )  # fmt: skip
    line = "vllm serve mistralai/Mistral-Medium-3.5-128B -tp 8 --host 127.0.0.1"
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import m35_plan; m35_plan.run()", "review", "--gpus", "8xH200", "--", line],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (installed / "planner" / "facts" / "vllm.toml.py").exists(), "the facts are compiled, as in a wheel"
