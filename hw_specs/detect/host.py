"""What the operating system shows without any vendor library; it explains failures and finds no GPU.

Everything is read below a root folder, so that a test can lay out another machine.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hw_specs.spec import Vendor

_PCI_VENDORS: dict[str, Vendor] = {"0x10de": "nvidia", "0x1002": "amd"}
_GPU_CLASSES = ("0x0300", "0x0302", "0x0380", "0x1200")
"""Classes of PCI devices: display controllers, and processing accelerators such as the MI300."""
PCI_DEVICES = Path("/sys/bus/pci/devices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Signs of GPUs and drivers on one machine."""

    hostname: str
    in_container: bool = False
    pci_gpus: tuple[tuple[Vendor, int], ...] = ()
    """Vendor and number of its display and accelerator devices on the PCI bus."""
    nvidia_nodes: bool = False
    """``/dev/nvidiactl`` exists."""
    nvidia_module: str | None = None
    """Version of the loaded kernel module."""
    kfd: bool = False
    """``/dev/kfd`` exists."""
    kfd_usable: bool = False
    """This user may read and write it."""
    amdgpu_module: bool = False

    def on_bus(self, vendor: Vendor) -> int:
        """Number of GPUs of `vendor` that the PCI bus shows."""
        return dict(self.pci_gpus).get(vendor, 0)

    def shows(self, vendor: Vendor) -> bool:
        """Whether anything at all of `vendor` is here."""
        if vendor == "nvidia":
            return bool(self.on_bus(vendor) or self.nvidia_nodes or self.nvidia_module)
        return bool(self.on_bus(vendor) or self.kfd or self.amdgpu_module)


def look_at_host(root: Path = Path("/")) -> Host:
    """Read the signs below `root`; whatever cannot be read counts as not there."""
    kfd = root / "dev/kfd"
    return Host(
        hostname=text_of(root / "etc/hostname") or os.uname().nodename,
        in_container=_in_container(root),
        pci_gpus=tuple(sorted(Counter(vendor for vendor, _ in gpus_on_bus(root / "sys/bus/pci/devices")).items())),
        nvidia_nodes=(root / "dev/nvidiactl").exists(),
        nvidia_module=_nvidia_module(root),
        kfd=kfd.exists(),
        kfd_usable=os.access(kfd, os.R_OK | os.W_OK),
        amdgpu_module=(root / "sys/module/amdgpu").exists(),
    )


def text_of(path: Path) -> str:
    """Return what a file of the system holds, without space around it; empty where it cannot be read."""
    with contextlib.suppress(OSError, UnicodeError):
        return path.read_text(encoding="utf-8").strip()
    return ""


def _in_container(root: Path) -> bool:
    marks = (root / ".dockerenv", root / "run/.containerenv")
    if any(mark.exists() for mark in marks):
        return True
    first = text_of(root / "proc/1/cgroup")
    return any(word in first for word in ("docker", "kubepods", "containerd", "libpod"))


def gpus_on_bus(devices: Path = PCI_DEVICES) -> list[tuple[Vendor, Path]]:
    """Return the vendor and the folder of each GPU below `devices`, in the order of their addresses."""
    found: list[tuple[Vendor, Path]] = []
    with contextlib.suppress(OSError):
        for device in sorted(devices.iterdir()):
            vendor = _PCI_VENDORS.get(text_of(device / "vendor"))
            if vendor and text_of(device / "class").startswith(_GPU_CLASSES):
                found.append((vendor, device))
    return found


def pci_address(text: str) -> str:
    """Return a PCI address as sysfs writes it, however a driver does.

    >>> pci_address("00000000:3B:00.0"), pci_address("0000:c1:00.0")
    ('0000:3b:00.0', '0000:c1:00.0')
    """
    domain, colon, device = text.strip().lower().partition(":")
    return f"{domain.lstrip('0'):0>4}{colon}{device}"


def _nvidia_module(root: Path) -> str | None:
    version = text_of(root / "sys/module/nvidia/version")
    if version:
        return version
    words = text_of(root / "proc/driver/nvidia/version").split()
    return next((word for word in words if word.count(".") >= 1 and word[0].isdigit()), None)
