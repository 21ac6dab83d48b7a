"""Named checks of one machine for one start, before it; they look and never change anything.

Each gives pass, warn, fail or unknown with one line and a hint. What cannot be known here, because it lies on
another machine, in an image or behind a network, is unknown, and said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from planner.serve.check import CheckList, CheckResult, NamedCheck, Unknown
from planner.serve.preflight import (
    architecture,
    arguments,
    attention,
    checkpoint,
    configuration,
    engine,
    folders,
    gpu_health,
    gpu_variables,
    host,
    library_variables,
    links,
    machine,
    named,
    processors,
    quantization,
    settings,
    tokenizer,
    toolchain,
    variables,
)
from planner.serve.preflight.subject import Subject
from planner.serve.process.start_order import StartOrder

if TYPE_CHECKING:
    from planner.planning.answer import Plan

__all__ = ["CHECKS", "run_preflight"]

CHECKS: CheckList[Subject] = CheckList(
    checks=(
        NamedCheck(name="vllm", title="vLLM is here and new enough", run=engine.check_vllm),
        NamedCheck(name="mistral_common", title="its tokenizer package fits", run=engine.check_mistral_common),
        NamedCheck(name="transformers", title="its transformers fits", run=engine.check_transformers),
        NamedCheck(name="settings", title="it takes every value", run=settings.check_settings),
        NamedCheck(name="files", title="files in flags are there", run=named.check_files),
        NamedCheck(name="packages", title="what values need is installed", run=named.check_packages),
        NamedCheck(name="shadows", title="no file hides a module", run=named.check_shadows),
        NamedCheck(name="unplanned_flags", title="the plan counts every flag", run=engine.check_unplanned),
        NamedCheck(name="compilers", title="what is compiled at start can be", run=toolchain.check_compilers),
        NamedCheck(name="docker", title="docker answers", run=machine.check_docker),
        NamedCheck(name="gpus", title="the planned GPUs are here", run=machine.check_gpus),
        NamedCheck(name="gpu_memory", title="their memory is free", run=machine.check_gpu_memory),
        NamedCheck(name="driver", title="a driver answers", run=machine.check_driver),
        NamedCheck(name="runtime", title="the driver runs this build", run=toolchain.check_runtime),
        NamedCheck(name="fabric", title="the NVSwitch fabric is set up", run=links.check_fabric),
        NamedCheck(name="gpu_health", title="the GPUs are well", run=gpu_health.check_gpu_health),
        NamedCheck(name="peer_access", title="the GPUs reach each other", run=links.check_peer_access),
        NamedCheck(name="iommu", title="no IOMMU between the GPUs", run=links.check_iommu),
        NamedCheck(name="acs", title="no PCIe bridge redirects the GPUs", run=links.check_acs),
        NamedCheck(
            name="visible_devices", title="the chosen GPUs can be read", run=gpu_variables.check_visible_devices
        ),
        NamedCheck(name="allocator", title="memory can be shared", run=gpu_variables.check_allocator),
        NamedCheck(name="nccl", title="NCCL's variables fit", run=gpu_variables.check_nccl),
        NamedCheck(name="gpu_override", title="ROCm takes the GPU for itself", run=gpu_variables.check_override),
        NamedCheck(name="variable_ports", title="port variables hold ports", run=variables.check_ports),
        NamedCheck(name="gone_variables", title="every variable is still read", run=variables.check_gone),
        NamedCheck(name="unknown_variables", title="every VLLM_ variable exists", run=variables.check_unknown),
        NamedCheck(name="variable_numbers", title="number variables hold numbers", run=variables.check_numbers),
        NamedCheck(name="variable_choices", title="variables hold words it takes", run=variables.check_choices),
        NamedCheck(
            name="library_variables",
            title="libraries can read their variables",
            run=library_variables.check_library_variables,
        ),
        NamedCheck(name="variable_files", title="files in variables are there", run=variables.check_files),
        NamedCheck(name="debugging", title="no variable makes it slow", run=variables.check_debugging),
        NamedCheck(name="host_ip", title="VLLM_HOST_IP is this machine's", run=variables.check_host_ip),
        NamedCheck(name="hub", title="weights come from the hub", run=variables.check_hub),
        NamedCheck(name="driver_library", title="libcuda is the driver's", run=gpu_variables.check_driver_library),
        NamedCheck(name="logging", title="the log tells of the start", run=variables.check_logging),
        NamedCheck(name="proxy", title="no proxy catches this machine", run=variables.check_proxy),
        NamedCheck(name="user", title="the user has a name and a home", run=host.check_user),
        NamedCheck(name="limits", title="the limits suffice", run=host.check_limits),
        NamedCheck(name="temporary_files", title="temporary files can be made", run=folders.check_temporary),
        NamedCheck(name="compiled_code", title="compiled code can be kept", run=folders.check_caches),
        NamedCheck(name="cpus", title="every process has a core", run=processors.check_cpus),
        NamedCheck(name="numa", title="it runs beside its GPUs", run=processors.check_numa),
        NamedCheck(name="clock", title="the clock can be right", run=host.check_clock),
        NamedCheck(name="port", title="the port is free", run=machine.check_port),
        NamedCheck(name="api_key", title="an open server has a key", run=machine.check_api_key),
        NamedCheck(name="shared_memory", title="/dev/shm has room", run=machine.check_shared_memory),
        NamedCheck(name="host_memory", title="the host has memory", run=machine.check_host_memory),
        NamedCheck(name="checkpoint", title="the checkpoint is whole", run=checkpoint.check_checkpoint),
        NamedCheck(name="draft", title="the draft's checkpoint is whole", run=checkpoint.check_draft),
        NamedCheck(name="disk", title="the download fits", run=checkpoint.check_disk),
        NamedCheck(name="quota", title="the disk quota has room", run=host.check_quota),
        NamedCheck(name="configuration", title="config.json can be read", run=configuration.check_configuration),
        NamedCheck(name="architecture", title="vLLM knows the model", run=architecture.check_architecture),
        NamedCheck(name="tokenizer", title="its tokenizer is here", run=tokenizer.check_tokenizer),
        NamedCheck(name="quantization", title="its weights can be read", run=quantization.check_quantization),
        NamedCheck(name="attention", title="its attention backend fits", run=attention.check_attention),
        # Asked before all others, and waited for last: it takes the longest.
        NamedCheck(name="arguments", title="vLLM's parser takes every flag", run=arguments.check_arguments),
    )
)

_ANYWHERE = frozenset({"vllm", "mistral_common", "transformers", "arguments", "settings", "unplanned_flags", "api_key"})
"""Checks that say something about a start on another machine, if the same engine is installed here."""


def run_preflight(
    order: StartOrder,
    *,
    plan: Plan | None = None,
    elsewhere: bool = False,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    on_start: Callable[[str], None] = lambda _title: None,
) -> Iterator[CheckResult]:
    """Yield the result of each check of `order` as it comes; a check that does not apply yields nothing.

    `on_start` hears what is looked at before it is. With `elsewhere` the start will happen on another machine, and
    only what can be said from here is looked at.

    Raises:
        InvalidRequest: for a check that does not exist.
    """
    subject = Subject(order=order, plan=plan)
    checks = CHECKS.select(only=only, skip=skip)
    try:
        if any(check.run is arguments.check_arguments for check in checks):
            arguments.begin(subject)
        for check in checks:
            if elsewhere and check.name not in _ANYWHERE:
                check = replace(check, run=_only_there)
            on_start(check.title)
            result = check.result(subject)
            if result is not None:
                yield result
    finally:
        subject.leave()


def _only_there(_subject: Subject) -> str:
    raise Unknown("the plan is for another machine: check it there")
