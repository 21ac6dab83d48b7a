"""The doors of the command line and the wizard, in a package whose name nobody else has.

``planner`` is a common name: another distribution that owns it, too, overwrites files of ours, and uninstalling it
takes them away. What is left cannot start, so the start stands here, and says who it was.
"""

from __future__ import annotations

import gc
import sys

TYPE_CHECKING = False
"""True to type checkers alone. Nothing is imported here that Ctrl-C could interrupt: from `_enter` on it is caught."""

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from planner.planning.request import PlanRequest

OURS = "m35-plan"
PACKAGES = ("planner", "hw_specs", "tui")
INTERRUPTED = 130
"""Exit code of a start that Ctrl-C ended, as shells count it."""
FIRST_COLLECTION = 100_000
"""Objects before the garbage collector looks the first time: none of those that a start makes is garbage."""


def run() -> None:
    """Console entry point of ``m35-plan``."""

    def door() -> Callable[[], object]:
        from planner.cli import run as start

        return lambda: start(wizard=_wizard)

    _enter(door)


def _wizard(request: PlanRequest, load: dict[str, Any]) -> int:
    """Open the wizard on a question; the command line itself knows no wizard."""
    from tui import resume

    return resume(request, load)


def run_tui() -> None:
    """Console entry point of ``m35-tui``."""

    def door() -> Callable[[], object]:
        from tui import main as start

        return lambda: sys.exit(start())

    _enter(door)


def _enter(door: Callable[[], Callable[[], object]]) -> None:
    """Go through `door`; end without a word where Ctrl-C comes while it is still opened."""
    try:
        _go_through(door)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _go_through(door: Callable[[], Callable[[], object]]) -> None:
    """Go through `door`; name the culprit where files of ours are not ours."""
    gc.set_threshold(FIRST_COLLECTION)
    try:
        door()()
    except (ImportError, AttributeError):
        words = clash()
        if words is None:
            raise
        sys.stderr.write(words)
        sys.exit(2)
    finally:
        # On the way out the interpreter would look through all of it once more, for longer than a plan takes to make.
        gc.freeze()


def clash() -> str | None:
    """Return what to say where another distribution owns a package of ours or took files away; None where none does."""
    from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
    from pathlib import Path

    owners = packages_distributions()
    others = sorted({name for package in PACKAGES for name in owners.get(package, ())} - {OURS})
    repair = f"pip install --force-reinstall --no-deps {OURS}"
    if others:
        names = ", ".join(f"`{name}`" for name in others)
        return (
            f"error: {names} brings a package `{_shared(owners, others)}`, too, and one overwrites the other's files\n"
            f"hint: keep them apart: a virtual environment for each, or `pipx install {OURS}`; here, uninstall "
            f"{names} and run `{repair}`\n"
        )
    try:
        files = distribution(OURS).files or []
    except PackageNotFoundError:
        return None
    lost = [str(file) for file in files if str(file).endswith(".py") and not Path(str(file.locate())).is_file()]
    if not lost:
        return None
    return f"error: files of {OURS} are gone, such as `{lost[0]}`: another package took them away\nhint: `{repair}`\n"


def _shared(owners: Mapping[str, list[str]], others: list[str]) -> str:
    return next(package for package in PACKAGES if set(others) & set(owners.get(package, ())))
