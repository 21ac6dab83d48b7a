"""What a server says of itself: is it healthy, what does it count?"""

from __future__ import annotations

import os
from dataclasses import dataclass

from hw_specs.errors import shown
from planner.errors import VerifyFailed
from planner.rendering.secrets import API_KEY
from planner.serve.http_client import Unanswered, ask

_METRICS_BYTES = 4 << 20
_HEALTH_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthAnswer:
    """What ``GET /health`` brought."""

    status: int | None
    """HTTP status; None when there was no answer."""
    text: str
    """The same in words."""

    @property
    def ok(self) -> bool:
        """Whether the server says it can serve."""
        return self.status == 200


def read_metrics(url: str, *, timeout_s: float = 5.0) -> str:
    """Return the text of ``GET {url}/metrics``; the key of the environment is sent.

    Raises:
        VerifyFailed: when there is no answer, or another one.
    """
    key = os.environ.get(API_KEY, "").strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = ask("GET", f"{url}/metrics", headers=headers, timeout_s=timeout_s, most_bytes=_METRICS_BYTES)
    except Unanswered as fault:
        raise VerifyFailed(shown(fault.text, characters=200)) from fault
    if answer.status != 200:
        said = shown(answer.text, characters=200)
        raise VerifyFailed(f"/metrics answered {answer.status}" + (f": {said}" if said else ""))
    return answer.text


def ask_health(url: str, *, timeout_s: float) -> HealthAnswer:
    """Return what ``GET {url}/health`` answers within `timeout_s`; never raises."""
    try:
        answer = ask("GET", f"{url}/health", timeout_s=timeout_s, most_bytes=_HEALTH_BYTES)
    except Unanswered as fault:
        texts = {"late": f"no answer within {timeout_s:g} s", "unreachable": "nothing listens yet"}
        said = texts.get(fault.kind, f"no HTTP answer ({shown(fault.text)})")
        return HealthAnswer(status=None, text=said)
    return HealthAnswer(status=answer.status, text=f"HTTP {answer.status}")
