"""The requests of one run and the client that sends them; it never knows a GPU."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from planner.speed.profile import EngineProfile


@dataclass(slots=True, kw_only=True)
class Requests:
    """What is asked and what became of it, one entry per request."""

    prompt: Sequence[int]
    output: Sequence[int]
    ready_s: Sequence[float]
    """When each could be sent at the earliest."""
    hit: Sequence[int]
    """Prompt tokens found in the prefix cache, whole blocks."""
    shared: int
    """Tokens at the head of every prompt that are the same, whole blocks: they are held once for all."""
    concurrency: int
    """Most requests in flight."""
    images: int = 0
    """Images in each."""
    sent_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    finished_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sent_s = [0.0] * len(self.prompt)
        self.first_s = [-1.0] * len(self.prompt)
        self.finished_s = [0.0] * len(self.prompt)


class Client:
    """Sends requests as ``vllm bench serve`` does: as many as its slots and its rate allow, in order.

    The front end takes them one by one, and each waits for the answers that it is streaming meanwhile.
    """

    def __init__(self, requests: Requests, profile: EngineProfile) -> None:
        self._requests = requests
        self._slots = min(requests.concurrency, len(requests.prompt))
        self._next = 0
        self._free_s = 0.0
        self._each_s = profile.frontend_s
        self._base_s = profile.first_token_s
        self._streaming_s = profile.streaming_s
        self._arrivals: list[tuple[float, int]] = []

    def send(self, now_s: float, *, freed: int, streaming: int) -> None:
        """Send what `freed` slots more allow while `streaming` answers are under way."""
        requests = self._requests
        self._slots += freed
        while self._slots > 0 and self._next < len(requests.prompt):
            index = self._next
            sent = max(now_s, requests.ready_s[index])
            self._next += 1
            self._slots -= 1
            requests.sent_s[index] = sent
            self._free_s = max(self._free_s, sent) + self._each_s
            heapq.heappush(self._arrivals, (self._free_s + self._base_s + self._streaming_s * streaming, index))

    @property
    def next_arrival_s(self) -> float:
        """When the next request reaches the engine; infinite when none is on its way."""
        return self._arrivals[0][0] if self._arrivals else float("inf")

    def arrived(self, by_s: float) -> list[int]:
        """Return the requests that reached the engine by then, in order of arrival."""
        found = []
        while self._arrivals and self._arrivals[0][0] <= by_s:
            found.append(heapq.heappop(self._arrivals)[1])
        return found
