"""Stand-ins for vLLM's compiled operations, with the allocations that their real versions make; nothing is computed.

Almost every compiled operation writes into buffers that its Python caller allocated, so it may do nothing. The few that
allocate are given here as handlers, each with what it allocates.
"""

# ruff: noqa: ARG001, ARG005 - the signatures are those of what is stood in for
from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import torch

from oracle.inside.counter import Counter, Handler
from oracle.inside.hollow import HollowModule

COMPILED_MODULES = (
    "vllm._C",
    "vllm._C_stable_libtorch",
    "vllm._moe_C",
    "vllm._moe_C_stable_libtorch",
    "vllm._qutlass_C",
    "vllm._flashmla_C",
    "vllm._rocm_C",
    "vllm.cumem_allocator",
    "vllm.vllm_flash_attn._vllm_fa2_C",
    "vllm.vllm_flash_attn._vllm_fa3_C",
)
NAMESPACES = ("_C", "_moe_C", "_rocm_C", "_C_cache_ops", "_C_custom_ar", "_qutlass_C")
QUESTIONS = {
    "cutlass_scaled_mm_supports_fp8": lambda cc: cc >= 89,
    "cutlass_scaled_mm_supports_block_fp8": lambda cc: cc >= 90,
    "cutlass_group_gemm_supported": lambda cc: True,
}

active: list[Counter] = []
"""The counter in force, if any; the last one counts."""


class _InPlace:
    """An operation that writes into buffers it was given. One that should have returned a tensor fails its caller."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *_: Any, **__: Any) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self  # an overload


class _Namespace(types.ModuleType):
    """`torch.ops.<name>`: has every operation, as a complete build would."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        operation = _InPlace(name)
        setattr(self, name, operation)
        return operation


def _view_of_host_memory(tensor: torch.Tensor) -> torch.Tensor:
    """Host memory seen from the device: no device allocation."""
    counter = active[-1]
    with counter.uncounted():
        out = counter.new(tensor.shape, tensor.dtype)
    counter.count(out, size=0)
    return out


def install_compiled_ops(vendor: str) -> None:
    """Define the compiled modules and operations that vLLM's Python expects to find; before vLLM is imported."""
    for name in COMPILED_MODULES:
        sys.modules[name] = types.ModuleType(name)
    for namespace in NAMESPACES:
        if namespace != "_rocm_C" or vendor == "rocm":
            setattr(torch.ops, namespace, _Namespace(namespace))
    for name, answer in QUESTIONS.items():
        setattr(torch.ops._C, name, answer)
    torch.ops._C.get_cuda_view_from_cpu_tensor = _view_of_host_memory
    register = torch.library.register_fake

    def register_fake(op: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(op, str) and op.split("::")[0] in NAMESPACES:
            return lambda fn: fn
        return register(op, *args, **kwargs)

    torch.library.register_fake = register_fake
    passes = HollowModule("vllm.compilation.passes.pass_manager")
    sys.modules[passes.__name__] = passes


def install_fused_compile() -> None:
    """Make `torch.compile` of a small function one fused kernel: only its outputs are allocated."""

    def compile_(model: Any = None, *_: Any, **__: Any) -> Any:
        def fuse(fn: Any) -> Any:
            def fused(*args: Any, **kwargs: Any) -> Any:
                if not active:
                    return fn(*args, **kwargs)
                with active[-1].uncounted():
                    out = fn(*args, **kwargs)
                active[-1].count(out)
                return out

            return fused

        return fuse(model) if model is not None else fuse

    torch.compile = compile_


def install_kernel_dispatch() -> None:
    """Run the dispatch functions of Triton kernels (they allocate) without launching; where the release has them."""
    try:
        helper: Any = importlib.import_module("vllm.model_executor.warmup.jit_warmup_triton_helper")
    except ImportError:
        return

    def dispatcher(*, warmup_inputs: Any, kernel: Any = None) -> Any:
        def decorate(dispatch: Any) -> Any:
            if kernel is None:
                return dispatch

            def launch(*args: Any, **kwargs: Any) -> Any:
                spec = dispatch(*args, **kwargs)
                return spec[2] if len(spec) == 3 else None

            launch.register_warmup = lambda *_, **__: None  # type: ignore[attr-defined]
            launch.get_warmup_keys = lambda *_, **__: []  # type: ignore[attr-defined]
            return launch

        return decorate

    helper.triton_kernel_dispatcher_with_warmup = dispatcher


def _flash_attention(counter: Counter, func: Any, args: Any, kwargs: Any) -> Any:
    """Variable-length attention: the output, the softmax sums [heads, tokens] in FP32 and one copy of the bounds."""
    query = args[0]
    bounds = args[7] if len(args) > 7 and isinstance(args[7], torch.Tensor) else None
    with counter:
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        held = [torch.empty_like(bounds)] if bounds is not None else []
        tokens = query.shape[0] * (query.shape[1] if query.dim() == 4 else 1)
        held.append(torch.empty((query.shape[-2], tokens), dtype=torch.float32, device=query.device))
    del held
    return out


def _plain_attention(counter: Counter, func: Any, args: Any, kwargs: Any) -> Any:
    """Triton attention of the vision tower: the output only."""
    with counter:
        return torch.empty_like(args[0], memory_format=torch.contiguous_format)


def _scaled_dot_product(counter: Counter, func: Any, args: Any, kwargs: Any) -> Any:
    """Memory-efficient attention with a dense mask.

    Flash attention refuses a mask and vLLM switches cuDNN off. ATen pads (copies) a mask whose rows are not a multiple
    of 8 elements.
    """
    query = args[0]
    mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
    batch, heads, tokens, width = query.shape
    with counter:
        padded = None
        if mask is not None and mask.shape[-1] % 8:
            padded = torch.empty((*mask.shape[:-1], -(-mask.shape[-1] // 8) * 8), dtype=mask.dtype, device=mask.device)
        out = torch.empty((batch, tokens, heads, width), dtype=query.dtype, device=query.device).transpose(1, 2)
    del padded
    return out


def _all_gather(counter: Counter, func: Any, args: Any, kwargs: Any) -> Any:
    from vllm.distributed import parallel_state

    group: Any = parallel_state._groups[args[3]]()
    with counter:
        return group._all_gather_out_place(args[0], args[1])


def _all_reduce(counter: Counter, func: Any, args: Any, kwargs: Any) -> Any:
    from vllm.distributed import parallel_state

    group: Any = parallel_state._groups[args[1]]()
    with counter:
        return group._all_reduce_out_place(args[0])


def handlers() -> dict[str, Handler]:
    """Operations that are counted otherwise than torch's fake mode would; after vLLM is imported."""
    table: dict[str, Handler] = {
        "vllm::flash_attn_maxseqlen_wrapper": _flash_attention,
        "vllm::triton_attn_wrapper": _plain_attention,
        "vllm::all_gather": _all_gather,
        "vllm::all_reduce": _all_reduce,
        "aten::scaled_dot_product_attention": _scaled_dot_product,
    }
    try:
        registry = importlib.import_module("vllm.ir.op").IrOp.registry
        importlib.import_module("vllm.kernels")
    except ImportError:
        return table
    for name in registry:
        table["vllm_ir::" + name] = _intermediate
    return table


def _intermediate(counter: Counter, func: Any, args: Any, kwargs: Any) -> Any:
    """An operation of vLLM's intermediate representation: run the implementation that its priority list picks."""
    from vllm.ir.op import IrOp

    op: Any = IrOp.registry[func._schema.name.split("::")[1]]
    with counter:
        if func._overloadname == "maybe_inplace":
            return op.dispatch(*args, **kwargs).impl_fn(*args, **kwargs)
        return op._inner_call(*args, **kwargs)
