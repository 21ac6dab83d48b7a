"""The AMD probe: what amdsmi says, as plain values. It runs in a child process and judges nothing.

Scalar calls are preferred over calls that fill a struct: with a library of another version, structs hold
nonsense.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from hw_specs.detect.child import Failure, Note, ProbeError, Session

_XGMI = 2  # the number is the same in every version of the library; the name in the wrapper is not
_PCIE = 1
_NOT_AVAILABLE = ("", "N/A")


def probe(note: Note) -> dict[str, object]:
    """Return versions, GPUs and links.

    Raises:
        ProbeError: amdsmi cannot be used at all.
    """
    return _Amdsmi(library(note), note).read()


def library(note: Note) -> Any:
    """Return the imported wrapper.

    Raises:
        ProbeError: where it cannot be imported.
    """
    note("import amdsmi")
    try:
        import amdsmi
    except ModuleNotFoundError as error:
        kind = "module-missing" if error.name == "amdsmi" else "error"
        raise ProbeError(_failure(error, "import amdsmi", kind=kind)) from error
    except Exception as error:  # a missing or older library: KeyError, AttributeError, OSError
        raise ProbeError(_failure(error, "import amdsmi")) from error
    return amdsmi


class AmdSession(Session):
    """A session whose needed calls raise what the probe's end is told by."""

    def _must(self, name: str, *args: object) -> Any:
        self._note(name)
        try:
            return getattr(self._library, name)(*args)
        except Exception as error:  # the wrapper's tree, and OSError from newer ones that load late
            raise ProbeError(_failure(error, name)) from error


def _failure(error: Exception, call: str, *, kind: Any = "error") -> Failure:
    code = getattr(error, "err_code", None)
    told = getattr(error, "get_error_code", None)
    if code is None and callable(told):
        code = told()
    text = " ".join(str(error).split())
    return Failure(kind=kind, call=call, error_type=type(error).__name__, code=_number(code), text=text)


class _Amdsmi(AmdSession):
    """One session with amdsmi."""

    def read(self) -> dict[str, object]:
        """Ask for everything; amdsmi is never shut down, because this process ends with the answer."""
        self._must("amdsmi_init")
        handles = self._must("amdsmi_get_processor_handles")
        driver = self._maybe("amdsmi_get_gpu_driver_info", handles[0]) if handles else None
        return {
            "driver": {
                "vendor": "amd",
                "driver_version": _known((driver or {}).get("driver_version")),
                "library_version": self._library_version(),
                "runtime": self._rocm(),
            },
            "gpus": [self._gpu(index, handle) for index, handle in enumerate(handles)],
            "links": self._links(handles),
            "device_errors": [],
            "wrapper_is_old": False,
        }

    def _gpu(self, index: int, handle: Any) -> dict[str, object]:
        memory_kind = self._library.AmdSmiMemoryType.VRAM
        total = self._maybe("amdsmi_get_gpu_memory_total", handle, memory_kind)
        used = self._maybe("amdsmi_get_gpu_memory_usage", handle, memory_kind)
        asic = self._maybe("amdsmi_get_gpu_asic_info", handle) or {}
        ecc = self._maybe("amdsmi_get_gpu_ecc_enabled", handle)
        order = self._maybe("amdsmi_get_gpu_enumeration_info", handle) or {}
        serial = _number(asic.get("asic_serial"))
        uuid = f"GPU-{serial:x}" if serial is not None else self._maybe("amdsmi_get_gpu_device_uuid", handle)
        return {
            "vendor": "amd",
            "index": index,
            "name": str(_known(asic.get("market_name")) or "unnamed AMD GPU"),
            "uuid": str(uuid or ""),
            "pci_bus_id": str(self._maybe("amdsmi_get_gpu_device_bdf", handle) or ""),
            "pci_device_id": _number(asic.get("device_id")),
            "architecture": _known(asic.get("target_graphics_version")),
            "driver_total_bytes": total,
            "engine_total_bytes": total,
            "used_bytes": used,
            "free_bytes": None if total is None or used is None else max(total - used, 0),
            "processes": self._processes(handle),
            "compute_units": _number(asic.get("num_compute_units")),
            "ecc": None if ecc is None else bool(ecc),
            "compute_partition": _known(self._maybe("amdsmi_get_gpu_compute_partition", handle)),
            "memory_partition": _known(self._maybe("amdsmi_get_gpu_memory_partition", handle)),
            "engine_index": _number(order.get("hip_id")),
        }

    def _processes(self, handle: Any) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for process in self._maybe("amdsmi_get_gpu_process_list", handle) or []:
            used = _number(process.get("memory_usage", {}).get("vram_mem"))
            found.append({"pid": process["pid"], "name": _known(process.get("name")), "used_bytes": used})
        return found

    def _links(self, handles: list[Any]) -> list[dict[str, object]]:
        links: list[dict[str, object]] = []
        for a, handle_a in enumerate(handles):
            for b, handle_b in enumerate(handles[a + 1 :], start=a + 1):
                link: dict[str, int] = self._maybe("amdsmi_topo_get_link_type", handle_a, handle_b) or {}
                kind = {_XGMI: "xgmi", _PCIE: "pcie"}.get(link.get("type", 0), "unknown")
                links.append({"vendor": "amd", "a": a, "b": b, "kind": kind, "hops": link.get("hops")})
        return links

    def _library_version(self) -> str | None:
        version = self._maybe("amdsmi_get_lib_version")
        return f"{version['major']}.{version['minor']}.{version['release']}" if version else None

    def _rocm(self) -> str | None:
        answer = self._maybe("amdsmi_get_rocm_version")
        if answer and answer[0]:
            return f"ROCm {answer[1]}"
        with contextlib.suppress(OSError, UnicodeError):
            text = Path("/opt/rocm/.info/version").read_text(encoding="utf-8").strip()
            return f"ROCm {text.partition('-')[0]}" if text else None
        return None


def _known(value: object) -> str | None:
    return None if value is None or str(value) in _NOT_AVAILABLE else str(value)


def _number(value: object) -> int | None:
    """Return a number that may come as an int, a hexadecimal text or ``N/A``."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return value
    with contextlib.suppress(ValueError):
        return int(str(value), 0)
    return None
