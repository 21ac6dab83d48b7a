"""Hollow modules: stand-ins for packages whose work happens on a GPU and allocates nothing in Python.

Kernels are launched with buffers that their Python callers allocated, so a kernel that does nothing leaves the account
of bytes right. FlashInfer's `sampling.py` does allocate, so it is the real file.
"""

# ruff: noqa: ARG002 - the signatures are those of what is stood in for
from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from pathlib import Path
from typing import Any

import torch


class Anything:
    """Answers every question with itself; stands for names that are only looked up."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Anything()

    def __getitem__(self, _: Any) -> Any:
        return Anything()

    def __iter__(self) -> Any:
        return iter(())

    def __hash__(self) -> int:
        return 0

    def _zero(self, *_: Any) -> int:
        return 0

    def _false(self, _: Any) -> bool:
        return False

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __floordiv__ = _zero
    __lt__ = __gt__ = __le__ = __ge__ = _false

    def __or__(self, other: Any) -> Any:
        return self

    __ror__ = __or__


class HollowModule(types.ModuleType):
    """A module whose missing names are `Anything`: the class where a class is expected, else an instance."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything if name[0].isupper() else Anything()


class _Kernel:
    """A Triton kernel that does nothing when launched."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn
        self.__name__ = getattr(fn, "__name__", "kernel")
        self.params: list[Any] = []
        self.arg_names: list[str] = []

    def __getitem__(self, _: Any) -> Any:
        return lambda *_, **__: None

    def __call__(self, *_: Any, **__: Any) -> None:
        return None

    def register_warmup(self, *_: Any, **__: Any) -> None:
        return None

    def get_warmup_keys(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


class _TritonConfig:
    def __init__(self, kwargs: Any = None, num_warps: int = 4, num_stages: int = 2, **_: Any) -> None:
        self.kwargs = kwargs or {}
        self.num_warps = num_warps
        self.num_stages = num_stages
        self.pre_hook = None


def _jit(*args: Any, **_: Any) -> Any:
    return _Kernel(args[0]) if args and callable(args[0]) else _Kernel


def _decorator(*_: Any, **__: Any) -> Any:
    return lambda f: f


class HollowFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports every module under the given package names as a hollow one."""

    def __init__(self, *packages: str) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if any(name == p or name.startswith(p + ".") for p in self.packages):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        module = HollowModule(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: Any) -> None:
        fill = _FILL.get(module.__name__)
        if fill is not None:
            fill(module)


def _fill_triton(module: Any) -> None:
    module.__version__ = "3.6.0"
    module.jit = _jit
    module.autotune = module.heuristics = _decorator
    module.Config = _TritonConfig
    module.cdiv = lambda a, b: -(-a // b)
    module.next_power_of_2 = lambda n: 1 << (int(n) - 1).bit_length() if n > 0 else 1


class _Backend:
    """The one active Triton driver that vLLM looks for before it believes in Triton."""

    class driver:  # noqa: N801
        is_active = staticmethod(lambda: True)


def _fill_backends(module: Any) -> None:
    module.backends = {"pretended": _Backend}


_FILL = {"triton": _fill_triton, "triton.backends": _fill_backends}


class _NoKernels:
    """A just-in-time compiled module all of whose kernels do nothing."""

    def build_and_load(self) -> _NoKernels:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


class FlashInferFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `flashinfer` hollow, except the real Python of its `sampling` module."""

    def __init__(self, folder: Path, version: str) -> None:
        self.folder = folder
        self.version = version
        self.buffers: dict[Any, torch.Tensor] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name == "flashinfer" or name.startswith("flashinfer."):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        return None if spec.name == "flashinfer.sampling" else HollowModule(spec.name)

    def exec_module(self, module: Any) -> None:
        module.__path__ = []
        fill = getattr(self, "_" + module.__name__.replace(".", "_"), None)
        if fill is not None:
            fill(module)

    def _flashinfer(self, module: Any) -> None:
        module.__version__ = self.version

    def _flashinfer_sampling(self, module: Any) -> None:
        path = self.folder / "sampling.py"
        module.__package__ = "flashinfer"
        module.__file__ = str(path)
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
        module.get_seed_and_offset = lambda *_, **__: (0, 0)

    def _flashinfer_utils(self, module: Any) -> None:
        def cache_buffer(name: str, size: int, device: Any, zero_init: Any = None) -> torch.Tensor:
            known = self.buffers.get(name)
            if known is None or known.numel() < size:
                make = torch.zeros if zero_init else torch.empty
                known = self.buffers[name] = make(size, dtype=torch.uint8, device=device)
            return known

        module._get_cache_buf = cache_buffer
        module.device_support_pdl = lambda *_, **__: True
        module.register_custom_op = module.register_fake_op = _decorator
        module.get_default_generators = lambda *_, **__: None
        units = torch.cuda.get_device_properties(0).multi_processor_count
        module.get_device_sm_count = lambda *_, **__: units
        # One counter of four bytes per request and head, at least one per SM, in groups of eight.
        module.get_trtllm_gen_multi_ctas_kv_counter_bytes = lambda b, h, sm: -(-max(b * h, sm) // 8) * 32

    def _flashinfer_api_logging(self, module: Any) -> None:
        module.flashinfer_api = lambda f=None, **__: f if f is not None else _decorator()

    def _flashinfer_jit_sampling(self, module: Any) -> None:
        module.gen_sampling_module = lambda *_, **__: _NoKernels()

    def _flashinfer_jit_core(self, module: Any) -> None:
        module.check_cuda_arch = lambda *_, **__: None


def install(packages: list[str], flashinfer: FlashInferFinder | None) -> None:
    """Put the hollow packages in front of real ones; before vLLM is imported."""
    sys.meta_path.insert(0, HollowFinder(*packages))
    if flashinfer is not None:
        sys.meta_path.insert(0, flashinfer)
        importlib.import_module("flashinfer.sampling")  # vLLM reads it as an attribute of the package
