"""A vLLM plugin that notes the engine's own memory figures in bytes; it never changes what the engine decides.

Loaded through the entry point group ``vllm.general_plugins``. With ``M35_PROBE_FILE`` set, every worker appends one
JSON object per event: the snapshot before the weights, the load, the profile run, the graph estimate, the KV cache,
the capture. With ``M35_PROBE_PHASES=1`` the profile run's parts are repeated, one by one, *after* the engine has
fixed its KV budget, so that each part's peak is known. With ``M35_PROBE_HISTORY=1`` every allocation of the profile
run is recorded and those alive at its peak are noted; with ``M35_PROBE_STEPS=FILE`` every step of the scheduler;
with ``M35_PROBE_GROWTH=1`` every growth of torch's memory under load, with ``stacks`` who asked for it. Only
``M35_PROBE_BATCHES=N`` changes something: how many batches may be in flight.

With ``M35_PROBE_WEIGHTS=1`` dummy weights are spread over FP8's range. vLLM's own are within ±1e-3, which FP8 rounds
to zero, and a product with zeros runs faster than the real one. Sizes and types stay as they are.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import m35_watch
from m35_watch import note

SCALE = 1e-3
"""For every per-tensor scale: weights and activations stay finite through any number of layers."""
LARGEST = 240.0
"""FP8 weights are drawn from ±this, stored units (E4M3 ends at 448)."""

_patched = False


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
    figures = {name: int(getattr(snapshot, name)) for name in names if hasattr(snapshot, name)}
    if hasattr(snapshot, "torch_allocated"):
        figures["torch_allocated"] = int(snapshot.torch_allocated)
    return figures


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
            note("probe_error", where=name, error=repr(error))
        return result

    setattr(owner, name, wrapper)


def _on_init(worker: Any, _: Any) -> None:
    note(
        "init_device",
        requested_bytes=int(worker.requested_memory),
        snapshot=_snapshot(worker.init_snapshot),
        model_runner=type(worker.model_runner).__module__,
        **_device(),
    )
    import torch

    torch.cuda.reset_peak_memory_stats()


def _on_load(worker: Any, _: Any) -> None:
    note("load_model", model_bytes=int(worker.model_runner.model_memory_usage), **_device())


def _on_available(worker: Any, result: Any) -> None:
    names = ("peak_activation_memory", "non_torch_memory", "cudagraph_memory_estimate", "total_consumed")
    figures = {f"{name}_bytes": int(getattr(worker, name)) for name in names if hasattr(worker, name)}
    note("available", available_bytes=int(result), **figures, **_device())
    if os.environ.get("M35_PROBE_PHASES") == "1":
        _phases(worker)


def _on_kv(worker: Any, _: Any) -> None:
    note("kv_cache", num_blocks=worker.cache_config.num_gpu_blocks, **_device())


def _on_ready(_worker: Any, _: Any) -> None:
    note("warmed_up", **_device())


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
        note(
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
        if second and getattr(runner, "supports_mm_inputs", False):
            from vllm.multimodal.encoder_budget import MultiModalBudget

            mm_budget = MultiModalBudget(runner.vllm_config, runner.mm_registry, enable_cache=False)
            inputs = mm_budget.get_dummy_encoder_profile_inputs()
            if inputs:
                with measured("encoder", items=len(inputs)):
                    outputs = runner.model_state.encoder_runner.execute_mm_encoder(inputs)
            del inputs
        tokens = runner.max_num_tokens
        with measured("forward", tokens=tokens):
            _, last = runner._dummy_run(tokens, is_profile=True, **({"skip_attn": True} if second else {}))
        del _
        if last is not None:
            with measured("logits", rows=int(last.shape[0])):
                logits = runner.model.compute_logits(last)
            del logits
            with measured("sampler", rows=int(last.shape[0])):
                runner._dummy_sampler_run(last)
            if second:
                _sampler_passes(runner, last, measured)
        del last, outputs
        gc.collect()
        torch.cuda.empty_cache()
    note("phases_done", **_device())


def _sampler_passes(runner: Any, last: Any, measured: Any) -> None:
    """The two passes that the second runner profiles one after the other, each without its logits."""
    from vllm import SamplingParams
    from vllm.v1.worker.gpu.input_batch import InputBatch

    if not hasattr(SamplingParams, "for_sampler_warmup"):
        return
    rows = int(last.shape[0])
    logits = runner.model.compute_logits(last)
    batch = InputBatch.make_dummy(rows, rows, runner.input_buffers)
    with measured("sampler, default", rows=rows):
        runner.sampler(logits, batch)
    parameters = SamplingParams.for_sampler_warmup()
    for row in range(rows):
        runner.sampler.add_request(row, parameters)
    runner.sampler.apply_staged_writes()
    with measured("sampler, every parameter", rows=rows):
        runner.sampler(logits, batch)


def _spread_weights() -> None:
    import torch
    from vllm.model_executor.model_loader import weight_utils

    plain = weight_utils.initialize_single_dummy_weight
    seen: set[tuple[int, int]] = set()

    @torch.no_grad()
    def spread(param: Any, *args: Any, **kwargs: Any) -> None:
        if param.device.type == "meta" or hasattr(param, "dummy_weight_value"):
            plain(param, *args, **kwargs)
            return
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
        _after(runner, "profile_cudagraph_memory", lambda _, value: note("graphs_estimated", bytes=int(value)))
        _after(runner, "capture_model", lambda _, value: note("graphs_captured", bytes=int(value), **_device()))

    with contextlib.suppress(ImportError, AttributeError):
        m35_watch.watch_captures()
    if steps := os.environ.get("M35_PROBE_STEPS"):
        m35_watch.watch_steps(steps)
    if growth := os.environ.get("M35_PROBE_GROWTH"):
        m35_watch.watch_growth(stacks=growth == "stacks")
    if batches := os.environ.get("M35_PROBE_BATCHES"):
        m35_watch.limit_batches(int(batches))
    connect = gpu_worker.init_worker_distributed_environment

    def connected(*args: Any, **kwargs: Any) -> Any:
        import torch

        before = torch.cuda.mem_get_info()
        result = connect(*args, **kwargs)
        after = torch.cuda.mem_get_info()
        with contextlib.suppress(Exception):
            from vllm.distributed.parallel_state import get_tp_group

            one = get_tp_group().device_communicator
            kinds = ("pynccl_comm", "ca_comm", "symm_mem_comm", "fi_ar_comm")
            parts = {name: getattr(one, name, None) for name in kinds}
            note(
                "communicators",
                **{
                    name: None if part is None else not getattr(part, "disabled", False) for name, part in parts.items()
                },
            )
        note(
            "distributed",
            free_before_bytes=before[0],
            free_after_bytes=after[0],
            total_bytes=after[1],
            torch_reserved_bytes=torch.cuda.memory_stats().get("reserved_bytes.all.current", 0),
        )
        return result

    gpu_worker.init_worker_distributed_environment = connected
    profiling = gpu_worker.memory_profiling

    @contextlib.contextmanager
    def noted(*args: Any, **kwargs: Any) -> Iterator[Any]:
        recorded = m35_watch.allocations() if os.environ.get("M35_PROBE_HISTORY") == "1" else contextlib.nullcontext()
        with profiling(*args, **kwargs) as result, recorded:
            yield result
        note(
            "profile",
            weights_bytes=int(result.weights_memory),
            torch_peak_increase_bytes=int(result.torch_peak_increase),
            non_torch_increase_bytes=int(result.non_torch_increase),
            total_consumed_bytes=int(getattr(result, "total_consumed", 0)),
            transient_peak_headroom_bytes=int(getattr(result, "transient_peak_headroom", 0)),
            non_kv_cache_bytes=int(result.non_kv_cache_memory),
            profile_s=round(float(result.profile_time), 3),
            before=_snapshot(result.before_profile),
            after=_snapshot(result.after_profile),
        )

    gpu_worker.memory_profiling = noted
