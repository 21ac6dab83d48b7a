"""One server with everything the rules ask about it: release, model, GPUs. It judges nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from hw_specs import parse_gpus
from hw_specs.errors import M35Error
from hw_specs.spec import MOST_OF_ONE, GpuSet
from planner.checkpoint import load_preset, preset_stems
from planner.errors import PlannerError
from planner.facts.engine_flags import Flags, flags_of
from planner.facts.release import newest_version, parse_version
from planner.facts.review import KnownModel
from planner.model import ModelSpec
from planner.review.machine import product_of
from planner.review.readers.docker import visible, visible_count
from planner.review.readers.image import release_of, vendor_of
from planner.review.server import Server
from planner.review.text import Text

_SIZE = re.compile(r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)
_HALF = re.compile(r"fp8|int8|w8a8|8bit|8-bit", re.IGNORECASE)
_QUARTER = re.compile(r"awq|gptq|4bit|4-bit|int4|w4a16|nvfp4|mxfp4|fp4|bnb", re.IGNORECASE)
_FOLDERS = {"HOME", "PWD", "USER", "SCRATCH", "WORK", "SLURM_TMPDIR"}
"""Variables that say where a folder is, and nothing of what is in it."""
_LOCAL = {"shell", "systemd", "python", "config"}
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Case:
    """One server under review."""

    server: Server
    machine: GpuSet | None = None
    """The GPUs that were named with the artefact."""
    asked_version: str | None = None
    described: KnownModel | None = None
    """What the model's own configuration says, where it is at hand."""
    alone: bool = True
    """Whether no other server of the file shares its machine."""
    script: bool = field(default=False)
    """Whether it stands in a file that is run, not in a line that is shown."""

    @cached_property
    def version(self) -> str | None:
        """The release that the artefact names, else the one asked for."""
        said = release_of(self.server.image) if self.server.image is not None else None
        if said is None and self.server.version is not None:
            said = self.server.version.value
        for text in (said, self.asked_version):
            if text is not None:
                try:
                    parse_version(text)
                except PlannerError:
                    continue
                return text
        return None

    @property
    def names_release(self) -> bool:
        """Whether the artefact itself says which release is installed."""
        image = self.server.image
        return self.server.version is not None or (image is not None and release_of(image) is not None)

    @cached_property
    def judged_version(self) -> str:
        """The release whose rules judge it: the newest known one where it is not given."""
        return self.version or newest_version()

    @cached_property
    def flags(self) -> Flags:
        """The flags of its release, or of every known one."""
        return flags_of(self.version)

    @cached_property
    def model(self) -> ModelSpec | None:
        """Its model, where it is one that the planner knows by name."""
        return known_model(self.model_name)

    @property
    def model_name(self) -> str | None:
        """Its model's name; of a path in a home directory the last folder is enough."""
        text = self.server.model
        if text is None or not text.value:
            return None
        last = text.value.rstrip("/").rpartition("/")[2]
        homely = "/" in text.value and set(text.unknown) <= _FOLDERS and "$" not in last
        return text.value if text.known or homely else None

    @property
    def elsewhere(self) -> bool:
        """Whether some of its ranks run in other processes, started on their own."""
        apart = ("data-parallel-size-local", "data-parallel-rank", "nnodes", "headless", "data-parallel-start-rank")
        # In a cluster Ray places ranks in other pods.
        by_ray = self.server.text("distributed-executor-backend") == "ray" and self.server.platform == "kubernetes"
        return self.server.spread or by_ray or any(self.server.option(name) is not None for name in apart)

    @cached_property
    def ranks(self) -> int | None:
        """GPUs of one replica; None where a size is not known."""
        return self._product("tensor-parallel-size", "pipeline-parallel-size")

    @cached_property
    def used(self) -> int | None:
        """GPUs of all its ranks; None where a size is not known."""
        return self._product("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")

    def _product(self, *names: str) -> int | None:
        if self.server.arguments.open_ended:
            return None
        total = 1
        for name in names:
            given = self.server.option(name)
            if given is None:
                continue
            number = self.server.number(name)
            if number is None or not 0 < number < 10_000:
                return None
            total *= number
        return total

    @cached_property
    def visible(self) -> tuple[int, Text] | None:
        """How many GPUs a variable leaves it, and where that stands."""
        for name in _VISIBLE:
            count = visible_count(self.server.env, name)
            if count is not None:
                at = self.server.env[name].value
                assert at is not None
                return count, at
        return None

    @cached_property
    def devices(self) -> frozenset[str]:
        """The GPUs of the machine that its ranks run on, where it is given them one by one; empty elsewhere."""
        server = self.server
        if server.container and (
            server.platform not in ("docker", "compose") or any(visible(server.env, name) for name in _VISIBLE[:-1])
        ):
            return frozenset()  # within a container that sees some of them, they are counted anew
        names = _VISIBLE if not server.container else _VISIBLE[-1:]
        given = server.claim.devices or next((found for name in names if (found := visible(server.env, name))), ())
        if server.container:
            given = tuple(sorted(given, key=lambda name: (len(name), name)))  # as the driver lists them
        return frozenset(given[: self.used or 0])

    @cached_property
    def product(self) -> str | None:
        """The GPU that the artefact names, as the catalogue calls it."""
        return product_of(self.server.claim.product)

    @cached_property
    def available(self) -> int | None:
        """GPUs of one node that are there for it; None where it is not given."""
        claim = self.server.claim
        if self.visible is not None:
            return self.visible[0] if claim.count is None else min(claim.count, self.visible[0])
        if claim.count is not None:
            return claim.count
        if claim.choice:
            return None
        return self.machine.count if self.machine is not None else None

    @cached_property
    def gpus(self) -> GpuSet | None:
        """The GPUs it would run on; None where kind or number is not known."""
        name = self.machine.spec.name if self.machine is not None else self.product
        if name is None:
            return None
        nodes = self.server.claim.nodes
        if nodes == 1 and self.machine is not None:
            nodes = self.machine.nodes
        if nodes == 1:
            nodes = max(1, min(self.server.number("nnodes") or 1, MOST_OF_ONE))
        count = self.available
        if count is None:
            count = max(1, (self.used or 1) // nodes)
        override = self.machine.memory_override_bytes if self.machine is not None else None
        try:
            return parse_gpus(f"{nodes}x{count}x{name}" if nodes > 1 else f"{count}x{name}", override)
        except M35Error:
            return None

    @cached_property
    def vendor(self) -> str | None:
        """Vendor of the GPUs, from the claim, the image or the machine."""
        if self.server.claim.vendor is not None:
            return self.server.claim.vendor
        if self.server.image is not None and vendor_of(self.server.image) is not None:
            return vendor_of(self.server.image)
        return self.gpus.spec.vendor if self.gpus is not None else None

    @cached_property
    def has_key(self) -> bool | None:
        """Whether requests need a key; None where that is decided elsewhere."""
        if self.server.option("api-key") is not None:
            return True
        variable = self.server.variable("VLLM_API_KEY")
        if variable is not None:
            return variable.value is None or bool(variable.value.value)
        return None if self.server.hidden_variables else False

    @cached_property
    def hub_name(self) -> str | None:
        """The model's repository on the hub; None for a path, an address or what is not known."""
        name = self.model_name
        if name is None or name.startswith(("/", ".", "~")) or "://" in name or name.count("/") != 1:
            return None
        return name

    @cached_property
    def checkpoint_bytes(self) -> int | None:
        """Size of the weights: the known model's, or what the name says; None where it says nothing."""
        if self.model is not None:
            return self.model.checkpoint_bytes
        return named_bytes(self.model_name or "")

    @property
    def local(self) -> bool:
        """Whether it runs on the machine itself, not in a container."""
        return self.server.platform in _LOCAL


def known_model(name: str | None) -> ModelSpec | None:
    """The shipped model that a name or the last folder of a path stands for."""
    if name is None:
        return None
    wanted = name.rstrip("/").casefold()
    for stem in preset_stems():
        repository = load_preset(stem).name.casefold()
        if wanted == repository or PurePosixPath(wanted).name == repository.rpartition("/")[2]:
            return load_preset(stem)
    return None


def stored_as(method: str, model: ModelSpec) -> bool:
    """Whether a known model's checkpoint is quantized by `method`, as ``--quantization`` calls it."""
    formats = {fmt.name for group in model.layers for fmt in (group.attention, group.mlp)}
    if method in ("fp8", "auto"):
        return any(name.startswith("fp8") for name in formats)
    return method.startswith("modelopt") and "nvfp4" in formats


def named_bytes(name: str) -> int | None:
    """Bytes of the weights that a model's name gives away.

    >>> named_bytes("Qwen/Qwen2.5-72B-Instruct"), named_bytes("some/thing-7B-AWQ")
    (144000000000, 3500000000)
    """
    found = [float(number) * int(experts or 1) for experts, number in _SIZE.findall(name) if len(number) < 7]
    if not found:
        return None
    per_parameter = 0.5 if _QUARTER.search(name) else 1.0 if _HALF.search(name) else 2.0
    return int(max(found) * 1e9 * per_parameter)
