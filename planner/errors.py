"""The planner's exception tree; it never exits and never prints.

    M35Error (hw_specs)
    └── PlannerError
        ├── InvalidRequest     a setting that no engine would accept, with the field's name
        ├── UnknownVersion     a vLLM version outside what is known
        ├── UnreadableCheckpoint a checkpoint or configuration that is broken or contradicts itself
        ├── UnsupportedModel   a model outside the planner's scope, named
        ├── UnsafePath         a file or folder of ours that another user owns or may write
        ├── LaunchFailed       the engine did not come up
        ├── VerifyFailed       the server answers, but not as planned
        ├── UnreadableDocument text that is not a plan document of this major version
        └── LogNotUnderstood   a log without the lines that were asked for

"Does not fit" is an answer, not an error: :class:`planner.planning.answer.Plan` carries it with its ledger.
"""

from __future__ import annotations

from hw_specs.errors import BadFacts as BadFacts
from hw_specs.errors import M35Error as M35Error


class PlannerError(M35Error):
    """Root of what the planner raises on purpose."""


class InvalidRequest(PlannerError):
    """A setting that the engine would refuse."""

    def __init__(self, field: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field


class UnknownVersion(PlannerError):
    """A vLLM version that is malformed or older than anything known."""


class UnreadableCheckpoint(PlannerError):
    """A checkpoint or configuration that is missing, broken or contradicts itself."""


class UnsupportedModel(PlannerError):
    """A model whose architecture the planner does not describe; it is refused, never guessed."""


class UnsafePath(PlannerError):
    """A file or folder of the state that another user owns or may write, or that is not what it should be."""


class LaunchFailed(PlannerError):
    """The engine did not reach readiness."""


class VerifyFailed(PlannerError):
    """The server runs, but at least one check failed."""


class UnreadableDocument(PlannerError):
    """Text that is not a document of ours, or one of another major version."""


class LogNotUnderstood(PlannerError):
    """A log from which the requested figures cannot be read."""
