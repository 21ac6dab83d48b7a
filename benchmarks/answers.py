"""How long answers take as questions grow: one line a size, process start excluded.

python benchmarks/answers.py            # about a minute on one core
python benchmarks/answers.py --markdown # the table of docs/explanation/how-long.md
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hw_specs import parse_gpus
from planner import PlanRequest, Workload, plan, plan_for_workload
from planner.planning.fleet import plan_fleet
from planner.planning.fleet_load import share_load
from planner.speed.answer import Targets
from planner.speed.predict import expected_figures, forecast

KINDS = (
    "8xH200", "8xMI300X", "4xB200", "8xB200", "8xH100", "4xMI300X", "2xMI300X", "4xH200", "8xH20", "8xMI325X",
    "8xMI355X", "4xMI355X",
)  # fmt: skip
PAGES = Path(__file__).parents[1] / "docs" / "explanation"
SIZES = (10, 100, 1_000, 10_000)


def inventory(folder: Path, hosts: int) -> Path:
    path = folder / f"{hosts}.yaml"
    path.write_text("".join(f"- {{host: n{i}, gpus: {KINDS[i % len(KINDS)]}}}\n" for i in range(hosts)))
    return path


def questions(folder: Path) -> Iterator[tuple[str, int, Callable[[], object]]]:
    answer = plan(PlanRequest(gpus=parse_gpus("8xH200"), tensor_parallel_size=8))
    request = PlanRequest(gpus=parse_gpus("8xH200"))
    yield "one plan", 1, lambda: plan(request)
    for size in SIZES:
        load = Workload(concurrency=32, num_requests=size)
        yield "forecast, requests at 32 in flight", size, lambda load=load: forecast(answer, load)
    for size in SIZES:
        load = Workload(concurrency=min(size, 1000), num_requests=size)
        yield (
            "expected figures, requests at once, at most 1,000",
            size,
            lambda load=load: expected_figures(answer, load),
        )
    for tokens in (128, 1_024, 16_384, 262_000):
        load = Workload(prompt_tokens=100, output_tokens=tokens, concurrency=32)
        yield "expected figures, tokens of each answer", tokens, lambda load=load: expected_figures(answer, load)
    yield (
        "layouts compared, 2,000 answers of 16,384 tokens",
        2000,
        lambda: plan_for_workload(
            request, Workload(prompt_tokens=1024, output_tokens=16_384, concurrency=2000, num_requests=2000)
        ),
    )
    for size in SIZES:
        path = inventory(folder, size)
        yield "fleet, hosts", size, lambda path=path: plan_fleet([path], settings={})
    rows = plan_fleet([inventory(folder, len(KINDS))], settings={})
    load = Workload(prompt_tokens=1024, output_tokens=256, request_rate=20.0)
    yield "fleet with a request rate, kinds of host", len(KINDS), lambda: share_load(rows, load, Targets())


TEXT = """<!-- Made by benchmarks/answers.py --page. Do not edit. -->

# How long answers take

Seconds of one core of a small machine, process start excluded; the second asking, since facts are read once a process.
A forecast plays sums instead of tokens, so longer answers cost little; what costs is how often something happens: an
end, an arrival, a preemption. A fleet plans each kind of host once. Where a question takes longer than half a second
the command says how far it is.

![seconds over size](how-long.svg)

| question | size | seconds |
|---|---:|---:|
"""


def measured() -> Iterator[tuple[str, int, float]]:
    with tempfile.TemporaryDirectory() as folder:
        for name, size, ask in questions(Path(folder)):
            ask()  # facts are read once a process
            began = time.process_time()
            ask()
            yield name, size, time.process_time() - began


def write_page(rows: list[tuple[str, int, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"], matplotlib.rcParams["svg.fonttype"] = "m35-plan", "none"
    from matplotlib import pyplot

    lines = "".join(f"| {name} | {size:,} | {seconds:.4f} |\n" for name, size, seconds in rows)
    (PAGES / "how-long.md").write_text(TEXT + lines, encoding="utf-8")
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name in dict.fromkeys(name for name, _, _ in rows):
        mine = [(size, seconds) for other, size, seconds in rows if other == name]
        if len(mine) > 1:
            axes.plot(*zip(*mine, strict=True), marker="o", markersize=4, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("size")
    axes.set_ylabel("seconds")
    axes.legend(fontsize=8)
    figure.savefig(PAGES / "how-long.svg", metadata={"Date": None})
    pyplot.close(figure)


def main(*, to_page: bool) -> int:
    rows = []
    for name, size, seconds in measured():
        rows.append((name, size, seconds))
        print(f"{name:<55} {size:>9,} {seconds:>9.4f} s", flush=True)
    if to_page:
        write_page(rows)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write the page, too")
    sys.exit(main(to_page=parser.parse_args().page))
