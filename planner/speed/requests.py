"""The requests of one run, the client that sends them and the front end they pass; it never knows a GPU."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from planner.speed.profile import EngineProfile

_NEVER = float("inf")


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
    turns: int = 1
    """Requests of one chat; they follow each other in the lists, and each is sent after the answer before it."""
    pause_s: float = 0.0
    """From an answer to the next turn of its chat."""
    sent_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    finished_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sent_s = [0.0] * len(self.prompt)
        self.first_s = [-1.0] * len(self.prompt)
        self.finished_s = [0.0] * len(self.prompt)

    def goes_on(self, index: int) -> bool:
        """Whether another turn of the same chat follows."""
        return (index + 1) % self.turns != 0 and index + 1 < len(self.prompt)


class Client:
    """Sends requests as ``vllm bench serve`` does: as many as its slots and its rate allow, in order.

    A chat keeps its slot from its first turn to its last answer, pauses included.

    The front end's processes work on all requests that are inside by turns, so a wave that was sent at once comes out
    at once. A clock of work tells when: it runs at one over the requests inside a process. Behind it each request waits
    a fixed time, and for the answers that were being streamed when it was sent.
    """

    def __init__(self, requests: Requests, profile: EngineProfile, processes: int = 1) -> None:
        """`processes` are the API servers that share the requests."""
        self._requests = requests
        self._slots = min(requests.concurrency, len(requests.prompt))
        self._next = 0
        self._processes = processes
        self._each_s = profile.frontend_s
        self._least_wait_s = profile.first_token_s
        self._streaming_s = profile.streaming_s / processes
        self._coming: list[tuple[float, int, float]] = []
        """Requests that are still to be sent, the first on top: when, which, and what it waits behind the front end."""
        self._inside: deque[tuple[float, int, float]] = deque()
        """Requests inside, by the clock of work at which they leave; the first in is the first out."""
        self._work = 0.0
        self._now_s = 0.0
        self._arrivals: list[tuple[float, int]] = []

    def send(self, now_s: float, *, ended: Sequence[int], streaming: int) -> None:
        """Send what follows the requests that `ended` while `streaming` answers are under way."""
        requests = self._requests
        wait = self._least_wait_s + self._streaming_s * streaming
        for index in ended:
            if requests.goes_on(index):
                self._send(index + 1, now_s + requests.pause_s, wait)
            else:
                self._slots += 1
        while self._slots > 0 and self._next < len(requests.prompt):
            self._send(self._next, max(now_s, requests.ready_s[self._next]), wait)
            self._next += requests.turns
            self._slots -= 1

    def _send(self, index: int, at_s: float, wait_s: float) -> None:
        self._requests.sent_s[index] = at_s
        heapq.heappush(self._coming, (at_s, index, wait_s))

    @property
    def next_arrival_s(self) -> float:
        """When the next request reaches the engine at the earliest; infinite when none is on its way."""
        soonest = self._arrivals[0][0] if self._arrivals else _NEVER
        if self._inside:
            soonest = min(soonest, self._leaving_s + self._least_wait_s)
        if self._coming:
            soonest = min(soonest, self._coming[0][0] + self._each_s + self._least_wait_s)
        return soonest

    def arrived(self, by_s: float) -> list[int]:
        """Return the requests that reached the engine by then, in order of arrival."""
        while self._advance(by_s):
            pass
        found = []
        while self._arrivals and self._arrivals[0][0] <= by_s:
            found.append(heapq.heappop(self._arrivals)[1])
        return found

    def _advance(self, by_s: float) -> bool:
        """Let the next request enter or leave the front end, if that happens by then."""
        entering = self._coming[0][0] if self._coming else _NEVER
        leaving = self._leaving_s if self._inside else _NEVER
        if min(entering, leaving) > by_s or entering == leaving == _NEVER:
            return False
        if leaving <= entering:
            self._work, index, wait = self._inside.popleft()
            self._now_s = leaving
            heapq.heappush(self._arrivals, (leaving + wait, index))
            return True
        entering, index, wait = heapq.heappop(self._coming)
        if self._inside:
            self._work += (entering - self._now_s) * self._pace
        self._now_s = entering
        self._inside.append((self._work + self._each_s, index, wait))
        return True

    @property
    def _leaving_s(self) -> float:
        """When the first request inside leaves if nobody comes in meanwhile."""
        return self._now_s + max(0.0, self._inside[0][0] - self._work) / self._pace

    @property
    def _pace(self) -> float:
        """Seconds of work that each request inside gets in a second."""
        return min(1.0, self._processes / len(self._inside))
