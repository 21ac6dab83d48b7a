"""The check that asks the installed engine's own parser; it never imports vLLM here.

The parser needs most of the engine's imports, torch's and transformers' among them: about ten seconds of one core. So
it is asked first and waited for last, and what it took is not asked again while nothing has changed that it reads.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from planner import state
from planner.errors import PlannerError
from planner.facts.preflight import preflight_facts
from planner.serve.check import Failed, Unknown
from planner.serve.preflight.engine import vllm_version
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value

_CHILD = Path(__file__).with_name("argv_child.py")
_KEPT = 100
"""Commands whose flags are remembered as taken."""
_READ = ("VLLM_", "PYTHON", "HF_", "LD_LIBRARY_PATH")
"""How variables begin that change what the parser does."""


def begin(subject: Subject) -> None:
    """Ask the parser, where there is one and it has not taken the same before; :func:`check_arguments` waits for it."""
    if not _can_ask(subject) or _taken_on(subject) is not None:
        return
    question = json.dumps({"argv": subject.engine_args, "modules": preflight_facts().parser_modules.modules})
    subject.start("arguments", [str(subject.interpreter), str(_CHILD)], stdin=question)


def _can_ask(subject: Subject) -> bool:
    known = subject.interpreter is not None and vllm_version(subject) is not None
    return bool(not subject.order.in_container and known and subject.engine_args)


def check_arguments(subject: Subject) -> str:
    """Whether the installed vLLM's own parser takes every flag, spelled out in full."""
    if subject.order.in_container:
        raise Unknown("only the image's vLLM knows")
    if subject.interpreter is None or vllm_version(subject) is None:
        raise Unknown("no vLLM to ask")
    if not subject.engine_args:
        raise Unknown("this is not a `vllm serve` command")
    count = sum(part.startswith("-") for part in subject.engine_args)
    taken = f"vLLM {vllm_version(subject)} takes all {count} flags"
    if (day := _taken_on(subject)) is not None:
        return f"{taken}, as it said on {day}"
    if "arguments" not in subject.started:
        begin(subject)
    answer = subject.started["arguments"].answer(preflight_facts().commands.parser_timeout_s)
    said = _last_json(answer.stdout) if answer is not None else None
    if said is None or said.get("ok") is None:
        reason = said.get("message") if said else "it did not answer"
        raise Unknown(f"vLLM's parser cannot be asked: {_short(str(reason))}")
    if said["ok"]:
        _remember(subject)
        return taken
    guessed = said.get("abbreviations")
    if guessed:
        flags = ", ".join(f"`{flag}`" for flag in guessed)
        raise Failed(
            f"{flags}: taken only as an abbreviation of another flag",
            "write flags in full: an abbreviation can mean something else in the next release",
        )
    raise Failed(
        f"refused: {_short(str(said.get('message')))}", "`vllm serve --help=all` of that environment lists its flags"
    )


def _taken_on(subject: Subject) -> str | None:
    """The day on which this engine took the same flags; None where it did not, or something has changed since."""
    try:
        kept = state.read_json(_kept_file()) or {}
    except PlannerError:
        return None
    day = kept.get(_digest(subject))
    return day if isinstance(day, str) else None


def _remember(subject: Subject) -> None:
    """Keep that the parser took these flags; where nothing can be kept, it is asked again."""
    try:
        path = _kept_file()
        kept = {**(state.read_json(path) or {}), _digest(subject): time.strftime("%Y-%m-%d")}
        state.make_private(path.parent)
        state.write_json(path, dict(list(kept.items())[-_KEPT:]))
    except (OSError, PlannerError):
        return


def _kept_file() -> Path:
    return state.state_dir() / "taken-flags.json"


def _digest(subject: Subject) -> str:
    """A name of everything that the parser's answer comes from: no word of the command can be read in it."""
    config = option_value(subject.engine_args, "config")
    sources = subject.sources("vllm")
    places = (
        [] if sources is None else [sources / "engine/arg_utils.py", *sorted(sources.glob("entrypoints/*/cli_args.py"))]
    )
    places += [_CHILD, *([Path(config)] if config else [])]
    read = {name: value for name, value in subject.environment.items() if name.startswith(_READ)}
    parts = [str(subject.interpreter), subject.versions, subject.engine_args, read, [_change(path) for path in places]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _change(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), found.st_size, found.st_mtime_ns


def _last_json(text: str) -> dict[str, Any] | None:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                return None
            return found if isinstance(found, dict) else None
    return None


def _short(text: str) -> str:
    """One line without the parser's own name in front."""
    line = " ".join(text.split())
    return line.partition("error: ")[2][:300] or line[:300]
