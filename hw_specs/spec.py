"""The types that describe GPUs; it never reads a file and never decides anything.

One value per question: :class:`GpuSpec` is a product, :class:`GpuSet` is what one plan runs on.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from hw_specs.errors import BadGpuString
from hw_specs.frozen import dataclass
from hw_specs.units import GIB, MOST_COUNT

Vendor = Literal["nvidia", "amd"]
Basis = Literal["exact", "derived", "measured", "assumed"]
Fp8Kind = Literal["e4m3fn", "e4m3fnuz", "weight-only", "none"]

MOST_OF_ONE = 1024
"""GPUs of a node, and nodes of a plan."""
NOTABLE_BYTES = GIB
"""Less held memory than this is the display's or the driver's, and stops no engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Where one number of a data file comes from."""

    source: str
    """Public page, capture or package that states it."""
    basis: Basis
    """How far to trust it."""
    note: str = ""
    """Anything a reader should know before using it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How the GPUs of one node talk to each other."""

    name: str
    """``NVLink4``, ``xGMI``, ``PCIe 5.0 x16`` …"""
    bytes_per_s: int | None
    """One way, one GPU, all its links together; None where no public figure exists."""
    pair_bytes_per_s: int | None
    """One way between two GPUs; on a mesh this is one link, behind a switch it is everything."""
    fully_connected: bool
    """True when every pair of GPUs in a node has a direct or switched high-speed link."""
    domain_gpus: int
    """GPUs that share the fast link, across nodes too (72 in an NVL72 rack)."""
    topology: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """One GPU product, in the numbers the driver and the engine use (never the nameplate)."""

    id: str
    """Stem of its data file, ``h200-sxm``."""
    name: str
    """What people write and what ``str(GpuSet)`` prints, ``H200``."""
    vendor: Vendor
    family: str
    """``hopper``, ``blackwell``, ``cdna3`` …"""
    architecture: str
    """CUDA compute capability (``9.0``) or gfx target (``gfx942``)."""
    driver_memory_bytes: int
    """Total that NVML or amdsmi reports; vLLM picks its batch defaults by it. 0 where it is not published."""
    engine_memory_bytes: int
    """Total that torch sees; vLLM's budget is a fraction of it. 0 where it is not published."""
    engine_memory_low_bytes: int
    """Smallest total seen on this product (driver versions, virtual machines)."""
    engine_memory_high_bytes: int
    bandwidth_bytes_per_s: int
    bf16_flops_per_s: int
    """Dense, vendor peak."""
    fp8_flops_per_s: int | None
    """Dense, vendor peak; None where the hardware has no FP8 arithmetic."""
    fp4_flops_per_s: int | None
    fp8_kind: Fp8Kind
    """``weight-only`` loads FP8 weights but computes in BF16; ``none`` cannot load them."""
    link: Link
    max_gpus_per_node: int
    compute_units: int | None
    """SMs or CUs."""
    measured_bf16_flops_per_s: int | None = None
    """Best matrix multiplication anyone measured and published; 51 to 80 % of the peak."""
    measured_fp8_flops_per_s: int | None = None
    driver_names: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """What else people, clouds and cluster labels call it, normalised."""
    pci_device_ids: tuple[int, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict, hash=False, compare=False, repr=False)
    """Provenance by field name; the key ``*`` covers what is not listed."""
    released: bool = True
    """False for announced products: they are listed, but planned only with an explicit memory size."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSet:
    """The GPUs one plan runs on: `nodes` equal nodes with `count` equal GPUs each.

    ``str()`` gives the grammar back: ``8xH200``, ``2x8xB200``.
    """

    spec: GpuSpec
    count: int
    """GPUs per node."""
    nodes: int = 1
    memory_override_bytes: int | None = None
    """Engine-visible total per GPU, when the user or a probe knows better than the catalogue."""
    free_memory_bytes: int | None = None
    """Smallest free memory over the GPUs right now; None when it was not measured."""
    linked: bool | None = None
    """Whether a probe saw a fast link between every pair; None means: as the catalogue says."""
    origin: Literal["catalogue", "detected", "snapshot"] = "catalogue"
    env: tuple[tuple[str, str], ...] = ()
    """Environment that makes the engine use just these GPUs of a machine that has more."""
    holders: tuple[str, ...] = ()
    """Processes that hold memory on these GPUs, largest first, each as one phrase for people."""
    unheld: "GpuSet | None" = None
    """Those of these GPUs that nobody holds memory on, where somebody does on others."""

    def __post_init__(self) -> None:
        for name, number in (("count", self.count), ("nodes", self.nodes)):
            if not 1 <= number <= MOST_OF_ONE:
                raise BadGpuString(f"the {name} of GPUs is {number:,}, not between 1 and {MOST_OF_ONE:,}")
        for size_bytes in (self.memory_override_bytes, self.free_memory_bytes):
            if size_bytes is not None and not 0 <= size_bytes <= MOST_COUNT:
                raise BadGpuString(f"a GPU's memory of {size_bytes:,} bytes is none")

    @property
    def total_gpus(self) -> int:
        """GPUs over all nodes."""
        return self.count * self.nodes

    @property
    def memory_bytes(self) -> int:
        """Engine-visible bytes of one GPU."""
        return self.memory_override_bytes or self.spec.engine_memory_bytes

    @property
    def held(self) -> bool:
        """Whether something else is known to hold memory on one of these GPUs."""
        free = self.free_memory_bytes
        return bool(self.holders) or (free is not None and self.memory_bytes - free > NOTABLE_BYTES)

    @property
    def fully_connected(self) -> bool:
        """Whether tensor parallelism has fast links between all GPUs of a node.

        Without a probe's word the product decides, or that the GPUs are at most what one bridge joins.
        """
        if self.count == 1 or self.linked is not None:
            return self.count == 1 or bool(self.linked)
        return self.spec.link.fully_connected or self.count <= self.spec.link.domain_gpus

    def __str__(self) -> str:
        nodes = f"{self.nodes}x" if self.nodes > 1 else ""
        return f"{nodes}{self.count}x{self.spec.name}"
