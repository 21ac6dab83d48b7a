"""The wizard: draws what the planner says and computes nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

USAGE = """usage: m35-tui [--gpus GPUS] [--model MODEL] [--help] [--version]

A terminal application: from GPUs to a verified server in six steps.

  --gpus GPUS    begin with these GPUs: 8xH200, 2x8xB200, @host.json
  --model MODEL  plan and launch another model: a shipped one by name, or a local
                 checkpoint directory, config.json or params.json
  --help         this text
  --version      the version of m35-plan
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
    try:
        import textual  # noqa: F401
    except ModuleNotFoundError:
        sys.stderr.write(
            "error: the wizard needs Textual, which is not installed\n\n"
            "hint: `pip install 'm35-plan[tui]'`; `m35-plan` plans without it\n"
        )
        return 2
    from hw_specs import M35Error
    from tui.start import start

    try:
        return start(words)
    except M35Error as error:
        sys.stderr.write(f"error: {error}\n")
        if error.hint:
            sys.stderr.write(f"\nhint: {error.hint}\n")
        return 2
