"""What a probe says of a machine's devices, as plain values; it probes nothing and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hw_specs.spec import Vendor

MatchedBy = Literal["pci-id", "totals", "name", "unknown"]
ProblemKind = Literal["absent", "broken", "device", "note"]
LinkKind = Literal["nvlink", "xgmi", "pcie", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """One process that holds GPU memory."""

    pid: int
    """As the driver counts; inside a container it may be a number of the host."""
    name: str | None = None
    used_bytes: int | None = None
    """None where the driver does not report it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedGpu:
    """One logical device: a whole GPU, a MIG slice, or one partition of an AMD GPU."""

    vendor: Vendor
    index: int
    """The driver's number; a MIG slice bears its parent's."""
    name: str
    uuid: str
    pci_bus_id: str
    pci_device_id: int | None = None
    architecture: str | None = None
    """CUDA compute capability or gfx target."""
    driver_total_bytes: int | None = None
    """Total that the driver reports; None where it refuses."""
    engine_total_bytes: int | None = None
    """Total that torch will see: on NVIDIA the driver's less what NVML calls reserved."""
    free_bytes: int | None = None
    used_bytes: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    compute_units: int | None = None
    cores: int | None = None
    """CUDA cores; None on AMD and on old drivers."""
    bandwidth_bytes_per_s: int | None = None
    """Nominal, from memory clock and bus width; only for cards the catalogue does not hold."""
    ecc: bool | None = None
    mig_enabled: bool | None = None
    slice_index: int | None = None
    """Number of the MIG instance on its GPU; None for a whole GPU."""
    slice_name: str | None = None
    """MIG profile, ``1g.18gb``."""
    compute_partition: str | None = None
    """AMD: SPX, DPX, TPX, QPX or CPX."""
    memory_partition: str | None = None
    """AMD: NPS1, NPS2, NPS4 or NPS8."""
    engine_index: int | None = None
    """The number that CUDA (by bus address) or HIP gives it while nothing is hidden."""
    active_links: int | None = None
    """NVLinks that are up."""
    catalogue_id: str | None = None
    """Entry of the catalogue; None for a card it does not hold."""
    matched_by: MatchedBy = "unknown"
    hidden_by: str | None = None
    """The setting that hides it from the engine, ``CUDA_VISIBLE_DEVICES=0``."""
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How people name it: ``3``, or ``3.1`` for a slice."""
        return str(self.index) if self.slice_index is None else f"{self.index}.{self.slice_index}"

    @property
    def partition(self) -> str | None:
        """``MIG 1g.18gb``, ``CPX/NPS4``; None for a whole, undivided GPU."""
        if self.slice_index is not None:
            return f"MIG {self.slice_name}" if self.slice_name else "MIG"
        whole = self.compute_partition in (None, "SPX") and self.memory_partition in (None, "NPS1")
        return None if whole else "/".join(part for part in (self.compute_partition, self.memory_partition) if part)

    @property
    def board(self) -> str:
        """Bus address without the function: the same for all partitions of one card."""
        return self.pci_bus_id.rpartition(".")[0] or self.pci_bus_id


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLink:
    """How two GPUs of one vendor reach each other."""

    vendor: Vendor
    a: int
    b: int
    kind: LinkKind
    path: str | None = None
    """Way over PCIe as ``nvidia-smi topo`` writes it (PIX, PXB, PHB, NODE, SYS)."""
    hops: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """One vendor's software."""

    vendor: Vendor
    driver_version: str | None = None
    library_version: str | None = None
    runtime: str | None = None
    """``CUDA 13.0``, ``ROCm 7.0.2``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why something was not found, or not understood: one sentence and what to do."""

    kind: ProblemKind
    """``absent``: nothing of that vendor here; ``broken``: it is, but does not answer; ``device``: one GPU."""
    message: str
    hint: str
    vendor: Vendor | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Everything a probe learned about one machine."""

    hostname: str
    taken_at: str
    """UTC, ISO 8601."""
    in_container: bool = False
    environment: dict[str, str]
    """The settings that hide or order GPUs, as they were."""
    drivers: tuple[Driver, ...] = ()
    gpus: tuple[DetectedGpu, ...] = ()
    links: tuple[PairLink, ...] = ()
    problems: tuple[Problem, ...] = ()
    origin: Literal["detected", "snapshot"] = "detected"
