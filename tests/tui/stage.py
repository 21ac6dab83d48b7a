"""The wizard with recorded answers: what it draws does not change when a fact does.

python -m tests.tui.stage      # records anew; look at what changed before you keep it
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from hw_specs import DetectionReport, parse_gpus
from hw_specs.detect.activity import GpuActivity
from hw_specs.units import GIB
from planner import Lever, Plan, PlanRequest, plan
from planner.planning.choose import all_levers
from planner.planning.context_curve import CurvePoint, context_curve
from planner.rendering.document import plan_document, to_json_value
from planner.review.findings import Edit, Finding, Review, ServerReview, Severity
from planner.serve import CheckResult, Failure, Run, SmokeReport, StartReport
from planner.serve.log.events import ServerReady
from planner.serve.log.measured import Measured
from planner.serve.log.parser import parse_log
from planner.serve.process.endpoint import Endpoint
from planner.serve.process.record import RunRecord
from planner.serve.process.runs import place_run
from planner.serve.verification.chat import Piece, Turn
from planner.speed.answer import SpeedForecast, SpeedSection
from planner.speed.predict import forecast
from planner.speed.workload import Workload
from tui import news
from tui.app import M35App
from tui.backend import Backend
from tui.screens.launch import LaunchScreen
from tui.starting import Start
from tui.wizard import Answers, Step

from .world import NO_GPU, backend

RECORDED = Path(__file__).parent / "recorded"
LOG = Path(__file__).parents[1] / "fixtures" / "logs" / "reconstructed" / "v2-8xh200-0.33.0.log"
RUN_ID = "20260101-120000-abcd"
BORN_S = 1_767_265_200.0
MACHINES = ("8xH200", "1xH100", "1xMI300X")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One answer with everything that is drawn beside it."""

    plan: Plan
    levers: tuple[Lever, ...]
    curve: tuple[CurvePoint, ...]
    speed: SpeedForecast | None


_ADAPTER = TypeAdapter(Recording)
# A plan names its section on speed without importing it.
_ADAPTER.rebuild(_types_namespace={"SpeedSection": SpeedSection})


def record(gpus: str) -> None:
    """Ask the planner and keep what it says."""
    answer = plan(PlanRequest(gpus=parse_gpus(gpus)))
    answer.other_layouts.look()
    speed = None
    if answer.feasible:
        speed = forecast(answer, Workload(concurrency=1))
    kept = Recording(plan=answer, levers=all_levers(answer.request), curve=context_curve(answer), speed=speed)
    (RECORDED / f"{gpus}.json").write_bytes(_ADAPTER.dump_json(kept, indent=1, fallback=dict, warnings=False) + b"\n")


@cache
def recording(gpus: str) -> Recording:
    return _ADAPTER.validate_json((RECORDED / f"{gpus}.json").read_bytes())


def staged(gpus: str = "8xH200", **changes: Any) -> Backend:
    """A backend that answers from the record, whatever is asked: no figure of a picture moves with the planner."""
    kept = recording(gpus)
    doors: dict[str, Any] = {
        "plan": lambda request: dataclasses.replace(kept.plan, request=request),
        "levers": lambda _request: kept.levers,
        "curve": lambda _plan: kept.curve,
        "speed": lambda _plan, workload: dataclasses.replace(cast(SpeedForecast, kept.speed), workload=workload),
        "best": lambda _request, _load, _concurrency: kept.plan,
        "now": lambda: BORN_S + 161,
        "look_every_s": None,
        "verify": _verify,
        "metrics": lambda _url: metrics_page(0),
        "activity": busy_gpus,
        "plan_of": lambda _run: kept.plan,
        "chat": _chat,
        "review": _review,
    }
    return backend(**{**doors, **changes})


LOADED = (("prompt_tokens", 4096), ("output_tokens", 512), ("ttft_ms", 500.0), ("tpot_ms", 5.0))


def app_at(
    step: Step, *, gpus: str = "8xH200", doors: Backend | None = None, run_id: str | None = None, loaded: bool = False
) -> M35App:
    """The wizard at one step with recorded answers."""
    request = PlanRequest(gpus=parse_gpus(gpus), concurrency=16 if loaded else None)
    answers = Answers(request=request, run_id=run_id, load=LOADED if loaded else ())
    return M35App(backend=doors or staged(gpus), answers=answers, step=step)


METRICS = """\
vllm:num_requests_running{{engine="0"}} {running}.0
vllm:num_requests_waiting{{engine="0"}} {waiting}.0
vllm:kv_cache_usage_perc{{engine="0"}} {use}
vllm:request_success_total{{engine="0"}} {finished}.0
vllm:num_preemptions_total{{engine="0"}} {preempted}.0
vllm:generation_tokens_total{{engine="0"}} {out}.0
vllm:prompt_tokens_total{{engine="0"}} {into}.0
vllm:time_to_first_token_seconds_bucket{{engine="0",le="0.25"}} {half}.0
vllm:time_to_first_token_seconds_bucket{{engine="0",le="1.0"}} {finished}.0
vllm:time_to_first_token_seconds_bucket{{engine="0",le="+Inf"}} {finished}.0
vllm:time_to_first_token_seconds_sum{{engine="0"}} {half}.0
vllm:time_to_first_token_seconds_count{{engine="0"}} {finished}.0
vllm:inter_token_latency_seconds_bucket{{engine="0",le="0.01"}} {fast}.0
vllm:inter_token_latency_seconds_bucket{{engine="0",le="0.02"}} {most}.0
vllm:inter_token_latency_seconds_bucket{{engine="0",le="0.05"}} {out}.0
vllm:inter_token_latency_seconds_bucket{{engine="0",le="+Inf"}} {out}.0
vllm:inter_token_latency_seconds_sum{{engine="0"}} {waited}
vllm:request_prompt_tokens_bucket{{engine="0",le="+Inf"}} {finished}.0
vllm:request_prompt_tokens_sum{{engine="0"}} {into}.0
vllm:request_generation_tokens_bucket{{engine="0",le="+Inf"}} {finished}.0
vllm:request_generation_tokens_sum{{engine="0"}} {out}.0
"""


def metrics_page(n: int) -> str:
    """``/metrics`` at the n-th look, whose load rises and falls."""
    busy = 8 + 6 * (n % 7)
    out = 912_000 + 15_000 * n + 60 * busy
    return METRICS.format(
        running=busy, waiting=2 if busy > 40 else 0, use=min(0.99, 0.3 + 0.016 * busy), finished=1208 + 40 * n,
        preempted=n // 3 if n > 2 else 0, out=out, fast=out // 10,
        most=out * 9 // 10, waited=0.0135 * out, into=3_501_000 + 41_000 * n,
        half=604 + 20 * n,
    )  # fmt: skip


def busy_gpus() -> tuple[GpuActivity, ...]:
    return tuple(
        GpuActivity(
            vendor="nvidia", index=index, use_fraction=0.9 - 0.05 * index, used_bytes=round(127.9 * GIB),
            total_bytes=round(139.8 * GIB), power_w=650.0 - 10 * index, power_limit_w=700.0,
        )
        for index in range(8)
    )  # fmt: skip


def looks(count: int) -> list[news.MetricsRead]:
    """So many looks, ten seconds apart."""
    return [
        news.MetricsRead(metrics_page(n), at_s=BORN_S + 200 + 10 * n, alive=True, gpus=busy_gpus())
        for n in range(count)
    ]


SMOKE = (
    CheckResult(name="health", status="pass", seen="up, vLLM 0.33.0", duration_s=0.0),
    CheckResult(name="model", status="pass", seen="mistralai/Mistral-Medium-3.5-128B", duration_s=0.0),
    CheckResult(name="chat", status="pass", seen="'Hello there.', 5 tokens", duration_s=0.2),
    CheckResult(name="reasoning-high", status="pass", seen="reasoning '17 times 23 is', content '391'", duration_s=2.0),
    CheckResult(name="tool-auto", status="pass", seen='get_weather({"city": "Paris"})', duration_s=0.6),
    CheckResult(
        name="image",
        status="fail",
        seen="answered 400: At most 0 image(s) may be provided in one prompt.",
        hint="start the server without --language-model-only",
        duration_s=0.1,
    ),
    CheckResult(name="speculative", status="skip", seen="no draft, as planned", duration_s=0.0),
)


def _verify(url: str, _expected: object, _start: object, done: Callable[[CheckResult], None]) -> SmokeReport:
    for result in SMOKE:
        done(result)
    return SmokeReport(url=url, model="mistralai/Mistral-Medium-3.5-128B", checks=SMOKE, duration_s=3.0)


def _chat(_url: str, _model: str, turns: Sequence[Turn]) -> Iterator[Piece]:
    yield Piece(text="Bonjour! ")
    yield Piece(text=f"You said: {turns[-1].content}")


def _review(text: str, name: str, _gpus: object) -> Review:
    """What is found in the example, whatever the text is."""
    told: tuple[tuple[Severity, int, str, str], ...] = (
        ("error", 6, "tensor-parallel-size 16 needs 16 GPUs, and 8xH200 has 8", "`--tensor-parallel-size 8`"),
        ("warn", 10, "gpu-memory-utilization 0.95 leaves 7.0 GiB of a GPU for what lives outside the budget", ""),
        ("info", 4, "the image has no release in its name, so another day starts another one", "`:v0.33.0`"),
    )
    findings = tuple(
        Finding(
            code=f"kind/{line}", severity=severity, message=message, at=cast(Any, None), cure=cure, line=line, column=9,
            why="a server that was proved today is another one tomorrow", source="the engine's own words",
            edits=(Edit(0, 0, ""),) if cure else (), server="compose m35",
        )
        for severity, line, message, cure in told
    )  # fmt: skip
    server = ServerReview(
        kind="compose", name="m35", line=3, verdict="does-not-fit", stopped_by="setting", model=None, plan=None,
        vllm_version=None, judged_as="0.33.0", gpus="8xH200", findings=findings,
        reason="the engine refuses it: tensor-parallel-size 16 needs 16 GPUs, and 8xH200 has 8",
    )  # fmt: skip
    return Review(name=name, kind="compose", text=text, servers=(server,), findings=findings)


def finished_run() -> Run:
    """A run directory as a server leaves it, always the same."""
    answer = recording("8xH200").plan
    record_ = RunRecord(
        id=RUN_ID,
        created_at_s=BORN_S,
        target="local",
        endpoint=Endpoint(host="127.0.0.1", port=8000),
        argv=("vllm", "serve", answer.model.name),
        launcher_pid=1,
        launcher_start_ticks=1,
    )
    files = {
        "plan.json": TypeAdapter(dict[str, Any]).dump_json(to_json_value(plan_document(answer))).decode(),
    }
    run = place_run(record_, files, directory=None)
    run.log_path.write_bytes(LOG.read_bytes())
    return run


def checking(screen: LaunchScreen) -> None:
    """Let a check be under way that takes long."""
    screen.hear(news.CheckingBegun(docker=False, order=screen.start.order))
    screen.hear(news.Checked(CheckResult(name="vllm", status="pass", seen="vllm 0.33.0")))
    screen.hear(news.CheckStarted("arguments", at_s=BORN_S + 120))


def starting(screen: LaunchScreen, *, share: float) -> None:
    """Let a start be as far as `share` of its log."""
    log = LOG.read_bytes()
    cut = log.rfind(b"\n", 0, int(len(log) * share)) + 1
    screen.show(Start(state="starting"))
    half = log.rfind(b"\n", 0, cut // 2) + 1
    screen.hear(news.ServerNews(tuple(parse_log(log[:half])), log[:half], at_s=41.0))
    screen.hear(news.GpusSeen(detected(15.9, busy=range(8))))
    screen.hear(news.ServerNews(tuple(parse_log(log[:cut])), log[half:cut], at_s=161.0))
    screen.hear(news.GpusSeen(detected(126.3 * share, busy=range(8))))


def ready(screen: LaunchScreen) -> None:
    """Let the server be up."""
    starting(screen, share=1.0)
    up = ServerReady(url="http://127.0.0.1:8000", after_s=161.0, said_by="health and log")
    screen.hear(news.ServerNews((up,), b"", at_s=161.0))


NO_ROOM = (
    "ValueError: To serve at least one request with the models's max seq len (262144), (11.0 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (1.10 GiB)."
)


def failed(screen: LaunchScreen) -> None:
    """Let the start fail for want of memory."""
    from planner.serve.log.verdict import LogLine

    starting(screen, share=0.45)
    ending = f"(EngineCore pid=200) ERROR 11-20 09:02:43 [core.py:1100] {NO_ROOM}\n".encode()
    screen.hear(news.ServerNews((), ending, at_s=162.0))
    failure = Failure(
        code="max-model-len",
        title="the KV cache cannot hold one sequence of the requested length",
        phase="kv",
        term="kv_cache",
        evidence=(LogLine(number=67, text=NO_ROOM),),
        cures=("`--max-model-len 26208` or less: what the engine itself says would fit",),
    )
    screen.hear(news.StartReported(StartReport(outcome="failed", measured=Measured(), failure=failure)))


def detected(used_gib: float = 9.5, *, busy: Collection[int] = (1,), count: int = 8) -> DetectionReport:
    """A machine whose busy GPUs hold so much for somebody."""
    from hw_specs.detect.devices import DetectedGpu, GpuProcess

    gpus = tuple(
        DetectedGpu(
            vendor="nvidia",
            index=index,
            name="NVIDIA H200",
            uuid=f"GPU-{index}",
            pci_bus_id=f"00000000:0{index}:00.0",
            architecture="9.0",
            driver_total_bytes=150_754_820_096,
            engine_total_bytes=150_110_011_392,
            free_bytes=round((139.8 - used_gib * (index in busy)) * GIB),
            used_bytes=round(used_gib * (index in busy) * GIB),
            processes=(GpuProcess(pid=4711, name="python", used_bytes=round(used_gib * GIB)),) if index in busy else (),
            engine_index=index,
            catalogue_id="h200-sxm",
        )
        for index in range(count)
    )
    return dataclasses.replace(NO_GPU, gpus=gpus, problems=())


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    RECORDED.mkdir(exist_ok=True)
    for machine in MACHINES:
        record(machine)
