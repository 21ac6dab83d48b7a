"""What the probe notes beside the budget: allocations at a peak, graphs by size, the scheduler's steps."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_DRAFTED = 8
"""A request with no more tokens than this in a step decodes: one, and those of a draft."""


def note(event: str, **figures: object) -> None:
    """Append one event to the probe's file."""
    path = os.environ.get("M35_PROBE_FILE")
    if not path:
        return
    rank = None
    with contextlib.suppress(Exception):
        import torch.distributed as dist

        rank = dist.get_rank() if dist.is_initialized() else None
    record = {"event": event, "rank": rank, "pid": os.getpid(), "time_s": round(time.time(), 3), **figures}
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, default=str) + "\n")


@contextlib.contextmanager
def allocations() -> Iterator[None]:
    """Note what was alive at the peak, by the Python stack that asked for it; the engine is slower meanwhile."""
    import torch

    memory = torch.cuda.memory
    memory._record_memory_history(max_entries=4_000_000, stacks="python")
    yield
    trace = memory._snapshot()["device_traces"][torch.cuda.current_device()]
    memory._record_memory_history(enabled=None)
    total, sums = 0, []
    for entry in trace:
        if entry["action"] == "alloc":
            total += entry["size"]
        elif entry["action"] == "free_completed":
            total -= entry["size"]
        sums.append(total)
    last = max(range(len(sums)), key=sums.__getitem__) if sums else -1
    alive: dict[int, dict[str, Any]] = {}
    for entry in trace[: last + 1]:
        if entry["action"] == "alloc":
            alive[entry["addr"]] = entry
        elif entry["action"] == "free_completed":
            alive.pop(entry["addr"], None)
    at_peak = []
    for entry in sorted(alive.values(), key=lambda one: -one["size"])[:60]:
        frames = [f"{one['filename']}:{one['line']} {one['name']}" for one in entry.get("frames", [])]
        at_peak.append({"bytes": entry["size"], "frames": frames[:45]})
    note("allocations", peak_bytes=sums[last] if sums else 0, events=len(trace), alive=len(alive), at_peak=at_peak)


def watch_captures() -> None:
    """Note the free memory before every size of a capture, and the samples that the estimate is made from."""
    import torch
    from vllm.v1.worker.gpu import cudagraph_utils

    manager = cudagraph_utils.CudaGraphManager
    capture = manager.capture

    def watched(self: Any, create_forward_fn: Any, *args: Any, **kwargs: Any) -> Any:
        sizes: list[list[object]] = []

        def state() -> list[int]:
            torch.cuda.synchronize()
            stats = torch.cuda.memory_stats()
            return [
                torch.cuda.mem_get_info()[0],
                stats.get("reserved_bytes.all.current", 0),
                stats.get("allocated_bytes.all.current", 0),
            ]

        def create(desc: Any, *inner: Any, **named: Any) -> Any:
            if named.get("warmup", True) and not (inner and inner[0] is False):
                sizes.append([desc.cg_mode.name, desc.num_tokens, desc.num_reqs, *state()])
            return create_forward_fn(desc, *inner, **named)

        if self._capture_mem_samples is None:
            self._capture_mem_samples = []
        result = capture(self, create, *args, **kwargs)
        with contextlib.suppress(Exception):
            note(
                "captures",
                manager=type(self).__name__,
                profile=self._max_full_descs_to_capture is not None,
                columns="mode, tokens, requests, free, reserved, allocated (bytes, before it)",
                sizes=sizes,
                end=state(),
                full_samples_bytes=list(self._capture_mem_samples),
            )
        return result

    manager.capture = watched
    extrapolate = cudagraph_utils._extrapolate_full_graph_memory

    def extrapolated(samples: list[int], total: int) -> int:
        result = extrapolate(samples, total)
        note("full_graphs_estimated", samples_bytes=list(samples), graphs=total, bytes=int(result))
        return int(result)

    cudagraph_utils._extrapolate_full_graph_memory = extrapolated


def watch_steps(path: str) -> None:
    """One line for every step of the engine: when, how long the host took, how many tokens and requests."""
    from vllm.v1.core.sched.scheduler import Scheduler

    lines: list[str] = []

    def keep(line: list[object]) -> None:
        lines.append(json.dumps(line))
        if len(lines) >= 50:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
            lines.clear()

    schedule, update = Scheduler.schedule, Scheduler.update_from_output

    def scheduled(self: Any, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        output = schedule(self, *args, **kwargs)
        took = time.perf_counter() - began
        counts = list(output.num_scheduled_tokens.values())
        prefill = [one for one in counts if one > MOST_DRAFTED]
        if counts:
            keep(
                [
                    "s",
                    round(began, 6),
                    round(took, 6),
                    sum(counts),
                    len(counts),
                    sum(prefill),
                    len(prefill),
                    len(self.waiting),
                ]
            )
        return output

    def updated(self: Any, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        output = update(self, *args, **kwargs)
        keep(["u", round(began, 6), round(time.perf_counter() - began, 6)])
        return output

    Scheduler.schedule, Scheduler.update_from_output = scheduled, updated


def watch_growth(*, stacks: bool) -> None:
    """Note when torch's reserved memory grows while requests are served, and at which step; with `stacks` who asked.

    The stacks cost time at every allocation: no step of such a server is worth measuring.
    """
    import torch
    from vllm.v1.worker.gpu_worker import Worker

    steps, reserved, seen_us = 0, -1, 0
    recording = False

    def look(where: str, tokens: int, requests: int) -> None:
        nonlocal reserved, seen_us, recording
        device = torch.cuda.current_device()
        stats = torch._C._cuda_memoryStats(device)
        now = stats["reserved_bytes"]["all"]["current"]
        if stacks and not recording:
            torch.cuda.memory._record_memory_history(max_entries=20_000, stacks="python")
            recording = True
        if now == reserved and steps % 500:
            return
        asked = []
        if stacks and now > reserved >= 0:
            for entry in torch.cuda.memory._snapshot()["device_traces"][device]:
                if entry["action"] == "segment_alloc" and entry["time_us"] > seen_us:
                    seen_us = entry["time_us"]
                    frames = [f"{one['filename']}:{one['line']} {one['name']}" for one in entry.get("frames", [])]
                    asked.append({"bytes": entry["size"], "frames": frames[:16]})
        if now != reserved or where == "forward":
            allocated = stats["allocated_bytes"]["all"]
            note(
                "growth", where=where, step=steps, at_s=round(time.monotonic(), 4), tokens=tokens, requests=requests,
                torch_reserved_bytes=now, torch_allocated_bytes=allocated["current"],
                torch_peak_bytes=allocated["peak"], free_bytes=torch.cuda.mem_get_info()[0], asked=asked,
            )  # fmt: skip
        reserved = now

    execute, sample = Worker.execute_model, Worker.sample_tokens

    def looked(where: str, tokens: int, requests: int) -> None:
        try:
            look(where, tokens, requests)
        except Exception as error:
            note("probe_error", where="growth", error=repr(error))

    def executed(self: Any, scheduler_output: Any) -> Any:
        nonlocal steps
        result = execute(self, scheduler_output)
        steps += 1
        looked("forward", scheduler_output.total_num_scheduled_tokens, len(scheduler_output.num_scheduled_tokens))
        return result

    def sampled(self: Any, grammar_output: Any) -> Any:
        result = sample(self, grammar_output)
        looked("sample", 0, 0)
        return result

    Worker.execute_model, Worker.sample_tokens = executed, sampled


def limit_batches(count: int) -> None:
    """Let the engine have at most `count` batches in flight; its own figure is stages plus one."""
    from vllm.config import VllmConfig

    VllmConfig.max_concurrent_batches = property(lambda _: count)
