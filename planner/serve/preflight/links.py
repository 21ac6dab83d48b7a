"""Checks of the ways between the GPUs: fabric manager, peer access, IOMMU. They ask nvidia-smi and sysfs only."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hw_specs.detect.host import PCI_DEVICES, gpus_on_bus, text_of
from hw_specs.units import counted
from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.preflight.machine import NO_GPU, wanted_gpus
from planner.serve.preflight.nvidia_smi import gpus_of
from planner.serve.preflight.subject import Subject

_PCI = PCI_DEVICES
_TRANSLATED = ("DMA", "DMA-FQ")
_GOOD_PEER = ("OK", "X")


def check_fabric(subject: Subject) -> str | None:
    """Whether the NVSwitch fabric is set up, where there is one."""
    if not _several_nvidia(subject):
        return None
    if subject.nvidia_query is None:
        _require_gpus(subject)
        raise Skipped("nvidia-smi does not answer, so the state of the NVSwitch fabric is unknown")
    gpus = gpus_of(subject.nvidia_query)
    states = [(gpu["Fabric/State"], gpu.get("Fabric/Status", "N/A")) for gpu in gpus if "Fabric/State" in gpu]
    if not states or all(state == "N/A" for state, _ in states):
        return "no NVSwitch fabric on this machine"
    for number, (state, status) in enumerate(states):
        if state != "Completed" or status not in ("Success", "N/A"):
            raise Failed(
                f"GPU {number}: the NVSwitch fabric is `{state}`, `{status}`",
                "the host's administrator: `systemctl start nvidia-fabricmanager`, in exactly the driver's version",
            )
    for number, gpu in enumerate(gpus):
        if gpu.get("Fabric/Health/Summary", "N/A") not in ("Healthy", "N/A"):
            raise Doubtful(
                f"GPU {number}: the NVSwitch fabric is `{gpu['Fabric/Health/Summary']}`",
                "the host's administrator: `nvidia-smi -q` says which part, the log of nvidia-fabricmanager why",
            )
    return f"the fabric of {counted(len(states), 'GPU')} is set up"


def check_peer_access(subject: Subject) -> str | None:
    """Whether the GPUs may reach each other's memory."""
    if wanted_gpus(subject) < 2:
        return None
    if not _several_nvidia(subject):
        return _amd_links(subject)
    answer = subject.run(["nvidia-smi", "topo", "-p2p", "r"])
    if answer is None or answer.returncode:
        _require_gpus(subject)
        raise Skipped("nvidia-smi does not report which GPUs can reach each other")
    rows = [line.split() for line in answer.stdout.splitlines() if re.match(r"\s*GPU\d+\s+(?!GPU)\S", line)]
    without = [row[0] for row in rows if any(cell not in _GOOD_PEER for cell in row[1:])]
    if without:
        raise Doubtful(
            f"{', '.join(without)}: no direct access to the others' memory",
            "traffic goes through host memory: add `--disable-custom-all-reduce`; if it hangs, NCCL_P2P_DISABLE=1",
        )
    return f"{len(rows)} GPUs may reach each other" if rows else None


def check_iommu(subject: Subject) -> str | None:
    """Whether an IOMMU stands between the GPUs: it makes peer-to-peer traffic hang or fail."""
    if wanted_gpus(subject) < 2 or subject.order.in_container:
        return None
    if _bypassed(subject):
        return "these GPUs talk over NVLink or XGMI, which no IOMMU is in the way of"
    kinds = {path.name: text_of(path / "iommu_group" / "type") for path in _gpus()}
    translated = [name for name, kind in kinds.items() if kind in _TRANSLATED]
    if translated:
        raise Doubtful(
            f"{len(translated)} GPUs are behind a translating IOMMU ({kinds[translated[0]]})",
            "the host's administrator: `iommu=pt` for the kernel, and PCIe ACS off; peer-to-peer traffic hangs else",
        )
    return "no translating IOMMU before the GPUs" if any(kinds.values()) else "no IOMMU"


def check_acs(subject: Subject) -> str | None:
    """Whether PCIe bridges redirect what the GPUs send to each other (Access Control Services)."""
    if wanted_gpus(subject) < 2 or subject.order.in_container:
        return None
    if _bypassed(subject):
        return "these GPUs talk over NVLink or XGMI, which no PCIe bridge is in the way of"
    _gpus()
    if os.geteuid() != 0:
        raise Skipped("only root sees it: `sudo lspci -vvv | grep ACSCtl` must say ReqRedir- where GPUs talk over PCIe")
    answer = subject.run(["lspci", "-vvv"])
    if answer is None or answer.returncode:
        raise Skipped("there is no lspci (package pciutils) to ask")
    redirecting = len(re.findall(r"ACSCtl:.*\bReqRedir\+", answer.stdout))
    if redirecting:
        raise Doubtful(
            f"{redirecting} PCIe bridges redirect what GPUs send to each other (ACSCtl ReqRedir+)",
            "the host's administrator: PCIe ACS off in the BIOS; GPUs that talk over PCIe are slow or hang else",
        )
    return "no PCIe bridge redirects what GPUs send to each other"


def _amd_links(subject: Subject) -> str:
    """How AMD's driver says that the GPUs are linked; whether PCIe pairs reach each other it does not say."""
    kinds = [link.kind for link in subject.report.links if link.vendor == "amd"]
    if kinds and all(kind == "xgmi" for kind in kinds):
        return f"{len(kinds)} pairs of GPUs are linked by XGMI"
    raise Skipped(
        "AMD's driver does not say whether GPUs reach each other over PCIe; `NCCL_P2P_DISABLE=1` does without"
    )


def _bypassed(subject: Subject) -> bool:
    """Whether all that these GPUs say to each other goes over links of their own; nodes talk through PCIe adapters."""
    links = subject.report.links
    several = subject.plan is not None and subject.plan.gpus.nodes > 1
    return bool(links) and not several and all(link.kind in ("nvlink", "xgmi") for link in links)


def _several_nvidia(subject: Subject) -> bool:
    vendor = subject.plan.gpus.spec.vendor if subject.plan is not None else "nvidia"
    return wanted_gpus(subject) > 1 and vendor == "nvidia"


def _require_gpus(subject: Subject) -> None:
    if not subject.report.gpus:
        raise Skipped(NO_GPU)


def _gpus() -> list[Path]:
    """The GPUs of the PCI bus, by their folders."""
    found = [path for _, path in gpus_on_bus(_PCI)]
    if not found:
        raise Skipped(NO_GPU)
    return found
