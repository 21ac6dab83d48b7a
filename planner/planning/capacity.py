"""How many requests one server may have in flight before its targets break, by the forecast."""

from __future__ import annotations

from dataclasses import replace

from planner.errors import InvalidRequest
from planner.planning.answer import Plan
from planner.speed.answer import SpeedSection


def most_in_flight(plan: Plan, section: SpeedSection) -> int:
    """Return the requests in flight at which one replica of `plan` still meets the targets of `section`.

    Without a target on time it is the load that was asked for, shared out over the replicas. It is at most
    ``max_num_seqs``: what is above that waits.

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

    def meets(concurrency: int) -> bool:
        from planner.speed.predict import expected_figures

        figures = expected_figures(
            replace(plan, settings=replace(plan.settings, replicas=1)),
            replace(workload, concurrency=concurrency, request_rate=None, num_requests=None),
        )
        return (targets.ttft_ms is None or figures.ttft_ms <= targets.ttft_ms) and (
            targets.tpot_ms is None or figures.tpot_ms <= targets.tpot_ms
        )

    if not meets(1):
        raise InvalidRequest(
            "emit", "even one request misses the targets, so no number of servers meets them", hint="relax the targets"
        )
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
