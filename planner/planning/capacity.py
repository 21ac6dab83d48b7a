"""How many requests one server may have in flight before its targets break, by the forecast."""

from __future__ import annotations

from dataclasses import replace

from planner.errors import InvalidRequest
from planner.facts.policy import policy
from planner.planning.answer import Plan
from planner.planning.ways import in_time
from planner.speed.answer import SpeedSection


def most_in_flight(plan: Plan, section: SpeedSection) -> int:
    """Return the requests in flight at which one replica of `plan` still meets the targets of `section`.

    Without a target on time it is the load that was asked for, split over the replicas. Requests that come at a
    rate are in flight as long as their answers take (Little's law): the rate is raised until the targets break, because
    as many requests sent at once would wait for each other. It is at most ``max_num_seqs``: what is above that waits.

    Raises:
        InvalidRequest: when even one request misses the targets, or the load has neither concurrency nor targets.
    """
    targets, workload, most = section.targets, section.forecast.workload, plan.settings.max_num_seqs
    if targets.ttft_ms is None and targets.tpot_ms is None:
        if workload.concurrency is None:
            raise InvalidRequest(
                "concurrency",
                "an autoscaler needs the requests in flight that one server is planned for",
                hint="say `--concurrency N`, or targets: `--ttft-ms`, `--tpot-ms`",
            )
        return max(1, min(most, -(-workload.concurrency // plan.settings.replicas)))

    from planner.speed.predict import expected_figures

    server = replace(plan, settings=replace(plan.settings, replicas=1))
    if workload.request_rate is not None:
        return _at_rate(server, section, workload.request_rate / plan.settings.replicas)

    def meets(concurrency: int) -> bool:
        load = replace(workload, concurrency=concurrency, num_requests=None)
        return in_time(expected_figures(server, load), targets)

    if not meets(1):
        raise _never()
    good, bad = 1, most + 1
    while bad - good > max(1, good // 16):
        middle = min(good * 2, most) if bad > most else (good + bad) // 2
        if middle == good:
            break
        if meets(middle):
            good = middle
        else:
            bad = middle
        if good == most:
            break
    return good


def _at_rate(server: Plan, section: SpeedSection, rate: float) -> int:
    """The mean requests in flight at the largest rate that meets the targets, within a sixteenth."""
    from planner.speed.predict import expected_figures

    most = server.settings.max_num_seqs

    def in_flight(rate: float) -> float | None:
        load = replace(section.forecast.workload, concurrency=None, request_rate=rate, num_requests=None)
        figures = expected_figures(server, load)
        return rate * figures.latency_ms / 1000 if in_time(figures, section.targets) else None

    good, found = rate, in_flight(rate)
    while found is None:
        good /= 2
        found = in_flight(good)
        if found is None and good < rate / policy().capacity.least_share_of_rate.value:
            raise _never()
    bad = good * 2
    while found < most and (more := in_flight(bad)) is not None:
        good, found, bad = bad, more, bad * 2
    while found < most and bad - good > good / 16:
        middle = (good + bad) / 2
        if (more := in_flight(middle)) is None:
            bad = middle
        else:
            good, found = middle, more
    return max(1, min(most, round(found)))


def _never() -> InvalidRequest:
    return InvalidRequest(
        "emit", "even one request misses the targets, so no number of servers meets them", hint="relax the targets"
    )
