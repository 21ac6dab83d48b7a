"""The NVIDIA probe: what NVML says, as plain values. It runs in a child process and judges nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from hw_specs.detect.child import Failure, Note, ProbeError, Session

_MIB = 2**20
_BITS_PER_BYTE = 8
_TRANSFERS_PER_CLOCK = 2  # both memory kinds that data-centre cards use move data twice per clock
_PATHS = {0: "INT", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}


def probe(note: Note) -> dict[str, object]:
    """Return versions, GPUs, links and per-device errors.

    Raises:
        ProbeError: NVML cannot be used at all.
    """
    note("import pynvml")
    try:
        import pynvml
    except ImportError as error:
        raise ProbeError(Failure(kind="module-missing", error_type="ImportError", text=str(error))) from error
    return _Nvml(pynvml, note).read()


class _Nvml(Session):
    """One session with NVML."""

    def read(self) -> dict[str, object]:
        """Ask for everything; NVML is never shut down, because this process ends with the answer."""
        self._must("nvmlInit")
        count = self._must("nvmlDeviceGetCount")
        cuda = self._maybe("nvmlSystemGetCudaDriverVersion_v2")
        handles, errors = self._handles(count)
        return {
            "driver": {
                "vendor": "nvidia",
                "driver_version": self._maybe("nvmlSystemGetDriverVersion"),
                "library_version": self._maybe("nvmlSystemGetNVMLVersion"),
                "runtime": f"CUDA {cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
            },
            "gpus": [gpu for index, handle in handles.items() for gpu in self._gpu(index, handle)],
            "links": self._links(handles),
            "device_errors": errors,
            "wrapper_is_old": getattr(self._library, "nvmlMemory_v2", None) is None,
        }

    def _must(self, name: str, *args: object) -> Any:
        """Call and turn an error into the end of the probe."""
        self._note(name)
        try:
            return getattr(self._library, name)(*args)
        except self._library.NVMLError as error:
            raise ProbeError(
                Failure(kind="error", call=name, error_type=type(error).__name__, code=error.value, text=str(error))
            ) from error

    def _handles(self, count: int) -> tuple[dict[int, Any], list[dict[str, object]]]:
        handles: dict[int, Any] = {}
        errors: list[dict[str, object]] = []
        for index in range(count):
            try:
                handles[index] = self._must("nvmlDeviceGetHandleByIndex", index)
            except ProbeError as error:
                errors.append({"index": index, "code": error.failure.code, "text": error.failure.text})
        return handles, errors

    def _gpu(self, index: int, handle: Any) -> list[dict[str, object]]:
        """One GPU and, behind it, its MIG slices."""
        pci = self._maybe("nvmlDeviceGetPciInfo", handle)
        capability = self._maybe("nvmlDeviceGetCudaComputeCapability", handle)
        ecc = self._maybe("nvmlDeviceGetEccMode", handle)
        mig = self._maybe("nvmlDeviceGetMigMode", handle)
        common: dict[str, object] = {
            "vendor": "nvidia",
            "index": index,
            "pci_bus_id": _text(pci.busId) if pci else "",
            "pci_device_id": pci.pciDeviceId >> 16 if pci else None,
            "architecture": f"{capability[0]}.{capability[1]}" if capability else None,
            "ecc": bool(ecc[0]) if ecc else None,
            "mig_enabled": bool(mig[0]) if mig else None,
        }
        gpu = {
            **common,
            **self._identity(handle),
            **self._memory(handle),
            "cores": self._maybe("nvmlDeviceGetNumGpuCores", handle),
            "bandwidth_bytes_per_s": self._bandwidth(handle),
            "active_links": self._active_links(handle),
        }
        slices = self._slices(handle) if mig and mig[0] else []
        return [gpu, *({**common, **one} for one in slices)]

    def _identity(self, handle: Any) -> dict[str, object]:
        return {
            "name": _text(self._maybe("nvmlDeviceGetName", handle) or "unnamed NVIDIA GPU"),
            "uuid": _text(self._maybe("nvmlDeviceGetUUID", handle) or ""),
        }

    def _memory(self, handle: Any) -> dict[str, object]:
        """Totals, what is free, and who holds the rest.

        Version 2 of the call tells the driver's reserve apart; only its total less that reserve is what CUDA sees.
        """
        found: dict[str, object] = {"processes": self._processes(handle)}
        version = getattr(self._library, "nvmlMemory_v2", None)
        memory = self._maybe("nvmlDeviceGetMemoryInfo", handle, version=version) if version else None
        if memory is not None:
            return {
                **found,
                "driver_total_bytes": memory.total,
                "engine_total_bytes": memory.total - memory.reserved,
                "free_bytes": memory.free,
                "used_bytes": memory.used,
            }
        memory = self._maybe("nvmlDeviceGetMemoryInfo", handle)
        if memory is not None:
            return {**found, "driver_total_bytes": memory.total, "free_bytes": memory.free, "used_bytes": memory.used}
        return found

    def _processes(self, handle: Any) -> list[dict[str, object]]:
        by_pid: dict[int, dict[str, object]] = {}
        for name in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
            found = self._maybe(name, handle)
            if found is None:  # an older driver has only the older form
                found = self._maybe(f"{name}_v2", handle)
            for process in found or []:
                by_pid.setdefault(
                    process.pid,
                    {"pid": process.pid, "name": self._process_name(process.pid), "used_bytes": process.usedGpuMemory},
                )
        return list(by_pid.values())

    def _process_name(self, pid: int) -> str | None:
        name = self._maybe("nvmlSystemGetProcessName", pid)
        if name:
            return _text(name).rpartition("/")[2]
        with contextlib.suppress(OSError, UnicodeError):
            return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() or None
        return None

    def _bandwidth(self, handle: Any) -> int | None:
        width_bits = self._maybe("nvmlDeviceGetMemoryBusWidth", handle)
        clock_mhz = self._maybe("nvmlDeviceGetMaxClockInfo", handle, getattr(self._library, "NVML_CLOCK_MEM", 2))
        if not width_bits or not clock_mhz:
            return None
        return int(width_bits // _BITS_PER_BYTE * clock_mhz * 10**6 * _TRANSFERS_PER_CLOCK)

    def _active_links(self, handle: Any) -> int | None:
        states = []
        for link in range(getattr(self._library, "NVML_NVLINK_MAX_LINKS", 18)):
            state = self._maybe("nvmlDeviceGetNvLinkState", handle, link)
            if state is None:
                break
            states.append(bool(state))
        return sum(states) if states else None

    def _slices(self, handle: Any) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for number in range(self._maybe("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
            # A gap in the numbers is answered with NotFound; later ones may exist.
            part = self._maybe("nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
            if part is None:
                continue
            identity = self._identity(part)
            attributes = self._maybe("nvmlDeviceGetAttributes_v2", part) or self._maybe("nvmlDeviceGetAttributes", part)
            _, _, profile = str(identity["name"]).partition("MIG ")
            found.append(
                {
                    **identity,
                    **self._memory(part),
                    "slice_index": number,
                    "slice_name": profile.strip() or None,
                    "compute_units": getattr(attributes, "multiprocessorCount", None),
                }
            )
            if attributes is not None and found[-1].get("driver_total_bytes") is None:
                found[-1]["driver_total_bytes"] = attributes.memorySizeMB * _MIB
        return found

    def _links(self, handles: dict[int, Any]) -> list[dict[str, object]]:
        links: list[dict[str, object]] = []
        for a, handle_a in handles.items():
            for b, handle_b in handles.items():
                if a >= b:
                    continue
                status = self._maybe(
                    "nvmlDeviceGetP2PStatus",
                    handle_a,
                    handle_b,
                    getattr(self._library, "NVML_P2P_CAPS_INDEX_NVLINK", 2),
                )
                level = self._maybe("nvmlDeviceGetTopologyCommonAncestor", handle_a, handle_b)
                kind = "unknown" if status is None else "nvlink" if status == 0 else "pcie"
                path = None if level is None else _PATHS.get(int(level))
                links.append({"vendor": "nvidia", "a": a, "b": b, "kind": kind, "path": path})
        return links


def _text(value: str | bytes) -> str:
    """Old wrappers answer with bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
