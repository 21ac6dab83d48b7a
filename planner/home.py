"""Whose process this is: where the user's state stands, and which secrets their variables hold. It opens no file.

A plan needs no more of the state; :mod:`planner.state` is the door to what stands there.
"""

from __future__ import annotations

import os
from functools import cache

from planner.errors import PlannerError
from planner.rendering.secrets import concealed, secrets_of

APP = "m35-plan"


def state_folder() -> str:
    """Return ``$XDG_STATE_HOME/m35-plan``, by default ``~/.local/state/m35-plan``; it need not exist.

    Raises:
        PlannerError: when neither variable nor password file names a home.
    """
    # Not pathlib: importing it costs more than all of a plan's data files together.
    base = os.environ.get("XDG_STATE_HOME", "")
    # The specification tells programs to ignore relative paths here.
    if os.path.isabs(base):  # noqa: PTH117
        return os.path.join(base, APP)  # noqa: PTH118
    home = os.path.expanduser("~")  # noqa: PTH111
    if not os.path.isabs(home):  # noqa: PTH117
        raise PlannerError(
            "this user has no home folder, so nothing can be kept", hint="set XDG_STATE_HOME to a folder you can write"
        )
    return os.path.join(home, ".local", "state", APP)  # noqa: PTH118


def calibrations_file() -> str:
    """What engines measured on this machine."""
    return os.path.join(state_folder(), "calibration.jsonl")  # noqa: PTH118


def without_secrets(text: str) -> str:
    """Return `text` without what looks like a secret, and without the values of this process's own secret variables."""
    return concealed(text, _own_secrets())


@cache
def _own_secrets() -> tuple[str, ...]:
    return tuple(sorted(set(secrets_of(os.environ).values()), key=len, reverse=True))
