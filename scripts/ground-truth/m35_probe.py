"""A vLLM plugin that notes the engine's own memory figures in bytes; it never changes what the engine decides.

Loaded through the entry point group ``vllm.general_plugins``. With ``M35_PROBE_FILE`` set, every worker appends one
JSON object per event: the snapshot before the weights, the load, the profile run, the graph estimate, the KV cache,
the capture. With ``M35_PROBE_PHASES=1`` the profile run's parts are repeated, one by one, *after* the engine has
fixed its KV budget, so that each part's peak is known (the encoder's with the V1 runner only).

With ``M35_PROBE_WEIGHTS=1`` dummy weights are spread over FP8's range. vLLM's own are within ±1e-3, which FP8 rounds
to zero, and a product with zeros runs faster than the real one. Sizes and types stay as they are.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SCALE = 1e-3
"""For every per-tensor scale: weights and activations stay finite through any number of layers."""
LARGEST = 240.0
"""FP8 weights are drawn from ±this, stored units (E4M3 ends at 448)."""

_patched = False


def _note(event: str, **figures: object) -> None:
    path = os.environ.get("M35_PROBE_FILE")
    if not path:
        return
    record = {"event": event, "pid": os.getpid(), "time_s": round(time.time(), 3), **figures}
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, default=str) + "\n")


def _device() -> dict[str, int]:
    import torch

    free, total = torch.cuda.mem_get_info()
    stats = torch.cuda.memory_stats()
    return {
        "free_bytes": free,
        "total_bytes": total,
        "torch_allocated_bytes": stats.get("allocated_bytes.all.current", 0),
        "torch_peak_bytes": stats.get("allocated_bytes.all.peak", 0),
        "torch_reserved_bytes": stats.get("reserved_bytes.all.current", 0),
    }


def _snapshot(snapshot: Any) -> dict[str, int]:
    names = ("free_memory", "total_memory", "cuda_memory", "torch_memory", "non_torch_memory", "torch_peak")
    return {name: int(getattr(snapshot, name)) for name in names if hasattr(snapshot, name)}


def _after(owner: Any, name: str, note: Callable[[Any, Any], None]) -> None:
    """Call `note(self, result)` after `owner.name`; an error in a note is noted and goes no further."""
    original = getattr(owner, name, None)
    if original is None:
        return

    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        try:
            note(self, result)
        except Exception as error:
            _note("probe_error", where=name, error=repr(error))
        return result

    setattr(owner, name, wrapper)


def _on_init(worker: Any, _: Any) -> None:
    _note(
        "init_device",
        requested_bytes=int(worker.requested_memory),
        snapshot=_snapshot(worker.init_snapshot),
        model_runner=type(worker.model_runner).__module__,
        **_device(),
    )
    import torch

    torch.cuda.reset_peak_memory_stats()


def _on_load(worker: Any, _: Any) -> None:
    _note("load_model", model_bytes=int(worker.model_runner.model_memory_usage), **_device())


def _on_available(worker: Any, result: Any) -> None:
    names = ("peak_activation_memory", "non_torch_memory", "cudagraph_memory_estimate")
    figures = {f"{name}_bytes": int(getattr(worker, name)) for name in names if hasattr(worker, name)}
    _note("available", available_bytes=int(result), **figures, **_device())
    if os.environ.get("M35_PROBE_PHASES") == "1":
        _phases(worker)


def _on_kv(worker: Any, _: Any) -> None:
    _note("kv_cache", num_blocks=worker.cache_config.num_gpu_blocks, **_device())


def _on_ready(_worker: Any, _: Any) -> None:
    _note("warmed_up", **_device())


def _phases(worker: Any) -> None:
    import torch

    runner = worker.model_runner

    @contextlib.contextmanager
    def measured(phase: str, **figures: object) -> Iterator[None]:
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        base = torch.cuda.memory_stats()["allocated_bytes.all.current"]
        yield
        torch.cuda.synchronize()
        stats = torch.cuda.memory_stats()
        _note(
            "phase",
            phase=phase,
            peak_bytes=stats["allocated_bytes.all.peak"] - base,
            left_bytes=stats["allocated_bytes.all.current"] - base,
            **figures,
        )

    second = "worker.gpu." in type(runner).__module__
    with torch.inference_mode():
        outputs = None
        budget = getattr(runner, "mm_budget", None)
        if not second and runner.supports_mm_inputs and budget is not None and budget.get_encoder_budget() > 0:
            modality = budget.get_modality_with_max_tokens()
            items = budget.mm_max_items_per_batch[modality]
            with measured("encoder", items=items):
                batch = runner._get_mm_dummy_batch(modality, items)
                outputs = runner.model.embed_multimodal(**batch)
            del batch
        tokens = runner.max_num_tokens
        with measured("forward", tokens=tokens):
            _, last = runner._dummy_run(tokens, is_profile=True, **({"skip_attn": True} if second else {}))
        del _
        with measured("logits", rows=int(last.shape[0])):
            runner.model.compute_logits(last)
        with measured("sampler", rows=int(last.shape[0])):
            runner._dummy_sampler_run(last)
        del last, outputs
        gc.collect()
        torch.cuda.empty_cache()
    _note("phases_done", **_device())


def _spread_weights() -> None:
    import torch
    from vllm.model_executor.model_loader import weight_utils

    plain = weight_utils.initialize_single_dummy_weight
    seen: set[tuple[int, int]] = set()

    @torch.no_grad()
    def spread(param: Any, *args: Any, **kwargs: Any) -> None:
        # The loader visits every parent module and would fill each weight several times.
        place = (param.data_ptr(), param.numel())
        if place in seen:
            return
        seen.add(place)
        if param.dtype == torch.float8_e4m3fn:
            generator = torch.Generator(device=param.device).manual_seed(35)
            for row in param.data.split(4096):
                values = torch.empty(row.shape, dtype=torch.float16, device=row.device)
                row.copy_(values.uniform_(-LARGEST, LARGEST, generator=generator))
        elif param.dtype == torch.float32 and param.numel() <= 4:
            param.data.fill_(SCALE)
        else:
            plain(param, *args, **kwargs)

    weight_utils.initialize_single_dummy_weight = spread


def _quiet(record: logging.LogRecord) -> bool:
    """Of the runner's DEBUG lines keep the graph estimate's samples; the others come with every step."""
    return record.levelno > logging.DEBUG or str(record.msg).startswith("Estimated")


def register() -> None:
    """Entry point: put the notes into this process's engine classes."""
    logging.getLogger("vllm.v1.worker.gpu_model_runner").addFilter(_quiet)
    global _patched
    if _patched or not os.environ.get("M35_PROBE_FILE"):
        return
    _patched = True
    if os.environ.get("M35_PROBE_WEIGHTS") == "1":
        _spread_weights()
    from vllm.platforms import current_platform

    if not current_platform.is_cuda_alike():
        return
    from vllm.v1.worker import gpu_worker

    worker = gpu_worker.Worker
    _after(worker, "init_device", _on_init)
    _after(worker, "load_model", _on_load)
    _after(worker, "determine_available_memory", _on_available)
    _after(worker, "initialize_from_config", _on_kv)
    _after(worker, "compile_or_warm_up_model", _on_ready)

    from vllm.v1.worker.gpu.model_runner import GPUModelRunner as SecondRunner
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner as FirstRunner

    for runner in (FirstRunner, SecondRunner):
        _after(runner, "profile_cudagraph_memory", lambda _, value: _note("graphs_estimated", bytes=int(value)))
        _after(runner, "capture_model", lambda _, value: _note("graphs_captured", bytes=int(value), **_device()))

    profiling = gpu_worker.memory_profiling

    @contextlib.contextmanager
    def noted(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with profiling(*args, **kwargs) as result:
            yield result
        _note(
            "profile",
            weights_bytes=int(result.weights_memory),
            torch_peak_increase_bytes=int(result.torch_peak_increase),
            non_torch_increase_bytes=int(result.non_torch_increase),
            profile_s=round(float(result.profile_time), 3),
            before=_snapshot(result.before_profile),
            after=_snapshot(result.after_profile),
        )

    gpu_worker.memory_profiling = noted
