"""What is asked of a server: how many requests, how long, how fast; it never knows a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from hw_specs.frozen import dataclass
from planner.errors import InvalidRequest

MOST_REQUESTS = 20_000
"""Requests in one simulated run; a batch on real GPUs holds some hundreds at a time."""


MOST_TOKENS = 2**31 - 1
"""Of a prompt or an answer: the engine counts them in 32 bits."""

MOST_IMAGES = 10_000
"""Of one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A stream of requests, in the terms of ``vllm bench serve``.

    Either `concurrency` requests are kept in flight, or requests arrive at `request_rate` per second on average,
    or both (then `concurrency` is the cap). With neither, all requests are sent at once.

    Raises:
        InvalidRequest: when a number is out of range.
    """

    prompt_tokens: int = 1024
    """Mean length of a prompt, images not counted."""
    output_tokens: int = 1024
    """Mean length of an answer."""
    length_range_ratio: float = 0.0
    """Lengths are uniform in ``mean * (1 ± ratio)``, as ``--random-range-ratio``; 0 makes them equal."""
    length_distribution: Literal["uniform", "exponential"] = "uniform"
    """``exponential`` is as wide as its mean, about what chats of ShareGPT have: some answers are several times the
    mean, and the last of them run alone. The range ratio then has no meaning."""
    concurrency: int | None = None
    request_rate: float | None = None
    """Requests per second, exponential gaps."""
    num_requests: int | None = None
    """Requests in the run; by default eight times the concurrency, at least 100, fewer waves of large ones;
    with a rate a minute of arrivals, 100 to 2000."""
    prefix_cache_hit_rate: float = 0.0
    """Share of each prompt that is found in the prefix cache."""
    images_per_request: int = 0
    """Images of the largest size in each prompt."""
    seed: int = 0
    """Of lengths and arrivals."""

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "output_tokens", "concurrency", "num_requests"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidRequest(name, f"{name} must be a positive integer, not `{value}`")
            if value is not None and value > MOST_TOKENS:
                raise InvalidRequest(name, f"{name} is above {MOST_TOKENS:,}", hint="no engine takes that much")
        if self.total_requests > MOST_REQUESTS:
            field = "concurrency" if self.num_requests is None else "num_requests"
            raise InvalidRequest(
                field,
                f"{field} {self.total_requests:,} is more than the {MOST_REQUESTS:,} requests a forecast plays",
                hint="speed hardly changes beyond some thousand requests in flight",
            )
        if self.images_per_request < 0:
            raise InvalidRequest("images_per_request", "images_per_request must not be negative")
        if self.images_per_request > MOST_IMAGES:
            raise InvalidRequest(
                "images_per_request", f"images_per_request is above {MOST_IMAGES:,}", hint="no context holds that many"
            )
        if self.request_rate is not None and not 0 < self.request_rate < float("inf"):
            raise InvalidRequest("request_rate", f"request_rate must be above 0, not `{self.request_rate}`")
        if self.length_distribution not in ("uniform", "exponential"):
            raise InvalidRequest(
                "length_distribution",
                f"length_distribution must be `uniform` or `exponential`, not `{self.length_distribution}`",
            )
        if not 0 <= self.length_range_ratio < 1:
            raise InvalidRequest(
                "length_range_ratio",
                f"length_range_ratio must be at least 0 and below 1, not `{self.length_range_ratio}`",
            )
        if not 0 <= self.prefix_cache_hit_rate <= 1:
            raise InvalidRequest(
                "prefix_cache_hit_rate",
                f"prefix_cache_hit_rate must be between 0 and 1, not `{self.prefix_cache_hit_rate}`",
            )

    @property
    def total_requests(self) -> int:
        """Requests in the run."""
        if self.num_requests is not None:
            return self.num_requests
        wave = self.concurrency or 0
        if self.request_rate is not None:
            # A minute of arrivals shows whether the queue grows.
            return int(max(100, min(60 * self.request_rate, 2000)))
        return max(100, min(8 * wave, 800), min(4 * wave, 4000), wave)

    def share(self, replicas: int, index: int) -> Workload | None:
        """Return the part that replica `index` of `replicas` sees; None when nothing is left for it.

        Requests and slots are assigned one by one, as a round-robin balancer does.
        """
        if replicas == 1:
            return self
        requests = self.total_requests // replicas + (index < self.total_requests % replicas)
        slots = None
        if self.concurrency is not None:
            slots = self.concurrency // replicas + (index < self.concurrency % replicas)
        if requests == 0 or slots == 0:
            return None
        return replace(
            self, concurrency=slots, num_requests=requests, seed=self.seed + index,
            request_rate=None if self.request_rate is None else self.request_rate / replicas,
        )  # fmt: skip
