"""The exit codes of every command; a contract for scripts, so a number never changes its meaning."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says when it ends."""

    OK = 0
    """The plan fits, the check passed, the server answered."""
    BUG = 1
    """An unexpected error; the traceback is shown and worth a report."""
    USAGE = 2
    """A flag, name or value that makes no sense."""
    DOES_NOT_FIT = 3
    """The plan was computed and does not fit (with ``--strict`` also: it is only tight)."""
    NO_GPU = 4
    """No GPU was found on this machine."""
    LAUNCH_FAILED = 5
    """The engine did not reach readiness, or a preflight check failed."""
    VERIFY_FAILED = 6
    """The server runs, but a check of it failed."""
    TIMEOUT = 7
    """A wait ended before its time limit allowed success."""
    FINDINGS = 8
    """A review found something at or above ``--fail-on``, or no verdict where one was required."""
    INTERRUPTED = 130
    """Ctrl-C."""
