"""Every emitted argv goes through the parser of the newest release itself, whose wheel runs on no machine of ours."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from oracle import environment
from planner.facts import load
from tests.emitters.argvs import SETS, emitted

from .test_slice import release, scratch  # noqa: F401

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
CHILD = """
import importlib, json, sys, torch
ops = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):  # torchvision's CUDA build cannot load beside a CPU-only torch
    ops.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
importlib.import_module("torchvision")
sys.path.insert(0, sys.argv[1])
import argv_child
question = json.load(sys.stdin)
answers = [argv_child.ask(argv, question["modules"]) for argv in question["argvs"]]
print("\\n" + json.dumps(answers))
"""


def test_the_newest_parser_takes_every_argv(release: environment.Release) -> None:  # noqa: F811
    seen: dict[tuple[str, ...], str] = {}
    for gpus, settings in SETS.items():
        for kind, args in emitted(gpus, {**settings, "vllm_version": release.version}):
            seen.setdefault(tuple(args), f"{kind}, {gpus}")
    wrong = ("some/model", "--no-such-flag", "1")
    question = {
        "argvs": [*map(list, seen), list(wrong)],
        "modules": load("preflight.toml")["parser_modules"]["modules"],
    }
    folder = Path(__file__).parents[2] / "planner" / "serve" / "preflight"
    done = subprocess.run(
        [release.python, "-P", "-c", CHILD, folder], input=json.dumps(question), capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(release.source), "VLLM_TARGET_DEVICE": "cpu"}, cwd=scratch(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    *answers, refused = json.loads(done.stdout.splitlines()[-1])
    assert refused["ok"] is False
    assert {where: one for where, one in zip(seen.values(), answers, strict=True) if one["ok"] is not True} == {}
