"""The engine's container image, and what every container of it needs; it never talks to a registry."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from hw_specs.errors import shown
from hw_specs.mig import split_profile
from hw_specs.units import GIB
from planner.errors import InvalidRequest
from planner.facts.policy import policy
from planner.facts.vllm import vllm_facts
from planner.memory.host import host_memory_bytes, host_processes
from planner.memory.lora import adapter_bytes
from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import LONGEST_NAME, Deployment
from planner.rendering.headline import verdict_words, where

ANY_ADDRESS = "0.0.0.0"
"""Inside a container the server listens on every address; what is published decides who reaches it."""
MODELS = "/models"
"""Folder of a container in which local checkpoints lie."""


def health_command(port: int) -> tuple[str, ...]:
    """A probe that needs nothing but the image's own Python."""
    return (
        "python3",
        "-c",
        f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/health', timeout=5)",
    )


def image(plan: Plan, deployment: Deployment) -> str:
    """The engine's image for this vendor and release, or the user's, by digest where one is given."""
    template = vllm_facts().images.templates[plan.gpus.spec.vendor]
    reference = deployment.image or template.format(version=plan.vllm_version)
    if deployment.image_digest is None:
        return reference
    return f"{reference.partition('@')[0]}@{deployment.image_digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A local checkpoint and where a container sees it."""

    source: str
    """Absolute path on the host."""
    target: str


def in_container(plan: Plan) -> tuple[Plan, tuple[Mount, ...]]:
    """Return the plan with local checkpoints named as a container sees them, and what must be mounted for that.

    Raises:
        InvalidRequest: for a local checkpoint whose place on the host is not known.
    """
    mounts: list[Mount] = []

    def seen(name: str) -> str:
        if name.startswith(("./", "../", "~")):
            raise InvalidRequest(
                "model", f"a container needs the absolute path of `{shown(name)}`", hint="give the path from /"
            )
        if not name.startswith("/"):
            return name
        stem = PurePosixPath(name).name or "model"
        taken = {mount.target for mount in mounts}
        target = next(
            path
            for path in (f"{MODELS}/{stem}", *(f"{MODELS}/{number}/{stem}" for number in range(2, 9)))
            if path not in taken
        )
        mounts.append(Mount(source=name, target=target))
        return target

    model = replace(plan.model, name=seen(plan.model.name))
    if plan.settings.draft_model and model.draft is not None:
        model = replace(model, draft=replace(model.draft, name=seen(model.draft.name)))
    return replace(plan, model=model), tuple(mounts)


def pinned_companion(plan: Plan) -> tuple[str, str] | None:
    """Return the last good mistral_common and the first bad one, where this release chats with the first only."""
    if not plan.model.native_format or all(warning.code != "mistral-common" for warning in plan.warnings):
        return None
    pinned = vllm_facts().packages["mistral_common"]
    return pinned.last_good.value, pinned.first_bad.value


def pin_script(pinned: tuple[str, str], *, target: str | None = None) -> str:
    """A shell's words that bring the good mistral_common; pip does nothing where it is there already.

    With a `target` folder it is put there, beside the image's own, and only where the image's own is a bad one.
    """
    good, bad = pinned
    options = f"--quiet --no-deps mistral_common=={good}"
    if target is None:
        return f"python3 -m pip install {options} || uv pip install --system {options}"
    major, minor = bad.split(".")[:2]
    check = (
        "from importlib.metadata import version; "
        f'raise SystemExit([*map(int, version("mistral_common").split(".")[:2])] >= [{major}, {minor}])'
    )
    into = f"--target {target} {options}"
    return f"python3 -c '{check}' || python3 -m pip install {into} || uv pip install {into}"


def pin_note(plan: Plan) -> str:
    """One sentence for an artefact's head; empty where nothing is to be pinned."""
    pinned = pinned_companion(plan)
    if pinned is None:
        return ""
    return (
        f"vLLM {plan.vllm_version} answers 400 to every chat with mistral_common {pinned[1]} or newer: "
        f"it needs mistral_common=={pinned[0]}"
    )


def mig_note(plan: Plan) -> str:
    """One sentence for the head of what runs on the machine itself; empty where there is no MIG slice to choose."""
    if split_profile(plan.gpus.spec.name) is None or plan.gpus.env:
        return ""
    return (
        "the engine takes the first MIG slice it sees; where there are several, `--env CUDA_VISIBLE_DEVICES=MIG-UUID` "
        "names this one (`nvidia-smi -L`)"
    )


def startup_s(plan: Plan) -> int:
    """Seconds after which a start has failed: download, load and preparation at slow rates, rounded up to a minute."""
    startup = policy().startup
    size_bytes = plan.model.checkpoint_bytes or sum(plan.weights_bytes_per_gpu)
    seconds: float = size_bytes / startup.download_bytes_per_s.value
    seconds += size_bytes / startup.load_bytes_per_s.value + startup.prepare_s.value
    return int(math.ceil(seconds / 60) * 60)


def cache_gib(plan: Plan) -> int:
    """GiB of disk for the checkpoint, with room beside it, rounded up to ten."""
    spare = 1 + policy().kubernetes.cache_spare_fraction.value
    size_bytes = plan.model.checkpoint_bytes or sum(plan.weights_bytes_per_gpu)
    return int(math.ceil(size_bytes * spare / GIB / 10) * 10)


def gpus_per_node(plan: Plan) -> int:
    """GPUs of one node that the plan uses; the others stay free."""
    per_replica = plan.settings.layout.gpus_per_replica
    if per_replica >= plan.gpus.count:
        return plan.gpus.count
    return per_replica * min(plan.settings.replicas, plan.gpus.count // per_replica)


def replicas_per_node(plan: Plan) -> int:
    """Replicas whose engines run on one node; 1 where a replica spans nodes."""
    per_replica = plan.settings.layout.gpus_per_replica
    return max(1, min(plan.settings.replicas, plan.gpus.count // per_replica))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNeeds:
    """What is requested of one node's host."""

    cpus: int
    memory_gib: int
    """What ``m35-plan check`` says is needed, and room for /dev/shm and for reading the checkpoint."""
    shared_memory_gib: int


def host_memory_need(plan: Plan | None, *, workers: int = 1) -> tuple[int, str]:
    """Return the bytes of host memory that one node's processes need, and for what; `workers` count without a plan."""
    if plan is None:
        return host_memory_bytes(workers), f"{workers} worker{'' if workers == 1 else 's'}"
    workers, servers, settings = gpus_per_node(plan), replicas_per_node(plan), plan.settings
    _, said = host_memory_need(None, workers=workers)
    said += f" and {settings.max_num_seqs} x {settings.max_model_len:,} pinned token ids"
    pinned = settings.max_num_seqs * settings.max_model_len
    lora, api_servers = settings.lora, settings.api_server_count
    need = host_memory_bytes(
        workers, servers=servers, pinned_tokens=pinned, api_servers=api_servers,
        adapters_bytes=lora.max_cpu_loras * adapter_bytes(plan.model, lora) if lora else 0,
    )  # fmt: skip
    said += f" for each of {servers} servers" if servers > 1 else ""
    said += f", {api_servers} API servers" if api_servers is not None else ""
    return need, said + (f", {lora.max_cpu_loras} adapters in each worker" if lora else "")


def host_needs(plan: Plan) -> HostNeeds:
    """Return the CPUs and the memory that are requested for one node's servers."""
    host = policy().host
    shared: int = host.shared_memory_gib.value
    processes = host_processes(
        gpus_per_node(plan), servers=replicas_per_node(plan), api_servers=plan.settings.api_server_count
    )
    return HostNeeds(
        cpus=processes * host.process_cpus.value,
        memory_gib=math.ceil(host_memory_need(plan)[0] / GIB + shared + host.loading_memory_gib.value),
        shared_memory_gib=shared,
    )


def resource_name(plan: Plan, deployment: Deployment) -> str:
    """What everything emitted is called: the user's word, or the model's."""
    return deployment.name or resource_label(plan.model.name)


def resource_label(name: str) -> str:
    """The last part of a repository's or a folder's name as a DNS label that starts with a letter.

    >>> resource_label("mistralai/Mistral-Medium-3.5-128B"), resource_label("/m/3.5-128b")
    ('mistral-medium-3-5-128b', 'm-3-5-128b')
    """
    word = name.rstrip("/").rsplit("/", 1)[-1].lower()
    label = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in word).strip("-")
    if not label[:1].isalpha():
        label = f"m-{label}" if label else "model"
    return label[:LONGEST_NAME].strip("-")


def verdict_lines(plan: Plan) -> list[str]:
    """The verdict with its conditions, and below it what a verdict short of a plain "fits" means."""
    lines = [f"verdict: {verdict_words(plan)}"]
    if plan.verdict == "tight":
        lines.append("tight: it starts if every uncertain term is as expected, not if each is at its worst")
    if not plan.feasible:
        lines.append(f"does not fit: {shown(plan.reasons[0] if plan.reasons else plan.verdict, characters=200)}")
    return lines


def heading(plan: Plan, what: str, *notes: str) -> str:
    """The comment above an emitted file: what it is, for what, what it rests on, and what must exist beside it."""
    requests = plan.kv_cache.max_concurrency * plan.settings.replicas
    lines = [
        f"{what}: {shown(plan.model.name)} on {where(plan)}, vLLM {plan.vllm_version}",
        f"max-model-len {plan.settings.max_model_len}, {requests:.1f} requests of that length",
    ]
    return "\n".join([*lines, *verdict_lines(plan), *(note for note in notes if note)])
