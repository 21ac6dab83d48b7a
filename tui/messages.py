"""What workers tell screens: frozen values in messages, and nothing that can be drawn."""

from __future__ import annotations

from textual.message import Message

from hw_specs import DetectionReport


class GpusSeen(Message):
    """A probe has looked at this machine."""

    def __init__(self, report: DetectionReport) -> None:
        self.report = report
        super().__init__()
