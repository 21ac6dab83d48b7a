"""What of the records on this machine is damaged and left out, in words for people; it repairs and removes nothing."""

from __future__ import annotations

from planner import PlannerError
from planner.serve import Run


def damaged_records() -> tuple[str, ...]:
    """Return one sentence per record that is left out: which file, and what is wrong with it."""
    from planner.calibrate import read_calibrations
    from planner.serve import list_runs
    from planner.serve.bench import benchmarks_path, kept_benchmarks
    from planner.serve.process.history import earlier_starts
    from planner.state import calibrations_path, history_path

    runs: list[PlannerError] = []
    try:
        list_runs(on_damaged=runs.append)
    except PlannerError as error:
        runs.append(error)
    faults = [str(error) for error in runs]
    faults += [f"a measured start in {calibrations_path()}: {fault}" for fault in read_calibrations()[1]]
    faults += [f"a benchmark in {benchmarks_path()}: {fault}" for fault in kept_benchmarks()[1]]
    dropped: list[str] = []
    earlier_starts("", dropped=dropped)
    return (*faults, *(f"the time of an earlier start in {history_path()}: {fault}" for fault in dropped))


def damage_of(run: Run) -> tuple[str, ...]:
    """Return what of one run's own records is left out, one sentence each."""
    from planner.serve.start_report import plan_of

    faults: list[str] = []
    try:
        run.was_seen_ready(dropped=faults)
    except PlannerError as error:
        faults.append(str(error))
    faults = [f"what was seen of run {run.id}, in {run.events_path}: {fault}" for fault in faults]
    plan_of(run, dropped=faults)
    return tuple(faults)
