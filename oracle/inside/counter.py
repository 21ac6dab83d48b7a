"""Counts the bytes of live device tensors that have sizes and no data; it never allocates device memory.

Operations that touch a device tensor run under torch's own FakeTensorMode; tensors of the host stay real. A storage
counts from its birth to the death of its last reference, rounded up to 512 bytes, as the CUDA caching allocator counts
`allocated_bytes`. Values read back from the device are zeros.
"""

# ruff: noqa: ARG001 - the signatures are those of what is stood in for
from __future__ import annotations

import contextlib
import ctypes
import traceback
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

ALLOCATION_GRANULE = 512
DEVICE = torch.device("cuda", 0)

Handler = Callable[["Counter", Any, tuple[Any, ...], dict[str, Any]], Any]


def load_guard(path: str) -> None:
    """Load the do-nothing device guard, without which a CPU-only torch refuses device tensors."""
    ctypes.CDLL(path)
    torch.cuda._lazy_init = lambda *_, **__: None


def rounded(size: int) -> int:
    """Bytes that the allocator counts for a storage of `size` bytes."""
    return -(-size // ALLOCATION_GRANULE) * ALLOCATION_GRANULE


@cache
def _decomposes(func: Any) -> bool:
    return func.namespace == "aten" and torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), "CompositeImplicitAutograd"
    )


@dataclass(slots=True)
class Storage:
    """One live device storage."""

    ref: weakref.ref[Any]
    size: int
    shape: tuple[int, ...]
    dtype: str
    where: str


@dataclass(slots=True)
class Phase:
    """Peak of live bytes while the phase was current."""

    name: str
    peak: int = 0


@dataclass(slots=True)
class _State:
    live: dict[int, Storage] = field(default_factory=dict)
    current: int = 0
    paused: int = 0


class Counter(TorchDispatchMode):
    """Dispatch mode that runs device operations without data and keeps the account of live bytes."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        super().__init__()
        self.handlers = handlers
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.phases: dict[str, int] = {}
        self.phase = ""
        self.remember_where = False
        self.truth = False
        """What a boolean read back from the device says."""
        self._state = _State()

    @property
    def current(self) -> int:
        """Live bytes now."""
        return self._state.current

    @property
    def live(self) -> dict[int, Storage]:
        """Live storages by identity."""
        return self._state.live

    def enter_phase(self, name: str) -> None:
        """Account later peaks to `name`; the level at entry counts."""
        self.phase = name
        self._peak()

    def _peak(self) -> None:
        if self._state.current > self.phases.get(self.phase, -1):
            self.phases[self.phase] = self._state.current

    def born_since(self, before: set[int]) -> list[Storage]:
        """Storages alive now that were not in the identity set `before`, largest first."""
        return sorted((s for k, s in self.live.items() if k not in before), key=lambda s: -s.size)

    @contextlib.contextmanager
    def uncounted(self) -> Iterator[None]:
        """Ignore what is created in the block (one fused kernel needs no intermediate storage)."""
        self._state.paused += 1
        try:
            yield
        finally:
            self._state.paused -= 1

    def count(self, value: Any, *, size: int | None = None) -> None:
        """Account every device tensor in `value` from now on; `size` overrides the bytes."""
        for leaf in tree_flatten(value)[0]:
            if isinstance(leaf, FakeTensor) and leaf.device.type == "cuda":
                self._count_one(leaf, size)

    def _count_one(self, tensor: FakeTensor, size: int | None) -> None:
        state = self._state
        if state.paused:
            return
        storage = tensor.untyped_storage()
        key = id(storage)
        known = state.live.get(key)
        if known is not None and known.ref() is storage:
            return
        counted = rounded(storage.nbytes()) if size is None else size

        def died(ref: weakref.ref[Any]) -> None:
            entry = state.live.get(key)
            if entry is not None and entry.ref is ref:
                del state.live[key]
                state.current -= entry.size

        where = _caller() if self.remember_where and counted >= 1 << 16 else ""
        state.live[key] = Storage(
            weakref.ref(storage, died), counted, tuple(tensor.shape), str(tensor.dtype)[6:], where
        )
        state.current += counted
        self._peak()

    def new(self, shape: Any, dtype: torch.dtype) -> torch.Tensor:
        """A device tensor without data, not yet counted."""
        with self.fake:
            return torch.empty(tuple(int(n) for n in shape), dtype=dtype, device=DEVICE)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        kwargs.pop("pin_memory", None)
        name = func._schema.name
        handler = self.handlers.get(name)
        if handler is not None:
            out = handler(self, func, args, kwargs)
            self.count(out)
            return out
        leaves = tree_flatten((args, kwargs))[0]
        wanted = kwargs.get("device") or next((x for x in leaves if isinstance(x, torch.device)), None)
        to_device = wanted is not None and torch.device(wanted).type == "cuda"
        any_fake = any(isinstance(x, FakeTensor) for x in leaves)
        if not any_fake and not to_device:
            return func(*args, **kwargs)
        if _decomposes(func):
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        special = _SPECIAL.get(name)
        if special is not None:
            done, out = special(self, args, kwargs, wanted)
            if done:
                self.count(out)
                return out
        with self.fake:
            out = func(*args, **kwargs)
        self.count(out)
        return out


def _caller() -> str:
    frames = [
        f"{f.filename.rsplit('/', 1)[-1]}:{f.name}"
        for f in traceback.extract_stack(limit=16)
        if "/vllm/" in f.filename or "flashinfer" in f.filename
    ]
    return " < ".join(reversed(frames[-2:]))


def _read_scalar(counter: Counter, args: Any, kwargs: Any, wanted: Any) -> tuple[bool, Any]:
    dtype = args[0].dtype
    if dtype is torch.bool:
        return True, counter.truth
    return True, 0.0 if dtype.is_floating_point else 0


def _copy_to_host(counter: Counter, args: Any, kwargs: Any, wanted: Any) -> tuple[bool, Any]:
    return not isinstance(args[0], FakeTensor), args[0]


def _change_device(counter: Counter, args: Any, kwargs: Any, wanted: Any) -> tuple[bool, Any]:
    source = args[0]
    dtype = kwargs.get("dtype") or source.dtype
    if wanted is None:
        return False, None
    kind = torch.device(wanted).type
    if kind == "cpu" and isinstance(source, FakeTensor):
        return True, torch.zeros(tuple(int(n) for n in source.shape), dtype=dtype)
    if kind == "cuda" and not isinstance(source, FakeTensor):
        return True, counter.new(source.shape, dtype)
    return False, None


def _all_selected(counter: Counter, args: Any, kwargs: Any, wanted: Any) -> tuple[bool, Any]:
    # How many elements are non-zero is data; the most possible is the safe answer.
    return isinstance(args[0], FakeTensor), counter.new((args[0].numel(), args[0].dim()), torch.int64)


_SPECIAL: dict[str, Callable[[Counter, Any, Any, Any], tuple[bool, Any]]] = {
    "aten::_local_scalar_dense": _read_scalar,
    "aten::is_pinned": lambda *_: (True, False),
    "aten::copy_": _copy_to_host,
    "aten::_to_copy": _change_device,
    "aten::nonzero": _all_selected,
}


def _first_device(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        return DEVICE
    if isinstance(value, str) and value.split(":")[0] == "cuda":
        return DEVICE
    return value


class OneDevice(TorchFunctionMode):
    """Turns every "cuda" into device 0, and calls that would pin, seed or upload into ones that need no driver."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if "device" in kwargs:
            kwargs["device"] = _first_device(kwargs["device"])
        kwargs.pop("generator", None)
        if "pin_memory" in kwargs:
            kwargs["pin_memory"] = False
        if func is torch.Tensor.cuda:
            return args[0].to(DEVICE)
        if func is torch.Tensor.pin_memory:
            return args[0]
        if func is torch.Tensor.is_pinned:
            return True
        if func in (torch.Tensor.to, torch.Tensor.new_empty):
            args = tuple(_first_device(a) for a in args)
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and kwargs.get("device") == DEVICE:
            if isinstance(args[0], FakeTensor):
                return func(*args, **kwargs)
            kwargs.pop("device")
            return func(*args, **kwargs).to(DEVICE)
        if func is torch.Tensor.new_tensor and isinstance(args[0], FakeTensor):
            return torch.tensor(args[1], dtype=kwargs.get("dtype") or args[0].dtype).to(DEVICE)
        return func(*args, **kwargs)


@contextlib.contextmanager
def counting(handlers: dict[str, Handler]) -> Iterator[Counter]:
    """Run the block with every device tensor counted."""
    counter = Counter(handlers)
    with OneDevice(), counter:
        yield counter
