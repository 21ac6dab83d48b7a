"""What a container needs beside the engine's flags: image, GPUs, shared memory, a place for the weights, patience."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from hw_specs.units import GIB
from planner.facts.policy import policy
from planner.facts.preflight import preflight_facts
from planner.facts.review import review_facts
from planner.review.case import Case
from planner.review.edits import line_before, replaced
from planner.review.findings import Edit, Finding, Severity, finding
from planner.review.readers.image import moving, serves, vendor_of
from planner.review.server import HealthProbe, Image, Mount
from planner.review.text import Source, Text

_CACHES = ("cache", "huggingface", "hf", "model", "weight", "hub", "data")
_RUN = re.compile(r"\S*(?:docker|podman|nerdctl)\s+(?:container\s+)?run\b")


def find(case: Case, source: Source) -> Iterator[Finding]:
    """Yield what the surroundings lack."""
    yield from _images(case)
    server = case.server
    doubled = server.arguments.doubled
    if doubled is not None:
        said = f"the image starts the server itself: `{doubled.value}` is one word too many"
        cure = "begin with the model, or set the entry point"
        yield finding("entrypoint-doubled", said, doubled, stops=True, cure=cure)
    if server.privileged is not None:
        yield _privileged(case, server.privileged, source)
    if server.container or server.claim.missing:
        yield from _gpus(case)
    yield from _shared_memory(case, source)
    yield from _cache(case)
    yield from _volume(case)
    for key, place in server.unread:
        said, cure = f"nothing reads `{key.value}` here: it belongs under {place}", f"{place}.{key.value}"
        yield finding("key-misplaced", said, key, cure=cure)
    yield from _user(case)
    yield from _probes(case)


def _images(case: Case) -> Iterator[Finding]:
    server = case.server
    for image, own in ((server.image, True), *((one, False) for one in server.side_images)):
        if image is None or not moving(image):
            continue
        tag = image.tag or "latest"
        at = image.tag_at if image.tag else image.name
        pin = f"v{case.asked_version}" if case.asked_version else "a release, such as v0.33.0"
        said = f"`{image.repository}` has no tag: it means latest"
        said = f"`{image.repository}:{tag}` is not pinned" if image.tag else said
        cure, edits = (f"pin the tag to {pin}", _pinned(case, image)) if own else ("pin the tag to a release", ())
        severity: Severity | None = None if own else "info"
        yield finding("moving-image", f"{said}: the tag moves", at, severity=severity, edits=edits, cure=cure)


def _pinned(case: Case, image: Image) -> tuple[Edit, ...]:
    """The tag of the requested release, where the image's tags are releases."""
    if case.asked_version is None or not serves(image) or not image.name.known:
        return ()
    tag = f"v{case.asked_version.removeprefix('v')}"
    if image.tag:
        return replaced(image.tag_at, tag)
    return (Edit(image.name.end, image.name.end, f":{tag}"),) if image.name.verbatim else ()


def _privileged(case: Case, at: Text, source: Source) -> Finding:
    edits: tuple[Edit, ...] = ()
    text = source.text
    if case.server.platform == "docker" and at.verbatim and case.server.claim.at is not None:
        start, end = at.start, at.end
        while start > 0 and text[start - 1] in " \t":
            start -= 1
        if text[start - 1 : start] == "\n":
            start, end = at.start, at.end + len(text[at.end :]) - len(text[at.end :].lstrip(" \t"))
        edits = (Edit(start, end, ""),)
    elif case.server.platform == "compose" and case.server.claim.at is not None:
        line_start = text.rfind("\n", 0, at.start) + 1
        line_end = text.find("\n", at.start)
        if text[line_start : at.start].strip() == "" and line_end > 0:
            edits = (Edit(line_start, line_end + 1, ""),)
    name = "--privileged" if case.server.platform == "docker" else "privileged: true"
    said, cure = f"{name} gives the container the whole host", "leave it out: the GPU's devices are enough"
    return finding("privileged", said, at, edits=edits, cure=cure)


def _gpus(case: Case) -> Iterator[Finding]:
    server, claim = case.server, case.server.claim
    image_vendor = vendor_of(server.image) if server.image is not None else None
    if claim.missing and image_vendor == "other":
        return
    if claim.missing:
        how = {
            "docker": "--gpus all" if image_vendor != "amd" else "--device /dev/kfd --device /dev/dri",
            "compose": "deploy.resources.reservations.devices, or gpus: all",
            "helm": "requestGPU",
        }.get(server.platform, "resources.limits with nvidia.com/gpu or amd.com/gpu")
        yield finding(
            "no-gpu-request",
            "nothing gives this container a GPU",
            claim.at or server.at,
            # A node whose every container sees its GPUs would start it anyway.
            stops=server.platform in ("docker", "compose"),
            cure=how,
        )
        return
    asked, built = claim.vendor, image_vendor
    machine = case.machine.spec.vendor if case.machine is not None and built != "other" else None
    if server.image is None or built is None:
        return
    if asked not in (None, built):
        whose, at = f"it asks for GPUs of {_called(asked)}", claim.at or server.at
    elif machine not in (None, built):
        whose, at = f"the GPUs are {_called(machine)}'s", server.image.name
    else:
        return
    said = f"{whose}, and `{server.image.repository}` is built for {_called(built)}"
    yield finding("gpu-vendor", said, at, stops=True, cure="take the image that is built for the GPU")


def _called(vendor: str | None) -> str:
    return {"nvidia": "NVIDIA", "amd": "AMD"}.get(vendor or "", "another vendor")


def _shared_memory(case: Case, source: Source) -> Iterator[Finding]:
    server = case.server
    if server.platform not in ("docker", "compose", "kubernetes") or case.ranks is None:
        return
    here = min(case.ranks, server.claim.count or case.ranks)
    if server.shared_memory == "none" and here > 1:
        how = {"docker": "--ipc=host, or --shm-size 16g", "compose": "ipc: host, or shm_size: 16g"}.get(
            server.platform, "an emptyDir of medium Memory, mounted at /dev/shm"
        )
        edits: tuple[Edit, ...] = ()
        if server.platform == "docker":
            edits = _behind_run(case, source, "--ipc=host")
        elif server.platform == "compose" and server.image is not None:
            edits = line_before(source, server.image.name, "image", "ipc: host")
        said = f"its {case.ranks} ranks get no more than 64 MiB of /dev/shm"
        yield finding("shared-memory", said, server.at, cure=how, edits=edits)
    need = preflight_facts().shared_memory.need_gib * GIB
    if server.shared_memory_bytes is not None and server.shared_memory_bytes < need and case.ranks > 1:
        size = f"{server.shared_memory_bytes / 2**20:.0f} MiB"
        said = f"/dev/shm is limited to {size}, too small for {case.ranks} ranks"
        yield finding("shared-memory", said, server.at, cure="a sizeLimit of 16Gi")


def _behind_run(case: Case, source: Source, flag: str) -> tuple[Edit, ...]:
    """A flag behind ``docker run``."""
    match = _RUN.match(source.text, case.server.at.start)
    return (Edit(match.end(), match.end(), " " + flag),) if match is not None else ()


def _cache(case: Case) -> Iterator[Finding]:
    server = case.server
    if not (server.container or server.platform == "image") or server.cached_elsewhere or case.hub_name is None:
        return
    if any(mount.kind == "volume" and _keeps(case, mount) for mount in server.mounts):
        return
    offline = _offline(case)
    if offline is not None:
        # Another image than vLLM's own may have the weights in it.
        if server.image is not None and serves(server.image):
            said = f"{offline.value} is on, and nothing here holds the model: the hub is not asked for it"
            cure = "a volume with the model at HF_HOME, or the model in the image"
            severity: Severity | None = "warn" if server.platform == "image" else None
            stops = severity is None
            yield finding("offline-empty", said, offline, severity=severity, stops=stops, cure=cure)
        return
    if server.platform == "image":
        return
    empty = next((mount for mount in server.mounts if mount.kind == "empty" and _keeps(case, mount)), None)
    if empty is not None:
        said = f"{empty.target} is an emptyDir: the weights are downloaded again by every new pod"
        yield finding("cache-volume", said, server.at, severity="info", cure="a persistent volume claim there")
        return
    cure = {
        "docker": "-v ~/.cache/huggingface:/root/.cache/huggingface",
        "compose": "a volume at /root/.cache/huggingface",
        "helm": "pvcStorage",
    }.get(server.platform, "a persistent volume claim, mounted at /root/.cache/huggingface")
    said = "no volume holds the model cache: the weights are downloaded again at every start"
    yield finding("cache-volume", said, server.at, cure=cure)


def _offline(case: Case) -> Text | None:
    """The name of the variable that keeps the hub's library from asking the hub."""
    facts = review_facts().hub_token
    for name in facts.offline:
        variable = case.server.variable(name)
        value = variable.value if variable is not None else None
        if variable is not None and value is not None and value.known and value.value.strip().upper() in facts.true:
            return replace(variable.name, value=name)
    return None


def _keeps(case: Case, mount: Mount) -> bool:
    """Whether a mount is where the weights go."""
    target = mount.target.rstrip("/").lower()
    if target in ("/dev/shm", "/var/run/docker.sock") or target.endswith((".jinja", ".json", ".yaml", ".sock")):
        return False
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "TRANSFORMERS_CACHE"):
        variable = case.server.variable(name)
        if variable is not None and variable.value is not None and variable.value.value.startswith(mount.target):
            return True
    folder = case.server.text("download-dir")
    if folder is not None and folder.startswith(mount.target):
        return True
    return target in ("/root", "/home", "/mnt") or any(word in target for word in _CACHES)


def _volume(case: Case) -> Iterator[Finding]:
    """Replicas on several nodes cannot have a volume of one."""
    server = case.server
    if server.one_node is not None and server.replicas > 1:
        said = f"its {server.replicas} replicas share a volume that one node can mount: ReadWriteOnce"
        cure = "accessModes: [ReadWriteMany], or [ReadOnlyMany] once the weights are there"
        yield finding("volume-one-node", said, server.one_node, cure=cure)


def _user(case: Case) -> Iterator[Finding]:
    """A user that the image does not know, and folders that it cannot write."""
    server, facts = case.server, review_facts().container_user
    user, env = server.user, server.env
    number = int(user.value[:12]) if user is not None else 0
    nameless = number >= facts.least and number not in facts.named and not any(name in env for name in facts.names)
    if user is not None and nameless and not server.hidden_variables:
        homeless = "" if any(name in env for name in facts.homes) else ", and HOME to a folder that it can write"
        surely: Severity | None = None if number >= facts.surely else "warn"
        said = f"user {number} has neither a name nor a home in the image"
        yield finding("nameless-user", said, user, severity=surely, cure=f"set USER to any name{homeless}")
    variable = server.variable("TMPDIR")
    folder = variable.value.value if variable is not None and variable.value is not None else "/tmp"
    if server.read_only is not None and not any(_covers(mount, folder) for mount in server.mounts):
        said = f"the root file system is read-only, and nothing is mounted at {folder}"
        yield finding(
            "read-only-root", said, server.read_only, cure=f"a writable volume at {folder}, such as an emptyDir"
        )


def _covers(mount: Mount, folder: str) -> bool:
    target = mount.target.rstrip("/")
    return folder == target or folder.startswith(f"{target}/")


def _probes(case: Case) -> Iterator[Finding]:
    server = case.server
    fatal = [probe for probe in server.probes if probe.kind in ("startup", "health")]
    fatal = fatal or [probe for probe in server.probes if probe.kind == "liveness"]
    size = case.checkpoint_bytes
    if size is not None:
        needed = _least_start_s(size)
        for probe in fatal:
            if probe.patience_s < needed:
                yield _short(probe, needed)
    kinds = ("Deployment", "StatefulSet", "LeaderWorkerSet", "ReplicaSet")
    if server.kind in kinds and not server.probes and not server.probed_elsewhere:
        cure = "a startupProbe on /health, and a readinessProbe"
        yield finding("no-probe", "the container has no probe at all", server.at, cure=cure)


def _least_start_s(size_bytes: int) -> int:
    """Seconds that a start takes at least where nothing is downloaded."""
    loading = size_bytes / float(policy().startup.load_bytes_per_s.value)
    return int(loading + review_facts().least_prepare_s.value)


def _short(probe: HealthProbe, needed_s: int) -> Finding:
    what = {"health": "healthcheck", "startup": "startupProbe", "liveness": "livenessProbe"}[probe.kind]
    cure = f"a startupProbe with failureThreshold {-(-2 * needed_s // max(1, probe.period_s))}"
    said = f"the {what} gives up after {probe.patience_s} s, before the weights are loaded: a start takes at least"
    cure = "a longer start_period" if probe.kind == "health" else cure
    return finding("probe-short", f"{said} {needed_s} s", probe.at, cure=cure)
