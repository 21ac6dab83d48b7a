"""Builds vLLM's real configuration and its real model runner on the pretended device; it runs no request."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from oracle.inside import kernels, ranks
from oracle.inside.counter import DEVICE, Counter, counting


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One start-up to look at, in vLLM's own names."""

    model: str
    draft: str = ""
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    rank: int = 0
    max_num_batched_tokens: int = 8192
    max_num_seqs: int = 1024
    enforce_eager: bool = True
    language_model_only: bool = False
    speculative_tokens: int = 0
    extra: tuple[tuple[str, Any], ...] = ()
    mistral_format: bool = True


def configure(setup: Setup, **overrides: Any) -> Any:
    """The `VllmConfig` that a server with these flags would build."""
    from vllm.engine.arg_utils import EngineArgs

    arguments: dict[str, Any] = {
        "model": setup.model,
        "load_format": "dummy",
        "tensor_parallel_size": setup.tensor_parallel_size,
        "pipeline_parallel_size": setup.pipeline_parallel_size,
        "max_num_batched_tokens": setup.max_num_batched_tokens,
        "max_num_seqs": setup.max_num_seqs,
        "enforce_eager": setup.enforce_eager,
        **dict(setup.extra),
    }
    if setup.mistral_format:
        arguments |= {"tokenizer_mode": "mistral", "config_format": "mistral"}
    else:
        arguments |= {"skip_tokenizer_init": True}
    if setup.language_model_only:
        arguments["language_model_only"] = True
    if setup.speculative_tokens:
        arguments["speculative_config"] = {
            "model": setup.draft,
            "method": "eagle",
            "num_speculative_tokens": setup.speculative_tokens,
        }
    arguments |= overrides
    known = {f.name for f in dataclasses.fields(EngineArgs)}
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise ValueError(f"this release does not know {', '.join(unknown)}")
    return EngineArgs(**arguments).create_engine_config()


def uses_v2(config: Any) -> bool:
    """Whether this release runs this model on the V2 model runner."""
    answer = getattr(config, "use_v2_model_runner", None)
    if isinstance(answer, bool):
        return answer
    return os.environ.get("VLLM_USE_V2_MODEL_RUNNER") == "1"


@dataclass(slots=True)
class Started:
    """A runner in the world of one rank, with the counter that watches it."""

    setup: Setup
    config: Any
    counter: Counter
    runner: Any
    v2: bool
    init_bytes: int
    loaded_bytes: int = 0
    transient_bytes: int = 0
    after_load_bytes: int = 0
    before_load: frozenset[int] = frozenset()
    before_sampler: frozenset[int] = frozenset()


def _forget_caches() -> None:
    """Buffers that live in module globals belong to one process; a new start-up begins without them."""
    rotary: Any = importlib.import_module("vllm.model_executor.layers.rotary_embedding")
    rotary._ROPE_DICT.clear()
    with contextlib.suppress(ImportError):
        triton: Any = importlib.import_module("vllm.v1.sample.ops.topk_topp_triton")
        for name in dir(triton):
            if name.startswith("_TRITON_") and name.endswith("_CACHE"):
                getattr(triton, name).clear()
    for clear in _forgetters:
        clear()


_forgetters: list[Any] = []
"""Functions that empty the caches of stand-ins."""


def on_new_start(clear: Any) -> None:
    """Register a cache of a stand-in, emptied before every start-up."""
    _forgetters.append(clear)


@contextlib.contextmanager
def world(setup: Setup, config: Any) -> Iterator[Counter]:
    """Play `setup.rank` with an empty device."""
    from vllm.config import set_current_vllm_config

    ranks.become(
        config,
        tensor_parallel_size=setup.tensor_parallel_size,
        pipeline_parallel_size=setup.pipeline_parallel_size,
        rank=setup.rank,
    )
    _forget_caches()
    gc.collect()
    with counting(kernels.handlers()) as counter, set_current_vllm_config(config):
        kernels.active.append(counter)
        try:
            yield counter
        finally:
            kernels.active.pop()


def _worker_preparations(config: Any) -> None:
    """What a worker does before it builds its runner and what allocations depend on."""
    with contextlib.suppress(ImportError, AttributeError):
        ir: Any = importlib.import_module("vllm.ir")
        config.kernel_config.ir_op_priority.set_default()
        wrap = getattr(config.compilation_config, "ir_enable_torch_wrap", None)
        if wrap is not None:
            ir.set_default_torch_wrap(wrap)
    with contextlib.suppress(ImportError):
        workspace: Any = importlib.import_module("vllm.v1.worker.workspace")
        workspace.init_workspace_manager(DEVICE)


@contextlib.contextmanager
def started(setup: Setup, config: Any, *, remember_where: bool = False) -> Iterator[Started]:
    """Build the runner and load the model with dummy weights, as a worker does."""
    with world(setup, config) as counter:
        counter.remember_where = remember_where
        _worker_preparations(config)
        v2 = uses_v2(config)
        module: Any = importlib.import_module(
            "vllm.v1.worker.gpu.model_runner" if v2 else "vllm.v1.worker.gpu_model_runner"
        )
        runner = module.GPUModelRunner(config, DEVICE)
        start = Started(setup, config, counter, runner, v2, counter.current)
        start.before_load = frozenset(counter.live)
        _load(start, module)
        for model in (runner.model, draft_model(runner)):
            for part in model.modules() if model is not None else ():
                if hasattr(part, "do_not_compile"):
                    part.do_not_compile = True
        yield start


def draft_model(runner: Any) -> Any:
    """The loaded draft model, or None."""
    holder = getattr(runner, "speculator", None) or getattr(runner, "drafter", None)
    return getattr(holder, "model", None)


def _load(start: Started, module: Any) -> None:
    counter = start.counter
    base = counter.current
    state_init = getattr(module, "init_model_state", None)
    marks: dict[str, Any] = {}

    def loaded() -> None:
        marks["loaded"] = counter.current
        marks["ids"] = frozenset(counter.live)

    if start.v2 and state_init is not None:

        def first_after_loading(*args: Any, **kwargs: Any) -> Any:
            loaded()
            counter.enter_phase("buffers")
            return state_init(*args, **kwargs)

        module.init_model_state = first_after_loading
    counter.truth = True  # requantisation asks whether shards were loaded
    counter.enter_phase("load")
    try:
        start.runner.load_model()
    finally:
        counter.truth = False
        if state_init is not None:
            module.init_model_state = state_init
    if not marks:
        loaded()
    start.loaded_bytes = marks["loaded"] - base
    start.transient_bytes = counter.phases["load"] - marks["loaded"]
    start.after_load_bytes = counter.current - marks["loaded"]
    start.before_sampler = marks["ids"]


def install() -> None:
    """Switch off what would only cost time: filling dummy weights and inspecting models in a subprocess."""
    for name in ("dummy_loader", "weight_utils"):
        module: Any = importlib.import_module(f"vllm.model_executor.model_loader.{name}")
        for function in ("initialize_single_dummy_weight", "initialize_dummy_weights"):
            if hasattr(module, function):
                setattr(module, function, lambda *_, **__: None)
    registry: Any = importlib.import_module("vllm.model_executor.models.registry")
    registry._run_in_subprocess = lambda fn: fn()


def model_of(start: Started) -> torch.nn.Module:
    """The loaded target model."""
    return start.runner.model


def draft_of(start: Started) -> Any:
    """The loaded draft model, or None."""
    return draft_model(start.runner)
