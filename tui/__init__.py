"""The wizard: draws what the planner says and computes nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner import PlanRequest

USAGE = """usage: m35-tui [OPTIONS] [RUN]

A terminal application: from GPUs to a verified server in six steps.

  RUN                take up a server that was launched: its id, or `latest`
  --gpus GPUS        begin with these GPUs: 8xH200, 2x8xB200, @host.json
  --gpu-memory SIZE  engine-visible memory of one GPU, such as 130GiB
  --snapshot FILE    begin with the GPUs of a snapshot (`m35-plan detect --json`)
  --plan FILE        begin with a plan's JSON (`m35-plan --json`)
  --review FILE      begin with a command or a file that exists already, and judge it
  --model MODEL      plan and launch another model: a shipped one by name, or a local
                     checkpoint directory, config.json or params.json
  --vllm PATH        the vllm program, if it is not the one on PATH
  --fresh            forget the answers, theme and engine of the last session
  --readonly         look only: nothing is started, stopped, asked or written
  --help             this text
  --version          the version of m35-plan

`m35-plan ... --tui` opens the wizard on a plan of the command line; in the wizard,
`y` copies the command line of each step.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the wizard and return an exit code: 0, or 2 for a wrong option or a missing package."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in words or "-h" in words:
        sys.stdout.write(USAGE)
        return 0
    if "--version" in words:
        from importlib.metadata import version

        sys.stdout.write(f"m35-tui {version('m35-plan')}\n")
        return 0
    from hw_specs import M35Error

    try:
        _require_textual()
        from tui.start import start

        return start(words)
    except M35Error as error:
        sys.stderr.write(f"error: {error}\n")
        if error.hint:
            sys.stderr.write(f"\nhint: {error.hint}\n")
        return 2


def resume(request: PlanRequest, load: Mapping[str, Any]) -> int:
    """Open the wizard on a question of the command line, with its load, and return its exit code.

    Raises:
        M35Error: where Textual is not installed.
    """
    _require_textual()
    from tui.start import open_plan

    return open_plan(request, load)


def _require_textual() -> None:
    """Say how to install what draws the wizard.

    Raises:
        M35Error: where it is missing.
    """
    from hw_specs import M35Error

    try:
        import textual  # noqa: F401
    except ModuleNotFoundError:
        raise M35Error(
            "the wizard needs Textual, which is not installed",
            hint="`pip install textual numpy`; `m35-plan` plans without it",
        ) from None
