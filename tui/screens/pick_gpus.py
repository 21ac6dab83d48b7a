"""Choosing GPUs of this machine by hand: which ones, how full they are, and who holds them."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from hw_specs.detect.devices import DetectedGpu
from hw_specs.detect.report import DetectionReport
from hw_specs.units import format_gib
from tui.screens.dialogues import Dialogue
from tui.widgets.columns import Column, Row
from tui.widgets.keys import Keys
from tui.widgets.table import SwitchRows, Table


class PickGpus(Dialogue[tuple[str, ...]]):
    """A list with a mark per GPU; returns the labels of those that are marked."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "next", "take them")]

    def __init__(self, report: DetectionReport, picked: Collection[str]) -> None:
        super().__init__()
        self._gpus = report.gpus
        self._picked = set(picked)

    def compose(self) -> ComposeResult:
        """The list."""
        with self.frame("which GPUs? space switches one"):
            yield Table(
                Column("GPU"), Column("GiB free", right=True), Column("held by", flex=True), id="pick", rows=SwitchRows
            )
        yield Keys()

    def on_mount(self) -> None:
        """Draw the list."""
        self._show(0)
        self.query_one("#pick", Table).rows_widget.focus()

    def _show(self, cursor: int | None) -> None:
        self.query_one("#pick", Table).show([self._row(gpu) for gpu in self._gpus], cursor=cursor)

    def _row(self, gpu: DetectedGpu) -> Row:
        mark = "[x]" if gpu.label in self._picked else "[ ]"
        free = "?" if gpu.free_bytes is None else format_gib(gpu.free_bytes, decimals=1)
        holders = ", ".join(
            f"{one.name or 'a process'} (pid {one.pid}"
            + (f", {format_gib(one.used_bytes, decimals=1)} GiB)" if one.used_bytes else ")")
            for one in gpu.processes
        )
        style = "$text-warning" if holders else ""
        return Row(cells=(f"{mark} {gpu.label} {gpu.name}", free, holders), style=style)

    @on(Table.Switched, "#pick")
    def _switched(self, event: Table.Switched) -> None:
        self._picked ^= {self._gpus[event.index].label}
        self._show(event.index)

    def action_next(self) -> None:
        """Take those that are marked; nothing is taken without a mark."""
        if self._picked:
            self.dismiss(tuple(gpu.label for gpu in self._gpus if gpu.label in self._picked))
        else:
            self.notify("mark at least one", severity="warning")
