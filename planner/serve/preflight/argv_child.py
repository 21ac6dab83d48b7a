"""Asks the installed vLLM whether it takes an argv; runs in vLLM's own Python, knows nothing of this project.

python argv_child.py < {"argv": [...], "modules": [...]}    prints one JSON object as its last line
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys


def ask(argv: list[str], modules: list[str]) -> dict[str, object]:
    """Return whether the parser takes `argv`, what it says, and flags that it only took as abbreviations."""
    for name in modules:
        try:
            cli_args = importlib.import_module(name)
            break
        except ImportError as error:
            if error.name is None or not name.startswith(error.name):
                return {"ok": None, "message": f"{type(error).__name__}: {error}"}
    else:
        return {"ok": None, "message": "this vLLM has none of the known parser modules"}
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = cli_args.make_arg_parser(FlexibleArgumentParser())
    words = io.StringIO()
    try:
        with contextlib.redirect_stderr(words):
            options = parser.parse_args(argv)
            cli_args.validate_parsed_serve_args(options)
    except SystemExit:
        last = [line for line in words.getvalue().splitlines() if line.strip()]
        return {"ok": False, "message": last[-1] if last else "refused"}
    except (TypeError, ValueError) as error:
        return {"ok": False, "message": str(error).splitlines()[0]}
    known = parser._option_string_actions
    flags = [part.split("=")[0] for part in argv if part.startswith("--")]
    guessed = [flag for flag in flags if flag.split(".")[0].replace("_", "-") not in known]
    return {"ok": not guessed, "abbreviations": guessed, "module": name}


if __name__ == "__main__":
    # Without a GPU vLLM cannot even build its parser unless it is told that none is meant.
    os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")
    question = json.loads(sys.stdin.read())
    try:
        answer = ask(question["argv"], question["modules"])
    except Exception as error:
        answer = {"ok": None, "message": f"{type(error).__name__}: {error}"}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
