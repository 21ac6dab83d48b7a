"""What is asked of a server: how many requests, how long, how fast; it never knows a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from hw_specs.frozen import dataclass
from planner.errors import InvalidRequest
from planner.facts.drafts import draft_facts

MOST_REQUESTS = 20_000
"""Requests in one simulated run; a batch on real GPUs holds some hundreds at a time."""


MOST_TOKENS = 2**31 - 1
"""Of a prompt or an answer: the engine counts them in 32 bits."""

MOST_IMAGES = 10_000
"""Of one request."""

MOST_TURNS = 1_000
"""Of one chat."""

FEWEST_PER_S = 1 / (365 * 86_400)
"""Requests: one a year. The clock of a run at a lower rate no longer tells one step from the next."""

MOST_PAUSE_S = 86_400
"""Between two turns: a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A stream of requests, in the terms of ``vllm bench serve``.

    Either `concurrency` requests are kept in flight, or requests arrive at `request_rate` per second on average,
    or both (then `concurrency` is the cap). With neither, all requests are sent at once.

    Raises:
        InvalidRequest: when a number is out of range.
    """

    prompt_tokens: int = 1024
    """Mean length of a prompt, images not counted; with `turns` or `system_tokens`, of what is new in it."""
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
    """Share of each prompt that is found in the prefix cache, where it is known; `turns` and `system_tokens` find it
    out by the engine's rules instead."""
    turns: int = 1
    """Requests of one chat or agent, one after the other: each prompt has all prompts and answers before it."""
    system_tokens: int = 0
    """At the head of every prompt and the same in all of them: instructions, tools, examples."""
    pause_s: float = 0.0
    """From an answer to the next turn of its chat: reading and typing, or the run of a tool."""
    acceptance_length: float | None = None
    """Mean tokens of a step with a draft, where it is known for this text; else what drafts on other models showed."""
    images_per_request: int = 0
    """Images of the largest size in each prompt."""
    seed: int = 0
    """Of lengths and arrivals."""

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "output_tokens", "concurrency", "num_requests"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidRequest(name, f"{name} must be a positive integer, not `{value!r}`")
            if value is not None and value > MOST_TOKENS:
                raise InvalidRequest(name, f"{name} is above {MOST_TOKENS:,}", hint="no engine takes that much")
        self._check_chats()
        if self.total_requests > MOST_REQUESTS:
            field = "num_requests" if self.num_requests else "concurrency" if self.turns == 1 else "turns"
            raise InvalidRequest(
                field,
                f"{field} {self.total_requests:,} is more than the {MOST_REQUESTS:,} requests a forecast plays"
                if self.turns == 1
                else f"chats of {self.turns:,} turns make {self.total_requests:,} requests, more than the "
                f"{MOST_REQUESTS:,} a forecast plays",
                hint="speed hardly changes beyond some thousand requests in flight"
                if self.turns == 1
                else "fewer turns or chats at once, or num_requests",
            )
        if self.images_per_request < 0:
            raise InvalidRequest("images_per_request", "images_per_request must not be negative")
        if self.acceptance_length is not None:
            # As many as any draft proposes, and the target's own.
            most = draft_facts().most.value + 1
            if not 1 <= self.acceptance_length <= most:
                said = f"acceptance_length must be from 1 to {most}, not `{self.acceptance_length}`"
                raise InvalidRequest("acceptance_length", said)
        if self.images_per_request > MOST_IMAGES:
            raise InvalidRequest(
                "images_per_request", f"images_per_request is above {MOST_IMAGES:,}", hint="no context holds that many"
            )
        if self.request_rate is not None and not 0 < self.request_rate < float("inf"):
            raise InvalidRequest("request_rate", f"request_rate must be above 0 and finite, not `{self.request_rate}`")
        if self.request_rate is not None and self.request_rate < FEWEST_PER_S:
            raise InvalidRequest(
                "request_rate",
                f"request_rate is {self.request_rate:g} requests a second, less than one a year",
                hint="`--concurrency 1` forecasts a request that is alone",
            )
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

    def _check_chats(self) -> None:
        if isinstance(self.turns, bool) or not isinstance(self.turns, int) or not 1 <= self.turns <= MOST_TURNS:
            raise InvalidRequest("turns", f"turns must be a whole number from 1 to {MOST_TURNS:,}, not `{self.turns}`")
        if isinstance(self.system_tokens, bool) or not isinstance(self.system_tokens, int) or self.system_tokens < 0:
            raise InvalidRequest(
                "system_tokens", f"system_tokens must be a whole number of at least 0, not `{self.system_tokens}`"
            )
        if (self.turns > 1 or self.system_tokens) and self.longest_tokens > MOST_TOKENS:
            field = "system_tokens" if self.system_tokens > MOST_TOKENS else "turns"
            raise InvalidRequest(field, f"a prompt is above {MOST_TOKENS:,} tokens", hint="no engine takes that much")
        if not 0 <= self.pause_s <= MOST_PAUSE_S:
            raise InvalidRequest("pause_s", f"pause_s must be from 0 to {MOST_PAUSE_S:,}, not `{self.pause_s}`")
        if self.pause_s and self.turns == 1:
            raise InvalidRequest("pause_s", "pause_s is between the turns of a chat", hint="add turns, or leave it out")
        if self.prefix_cache_hit_rate and (self.turns > 1 or self.system_tokens):
            raise InvalidRequest(
                "prefix_cache_hit_rate",
                "prefix_cache_hit_rate cannot be combined with --turns or --system-tokens",
                hint="give one or the other",
            )

    @property
    def total_requests(self) -> int:
        """Requests in the run; by default whole chats."""
        if self.num_requests is not None:
            return self.num_requests
        wave = self.concurrency or 0
        if self.request_rate is not None:
            # A minute of arrivals shows whether the queue grows.
            requests = int(max(100, min(60 * self.request_rate, 2000)))
        else:
            requests = max(100, min(8 * wave, 800), min(4 * wave, 4000), wave)
        if self.turns == 1:
            return requests
        # Chats begin together and end together; two of each in a row show what is between.
        return self.turns * max(-(-requests // self.turns), 0 if self.request_rate else 2 * wave)

    @property
    def mean_prompt_tokens(self) -> float:
        """Mean length of a whole prompt: what all share, what was said before, what is new."""
        before = (self.turns - 1) / 2 * (self.prompt_tokens + self.output_tokens)
        return self.system_tokens + before + self.prompt_tokens

    @property
    def lengths_in_words(self) -> str:
        """What is asked and answered, in words."""
        words = f"{self.prompt_tokens:,} tokens in, {self.output_tokens:,} out"
        if self.turns > 1:
            words = f"chats of {self.turns:,} turns, each {words}"
            words += f", {self.pause_s:g} s between turns" if self.pause_s else ""
        return words + (f", {self.system_tokens:,} shared by all prompts" if self.system_tokens else "")

    @property
    def longest_tokens(self) -> int:
        """Prompt and answer of the last turn, at mean lengths."""
        return self.system_tokens + self.turns * (self.prompt_tokens + self.output_tokens)

    @property
    def longest_part(self) -> str:
        """The field that makes the longest request as long as it is."""
        if self.system_tokens > self.longest_tokens / 2:
            return "system_tokens"
        return "turns" if self.turns > 1 else "prompt_tokens"

    def share(self, replicas: int, index: int) -> Workload | None:
        """Return the part that replica `index` of `replicas` sees; None when nothing is left for it.

        Requests and slots are assigned one by one, as a round-robin balancer does; a chat stays where it began.
        """
        if replicas == 1:
            return self
        chats = -(-self.total_requests // self.turns)
        requests = self.turns * (chats // replicas + (index < chats % replicas))
        slots = None
        if self.concurrency is not None:
            slots = self.concurrency // replicas + (index < self.concurrency % replicas)
        if requests == 0 or slots == 0:
            return None
        return replace(
            self, concurrency=slots, num_requests=requests, seed=self.seed + index,
            request_rate=None if self.request_rate is None else self.request_rate / replicas,
        )  # fmt: skip
