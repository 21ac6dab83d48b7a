"""Options that say where and under which names an emitted artefact runs; the words are the deployment's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hw_specs.errors import reason_of
from planner.cli.options import Host, Trimmed
from planner.errors import InvalidRequest
from planner.rendering.emitters import EMITTERS
from planner.settings import DEFAULT_PORT

if TYPE_CHECKING:
    from pathlib import Path

    from planner.rendering.emitters.deployment import Deployment

F = TypeVar("F", bound=Callable[..., Any])
PAGES = {"json": "json", "markdown": "md", "html": "html"}
"""What shows the plan and starts nothing → the ending of its file."""
PLACED = {
    "name": ("NAME", "name of what is emitted; the model's by default"),
    "namespace": ("NAME", "Kubernetes namespace of every emitted object"),
    "image": ("REFERENCE", "container image instead of the release's own"),
    "image_digest": ("sha256:HEX", "pin the container image"),
    "storage_class": ("NAME", "storage class of the emitted volume claims"),
    "secret": ("NAME", "Kubernetes Secret with HF_TOKEN and VLLM_API_KEY; NAME-secrets by default"),
    "pull_secret": ("NAME", "Kubernetes Secret for a private image registry"),
    "head_address": ("ADDRESS", "address of node 0 that the other nodes of one server reach"),
    "mig_strategy": ("mixed|single", "how the device plugin names MIG slices: as resources of their own, or as GPUs"),
    "prometheus": ("URL", "Prometheus that an emitted autoscaler asks"),
}
"""Option → what stands for its value and its help."""


class Pair(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split at the first equals sign."""
        if isinstance(value, tuple):
            return value
        name, equals, rest = str(value).partition("=")
        if not equals or not name:
            self.fail(f"`{value}` is not NAME=VALUE", param, ctx)
        return name, rest


def emit_options(command: F) -> F:
    """``--emit`` and everything that only means something with it."""
    pair = Pair()
    decorators = [
        click.option(
            "--emit", "emit_kind", type=click.Choice([*EMITTERS, *PAGES]), metavar="TARGET",
            help=f"print it for {', '.join(EMITTERS)}; or the plan as json, or as a page to share: markdown, html",
        ),
        click.option(
            "--output", "output_dir", type=click.Path(file_okay=False), metavar="DIR",
            help="write what is emitted into this folder instead of stdout",
        ),
        click.option("--emit-unfit", is_flag=True, help="emit a plan even if it does not fit"),
        click.option(
            "--host", type=Host(), metavar="HOST",
            help="address the emitted server listens on; a container publishes it (127.0.0.1; pods: all)",
        ),
        click.option(
            "--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, help="port the emitted server is reached on"
        ),
        *(
            click.option("--" + name.replace("_", "-"), type=Trimmed(), metavar=metavar, help=text)
            for name, (metavar, text) in PLACED.items()
        ),
        click.option(
            "--env", type=pair, multiple=True, metavar="NAME=VALUE", help="extra environment variable (repeatable)"
        ),
        click.option(
            "--label", "labels", type=pair, multiple=True, metavar="NAME=VALUE",
            help="extra label on what is emitted (repeatable)",
        ),
    ]  # fmt: skip
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def take_deployment(options: dict[str, Any]) -> Deployment | None:
    """Take the options of :func:`emit_options` out of `options`; None when every one is as by default."""
    given = {name: options.pop(name) for name in (*PLACED, "host", "port", "env", "labels")}
    said = {
        name: value
        for name, value in given.items()
        if value not in (None, ()) and (name, value) != ("port", DEFAULT_PORT)
    }
    if not said:
        return None
    from planner.rendering.emitters.deployment import Deployment

    return Deployment(**said)


def write_files(output_dir: str, files: Mapping[str, str]) -> list[Path]:
    """Write `files` into `output_dir` and return their paths.

    Raises:
        InvalidRequest: when the system refuses.
    """
    from pathlib import Path  # only here: most plans are not written into files

    folder, paths = Path(output_dir), []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            paths.append(folder / name)
            paths[-1].write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        reason = reason_of(error)
        raise InvalidRequest("output", f"cannot write into output `{folder}`: {reason}") from None
    return paths
