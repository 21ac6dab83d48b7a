"""Whether a server schedules a step while the one before runs, by settings and release. It forecasts nothing."""

from __future__ import annotations

from planner.facts.release import Release, parse_version
from planner.facts.scheduling import scheduling_facts
from planner.settings import DRAFT_MODELS, Settings, SpecMethod


def may_schedule_ahead(method: SpecMethod | None, release: Release) -> bool:
    """Return whether the engine can schedule ahead with this way of drafting.

    Source: vllm/config/vllm.py of 0.19.0 to 0.33.0, see ``scheduling.toml``.
    """
    if method is None or method in DRAFT_MODELS:
        return True
    since = parse_version(scheduling_facts().ahead.with_ngrams_since)
    return method == "ngram" and parse_version(release.version) >= since


def scheduled_ahead(settings: Settings, release: Release) -> bool:
    """Return whether a server with these settings schedules ahead: as told, or wherever the engine can."""
    return settings.async_scheduling is not False and may_schedule_ahead(settings.spec_method, release)
