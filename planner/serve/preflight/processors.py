"""Checks of the CPUs that a start gets, and where they are beside its GPUs. They read sysfs and change nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hw_specs.detect.host import PCI_DEVICES, gpus_on_bus, pci_address, text_of
from planner.memory.host import host_processes
from planner.rendering.emitters.image import gpus_per_node, replicas_per_node
from planner.serve import cgroup
from planner.serve.check import Doubtful, Skipped
from planner.serve.preflight.machine import on_cpu, wanted_gpus
from planner.serve.preflight.subject import Subject

_PCI, _SYSTEM = PCI_DEVICES, Path("/sys/devices/system")


def check_cpus(subject: Subject) -> str | None:
    """Whether each of the engine's processes has a core: the engine core and the workers never rest.

    Source: vLLM's docs/configuration/optimization.md, "Minimum CPU Requirements": 2 + N physical cores for N GPUs.
    """
    if subject.order.in_container or on_cpu(subject):
        return None
    plan = subject.plan
    needed = (
        host_processes(gpus_per_node(plan), servers=replicas_per_node(plan), api_servers=plan.settings.api_server_count)
        if plan is not None
        else host_processes(wanted_gpus(subject))
    )
    threads, cores, quota = os.sched_getaffinity(0), _cores(os.sched_getaffinity(0)), cgroup.cpu_quota()
    said = f"{cores} cores ({len(threads)} CPUs)" + (f", time of {quota:g} of them" if quota is not None else "")
    if cores < needed or (quota is not None and quota < needed):
        raise Doubtful(
            f"{said} for {needed} processes of which none rests: answers are slow, and a start may run out of time",
            "more CPUs: `--cpus` and `--cpuset-cpus` of docker, limits.cpu in Kubernetes, --cpus-per-task of Slurm",
        )
    return f"{said}, {needed} needed"


def check_numa(subject: Subject) -> str | None:
    """Whether this process may run beside the GPUs it uses: memory of another NUMA node is a slower way."""
    if subject.order.in_container or on_cpu(subject):
        return None
    nodes = {number: _cpus(path / "cpulist") for path in (_SYSTEM / "node").glob("node*") if (number := path.name[4:])}
    homes = {node for path in _used(subject) if (node := text_of(path / "numa_node")) in nodes}
    if len(nodes) < 2:
        return None
    if not homes:
        raise Skipped("no GPU on the PCI bus says which NUMA node it is at")
    allowed = os.sched_getaffinity(0)
    far = sorted(node for node in homes if nodes[node] and not nodes[node] & allowed)
    if far:
        raise Doubtful(
            f"GPUs are at NUMA node {', '.join(far)}, and this process may not run there",
            "let it: `taskset`, `numactl --cpunodebind`, cpuset of the container, --cpu-bind of Slurm",
        )
    return f"GPUs at NUMA nodes {', '.join(sorted(homes))}, and all of them may be used"


def _used(subject: Subject) -> list[Path]:
    """The folders of the GPUs that the start takes: a job that got half a node is on the side of its own half.

    Where no driver says which those are, of all GPUs.
    """
    count = gpus_per_node(subject.plan) if subject.plan is not None else wanted_gpus(subject)
    taken = {pci_address(gpu.pci_bus_id) for gpu in subject.report.selection.chosen[:count]}
    every = [path for _, path in gpus_on_bus(_PCI)]
    return [path for path in every if path.name in taken] or every


def _cores(threads: Iterable[int]) -> int:
    """How many physical cores those are; what sysfs does not report counts as one each."""
    return len({text_of(_SYSTEM / f"cpu/cpu{one}/topology/thread_siblings_list") or str(one) for one in threads})


def _cpus(path: Path) -> set[int]:
    """The numbers in a list such as ``0-3,8``."""
    ranges = [part.partition("-") for part in text_of(path).split(",") if part]
    return {number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)}
