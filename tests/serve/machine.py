"""A machine for the preflight: an engine, a cache and a parser as files."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import NamedTuple

from hw_specs import parse_gpus
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.rendering.command import serve_command
from planner.serve import CheckResult, StartOrder, run_preflight
from tests.ports import own_port

MODEL = "mistralai/Mistral-Medium-3.5-128B"


PARSER = """
import argparse
class FlexibleArgumentParser(argparse.ArgumentParser):
    def parse_args(self, args=None):
        return super().parse_args([a.split("=")[0].replace("_", "-") if a.startswith("--") else a for a in args])
"""


CLI_ARGS = """
def make_arg_parser(parser):
    parser.add_argument("model")
    for name in ("host", "port", "tensor-parallel-size", "max-model-len", "max-num-seqs", "max-num-batched-tokens",
                 "gpu-memory-utilization", "tokenizer-mode", "config-format", "load-format", "tool-call-parser",
                 "reasoning-parser"):
        parser.add_argument("--" + name)
    for name in ("enable-auto-tool-choice", "enable-mm-embeds"):
        parser.add_argument("--" + name, action="store_true")
    print("INFO an import may talk")
    return parser
def validate_parsed_serve_args(args):
    if args.enable_auto_tool_choice and not args.tool_call_parser:
        raise TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser")
"""


class Start(NamedTuple):
    order: StartOrder
    plan: Plan | None = None


class Machine:
    """A folder that plays the engine's environment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.site = root / "site"
        self.program = root / "bin" / "vllm"
        self.program.parent.mkdir(parents=True)
        self.program.write_text(f"#!{sys.executable}\nraise SystemExit('never run')\n")
        self.program.chmod(0o755)
        self.env = {"PYTHONPATH": str(self.site), "HF_HOME": str(root / "hf"), "HF_HUB_OFFLINE": ""}

    def install(self, name: str, version: str) -> None:
        for old in self.site.glob(f"{name}-*.dist-info"):
            (old / "METADATA").unlink()
            old.rmdir()
        folder = self.site / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def add_parser(self, room: str = "common", text: str = CLI_ARGS) -> None:
        for folder in ("vllm", "vllm/entrypoints", f"vllm/entrypoints/{room}", "vllm/utils"):
            (self.site / folder).mkdir(parents=True, exist_ok=True)
            (self.site / folder / "__init__.py").touch()
        (self.site / "vllm" / "utils" / "argparse_utils.py").write_text(PARSER)
        (self.site / "vllm" / "entrypoints" / room / "cli_args.py").write_text(text)

    def start(
        self, *extra: str, gpus: str = "8xH200", version: str = "0.33.0", target: str = "local",
        checkpoint_bytes: int | None = None, **settings: object,
    ) -> Start:  # fmt: skip
        """A start of the plan; `checkpoint_bytes` makes the planned checkpoint as small as the cached one."""
        answer = make_plan(PlanRequest(gpus=parse_gpus(gpus), vllm_version=version, **settings))  # type: ignore[arg-type]
        if checkpoint_bytes is not None:
            answer = dataclasses.replace(
                answer, model=dataclasses.replace(answer.model, checkpoint_bytes=checkpoint_bytes)
            )
        argv = (str(self.program), *serve_command(answer).argv[1:], *extra)
        order = StartOrder.of_command(argv, env=self.env, port=own_port())
        return Start(dataclasses.replace(order, target=target), answer)

    def cache(self, files: dict[str, bytes], *, name: str = MODEL) -> Path:
        home = self.root / "hf" / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = home / "snapshots" / "abc"
        snapshot.mkdir(parents=True, exist_ok=True)
        (home / "blobs").mkdir(exist_ok=True)
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / "main").write_text("abc")
        for number, (file, data) in enumerate(files.items()):
            blob = home / "blobs" / f"b{number}"
            blob.write_bytes(data)
            (snapshot / file).unlink(missing_ok=True)
            (snapshot / file).symlink_to(blob)
        return snapshot


def one(start: Start, name: str) -> CheckResult:
    [result] = run_preflight(start.order, plan=start.plan, only=[name])
    return result
