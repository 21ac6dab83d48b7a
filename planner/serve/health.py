"""One question to a server: is it healthy? It sends no key and follows no redirect."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


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
