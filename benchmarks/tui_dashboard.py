"""What ten minutes of the wizard's dashboard cost: memory, time of a look, and how long the keys have to wait.

    python benchmarks/tui_dashboard.py

The promise is 150 MB for the process and 100 ms for the longest step of the loop; exit code 1 says that one was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import sys
import tempfile

from loop_work import PROMISE_MS, LoopWork

LOOKS = 300
"""Ten minutes of one every two seconds."""
PROMISE_MB = 150.0

PAGE = """\
vllm:num_requests_running{{engine="0"}} {running}.0
vllm:num_requests_waiting{{engine="0"}} 0.0
vllm:kv_cache_usage_perc{{engine="0"}} 0.5
vllm:request_success_total{{engine="0"}} {done}.0
vllm:num_preemptions_total{{engine="0"}} 0.0
vllm:generation_tokens_total{{engine="0"}} {out}.0
vllm:prompt_tokens_total{{engine="0"}} {into}.0
"""
BOUNDS = (*(f"{0.001 * 1.6**power:.6g}" for power in range(24)), "+Inf")
HISTOGRAMS = ("time_to_first_token_seconds", "inter_token_latency_seconds", "request_prompt_tokens",
              "request_generation_tokens")  # fmt: skip


def page(number: int) -> str:
    """``/metrics`` at one look, with as many buckets as a server has."""
    done = 10 * number
    lines = [PAGE.format(running=8 + number % 30, done=done, out=4000 * number, into=9000 * number)]
    for name in HISTOGRAMS:
        lines += [f'vllm:{name}_bucket{{engine="0",le="{bound}"}} {done}.0\n' for bound in BOUNDS]
        lines.append(f"vllm:{name}_sum {done}.0\n")
    return "".join(lines)


async def measure(work: LoopWork) -> tuple[list[float], float, float]:
    """Return milliseconds of work per look, the longest step of the loop, and the resident megabytes."""
    from hw_specs import parse_gpus
    from hw_specs.detect.activity import GpuActivity
    from planner import PlanRequest, plan
    from tui import news
    from tui.app import M35App
    from tui.backend import Backend
    from tui.screens.verify import VerifyScreen
    from tui.serving import take
    from tui.wizard import Answers, Step

    gpus = tuple(
        GpuActivity(vendor="nvidia", index=index, use_fraction=0.9, used_bytes=10**11, total_bytes=15 * 10**10,
                    power_w=600.0, power_limit_w=700.0)
        for index in range(8)
    )  # fmt: skip
    request = PlanRequest(gpus=parse_gpus("8xH200"))
    backend = Backend(running=list, detect_every_s=None, look_every_s=None, activity=tuple, readonly=True)
    app = M35App(backend=backend, answers=Answers(request=request, run_id="none"), step=Step.VERIFY)
    spent: list[float] = []
    async with app.run_test(size=(120, 40)) as pilot:
        while not isinstance(app.screen, VerifyScreen):
            await pilot.pause()
        screen = app.screen
        screen.serving = take(screen.serving, news.WindowChosen(600))
        screen.action_view("dashboard")

        answer = plan(request)
        screen.serving = type(screen.serving)(**{
            **{name: getattr(screen.serving, name) for name in screen.serving.__slots__}, "plan": answer
        })  # fmt: skip
        for number in range(LOOKS):
            if number == 1:
                work.forget()
            before = work.total_ms
            screen.hear(news.MetricsRead(page(number), at_s=1000.0 + 2 * number, alive=True, gpus=gpus))
            done = asyncio.Event()
            screen.call_after_refresh(done.set)
            await done.wait()
            spent.append(work.total_ms - before)
    resident_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return spent, work.longest_ms, resident_mb


def main() -> int:
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        with LoopWork() as work:
            spent, longest, resident_mb = asyncio.run(measure(work))
    print(f"{'looks':>6}{'median ms':>11}{'worst ms':>10}{'longest step ms':>17}{'resident MB':>13}")
    print(f"{len(spent):>6}{statistics.median(spent):>11.1f}{max(spent):>10.1f}{longest:>17.1f}{resident_mb:>13.1f}")
    return int(resident_mb > PROMISE_MB or longest > PROMISE_MS)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit(main())
