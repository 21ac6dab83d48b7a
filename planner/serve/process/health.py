"""What a server says of itself: is it healthy, what does it count? It follows no redirect."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

_METRICS_BYTES = 4 << 20


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


def read_metrics(url: str, *, timeout_s: float) -> str:
    """Return the text of ``GET {url}/metrics``, empty when there is none; never raises.

    The key of the environment is sent, to this machine alone.
    """
    import http.client
    import os

    from planner.rendering.secrets import API_KEY

    parts = urlsplit(url)
    key = os.environ.get(API_KEY, "").strip()
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout_s)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        return answer.read(_METRICS_BYTES).decode("utf-8", "replace") if answer.status == 200 else ""
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    finally:
        connection.close()


def ask_health(url: str, *, timeout_s: float) -> HealthAnswer:
    """Return what ``GET {url}/health`` answers; never raises."""
    import http.client

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout_s)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except TimeoutError:
        return HealthAnswer(status=None, text=f"no answer within {timeout_s:g} s")
    except ConnectionRefusedError:
        return HealthAnswer(status=None, text="nothing listens yet")
    except (OSError, http.client.HTTPException) as error:
        return HealthAnswer(status=None, text=f"no HTTP answer ({type(error).__name__})")
    finally:
        connection.close()
    return HealthAnswer(status=status, text=f"HTTP {status}")
