"""From a plan to an argv and an environment; it never quotes and never runs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeCommand:
    """How one replica is started."""

    argv: tuple[str, ...]
    """``("vllm", "serve", MODEL, …)``; the truth from which every text is rendered."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables the engine needs; never secrets."""
