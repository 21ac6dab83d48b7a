"""What AMD's tools print as JSON: ``amd-smi static``, ``amd-smi list`` and ``rocm-smi``, of old and new releases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hw_specs.detect.devices import DetectedGpu, Driver
from hw_specs.inventory.host import MOST_GPUS, Host, device, host_of, identify, mib, table, whole

_CARD = re.compile(r"card\d{1,4}")
_UUID_DEVICE = re.compile(r"[0-9a-f]{4}([0-9a-f]{4})-", re.IGNORECASE)
"""An AMD UUID carries the PCI device id in its first group: ``2eff74a1-…``."""


def amd_smi_entries(value: Any) -> list[Any] | None:
    """Return the GPUs in an answer of ``amd-smi``; None where it is none."""
    entries = value.get("gpu_data") if isinstance(value, dict) else value
    if not isinstance(entries, list) or not entries:
        return None
    gpus = [entry for entry in entries if isinstance(entry, dict) and "gpu" in entry]
    return entries if any({"asic", "bdf", "vram", "bus", "board"} & set(gpu) for gpu in gpus) else None


def is_rocm_smi(value: Any) -> bool:
    """Whether a value is an answer of ``rocm-smi --json``."""
    return isinstance(value, dict) and any(_CARD.fullmatch(str(key)) for key in value)


def read_amd_smi(entries: list[Any], *, name: str) -> tuple[Host, ...]:
    """Return the host that ``amd-smi static --json`` or ``list --json`` describes."""
    devices: list[DetectedGpu] = []
    notes: list[str] = []
    version = None
    described, others = whole(entries[: MOST_GPUS + 1], name=name, what="a GPU")
    notes += [str(other.problem) for other in others]
    for number, entry in enumerate(described):
        asic, board = table(entry.get("asic")), table(entry.get("board"))
        vram, parts = table(entry.get("vram")), table(entry.get("partition"))
        version = version or _text(table(entry.get("driver")).get("version"))
        uuid = _text(entry.get("uuid")) or ""
        device_id = _number(asic.get("device_id"))
        if device_id is None and (found_id := _UUID_DEVICE.match(uuid)):
            device_id = int(found_id[1], 16)
        total = _size(vram.get("size")) or _size(vram.get("vram_size")) or None
        product = _text(asic.get("market_name")) or _text(board.get("product_name")) or "unnamed AMD GPU"
        found = identify(product, total_bytes=total, device_id=device_id)
        notes += found.notes
        if not asic and found.spec is not None:
            notes.append("the list says no memory: the catalogue's is taken; `amd-smi static --json` says it")
        index = entry.get("gpu")
        devices.append(
            device(
                found,
                index=index if isinstance(index, int) and 0 <= index <= MOST_GPUS else number,
                vendor="amd",
                total_bytes=total,
                reserved_bytes=0 if total else None,
                architecture=_text(asic.get("target_graphics_version")),
                uuid=uuid,
                pci_bus_id=_text(table(entry.get("bus")).get("bdf")) or _text(entry.get("bdf")) or "",
                pci_device_id=device_id,
                compute_units=_number(asic.get("num_compute_units")),
                compute_partition=_text(parts.get("compute_partition") or parts.get("accelerator_partition")),
                memory_partition=_text(parts.get("memory_partition")),
            )
        )
    drivers = (Driver(vendor="amd", driver_version=version),) if version else ()
    return (host_of(name, devices, drivers=drivers, notes=notes),)


def read_rocm_smi(value: Mapping[str, Any], *, name: str) -> tuple[Host, ...]:
    """Return the host that ``rocm-smi --json`` describes, whatever it was asked to show."""
    devices: list[DetectedGpu] = []
    notes: list[str] = []
    cards = sorted((str(key) for key in value if _CARD.fullmatch(str(key))), key=lambda key: int(key[4:]))
    for card in cards[: MOST_GPUS + 1]:
        shown = {str(key).strip().lower(): text for key, text in table(value[card]).items()}
        total = _bytes(shown.get("vram total memory (b)"))
        used = _bytes(shown.get("vram total used memory (b)"))
        device_id = next(
            (
                number
                for key in ("device id", "card model", "gpu id")
                if (number := _number(shown.get(key))) is not None
            ),
            None,
        )
        names = (shown.get(key) for key in ("card series", "device name", "card model"))
        product = next((text for one in names if (text := _text(one)) and not text.startswith("0x")), None)
        found = identify(product or "unnamed AMD GPU", total_bytes=total, device_id=device_id)
        notes += found.notes
        devices.append(
            device(
                found,
                index=int(card[4:]),
                vendor="amd",
                total_bytes=total,
                reserved_bytes=0 if total else None,
                architecture=_text(shown.get("gfx version")),
                uuid=_text(shown.get("unique id")) or "",
                pci_bus_id=_text(shown.get("pci bus")) or "",
                pci_device_id=device_id,
                used_bytes=used,
                free_bytes=None if total is None or used is None else max(total - used, 0),
                compute_partition=_text(shown.get("compute partition")),
                memory_partition=_text(shown.get("memory partition")),
            )
        )
    return (host_of(name, devices, notes=notes),)


def _size(value: Any) -> int | None:
    if isinstance(value, dict):
        return mib(f"{value.get('value')} {value.get('unit', 'MB')}")
    return mib(value)


def _bytes(value: Any) -> int | None:
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 and int(text) else None


def _text(value: Any) -> str | None:
    text = "".join(one for one in str(value) if one.isprintable()).strip() if isinstance(value, str) else ""
    return None if text in ("", "N/A") else text[:200]


def _number(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < 2**20 else None
    text = str(value).strip() if isinstance(value, str) else ""
    found = re.fullmatch(r"0x([0-9a-f]{1,5})", text, re.IGNORECASE)
    if found:
        return int(found[1], 16)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else None
