"""Devices and reports for tests that need no driver."""

from __future__ import annotations

from hypothesis import strategies as st

from hw_specs import list_gpus
from hw_specs.detect.devices import DetectedGpu, Driver, GpuProcess, PairLink, Problem
from hw_specs.detect.report import DetectionReport

REAL = [spec for spec in list_gpus() if spec.engine_memory_bytes and spec.pci_device_ids]


def device(index: int, gpu: str = "h200-sxm", **changes: object) -> DetectedGpu:
    """One device of a catalogue entry, as its driver would report it."""
    spec = next(spec for spec in REAL if spec.id == gpu)
    fields: dict[str, object] = {
        "vendor": spec.vendor,
        "index": index,
        "name": spec.driver_names[0],
        "uuid": f"GPU-{index:08x}",
        "pci_bus_id": f"0000:{index + 1:02x}:00.0",
        "pci_device_id": spec.pci_device_ids[0],
        "architecture": spec.architecture,
        "driver_total_bytes": spec.driver_memory_bytes,
        "engine_total_bytes": spec.engine_memory_bytes,
        "free_bytes": spec.engine_memory_bytes,
        "used_bytes": 0,
        "catalogue_id": spec.id,
        "matched_by": "pci-id",
    }
    return DetectedGpu(**{**fields, **changes})  # type: ignore[arg-type]


def report(*gpus: DetectedGpu, **changes: object) -> DetectionReport:
    """A machine with these devices."""
    fields: dict[str, object] = {"hostname": "h", "taken_at": "2026-11-01T00:00:00+00:00", "environment": {}}
    return DetectionReport(**{**fields, "gpus": gpus, **changes})  # type: ignore[arg-type]


_WORDS = st.text("abcXYZ019 -_é", max_size=12)
_SAID = st.text("abc", min_size=1, max_size=12)
_BYTES = st.none() | st.integers(0, 2**41)


@st.composite
def reports(draw: st.DrawFn) -> DetectionReport:
    """Any machine: known and unknown cards, slices, partitions, hidden devices, odd numbers."""
    gpus = []
    for index in range(draw(st.integers(0, 6))):
        spec = draw(st.sampled_from(REAL))
        known = draw(st.booleans())
        driver_total = draw(st.sampled_from([spec.driver_memory_bytes, None]))
        engine_total = draw(st.sampled_from([spec.engine_memory_bytes, 2**34, 0, None]))
        most = max(driver_total or 0, engine_total or 0) or 2**41
        gpus.append(
            device(
                index,
                spec.id,
                name=draw(st.sampled_from(spec.driver_names)) if known else draw(_WORDS),
                pci_device_id=spec.pci_device_ids[0] if known else draw(st.none() | st.integers(0, 0xFFFF)),
                catalogue_id=spec.id if known else None,
                matched_by="pci-id" if known else "unknown",
                driver_total_bytes=driver_total,
                engine_total_bytes=engine_total,
                free_bytes=draw(st.none() | st.integers(0, most)),
                used_bytes=draw(_BYTES),
                architecture=draw(st.sampled_from([spec.architecture, "7.5", "gfx90a", None])),
                compute_units=draw(st.none() | st.integers(1, 400)),
                cores=draw(st.none() | st.integers(1, 40000)),
                slice_index=draw(st.none() | st.integers(0, 6)) if spec.vendor == "nvidia" else None,
                slice_name=draw(st.none() | st.just("1g.18gb")),
                compute_partition=draw(st.none() | st.sampled_from(["SPX", "CPX"])) if spec.vendor == "amd" else None,
                hidden_by=draw(st.none() | st.just("CUDA_VISIBLE_DEVICES=0")),
                processes=tuple(
                    GpuProcess(pid=draw(st.integers(1, 9)), name=draw(st.none() | _WORDS), used_bytes=draw(_BYTES))
                    for _ in range(draw(st.integers(0, 2)))
                ),
                notes=tuple(draw(st.lists(_WORDS, max_size=2))),
            )
        )
    links = [
        PairLink(vendor="nvidia", a=a, b=b, kind=draw(st.sampled_from(["nvlink", "pcie", "unknown", "xgmi"])))
        for a in range(len(gpus))
        for b in range(a + 1, len(gpus))
        if draw(st.booleans())
    ]
    return report(
        *gpus,
        links=tuple(links),
        hostname=draw(_WORDS),
        in_container=draw(st.booleans()),
        environment=draw(st.dictionaries(st.sampled_from(["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"]), _WORDS)),
        drivers=(Driver(vendor="nvidia", driver_version=draw(st.none() | _WORDS)),),
        problems=tuple(
            draw(st.lists(st.builds(Problem, kind=st.just("broken"), message=_SAID, hint=_SAID), max_size=2))
        ),
    )
