"""The line at the top: where one is among the steps; it decides nothing."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.wizard import ORDER, Answers, Step, reachable


class StepBar(Widget):
    """``m35  GPUs ─ Workload ─[Plan]─ Command ─ Launch ─ Verify``; steps that can be entered can be clicked."""

    note: reactive[str] = reactive("")
    answers: reactive[Answers] = reactive(Answers())

    def __init__(self, step: Step, *, answers: Answers, note: str = "") -> None:
        super().__init__()
        self._step = step
        self.set_reactive(StepBar.answers, answers)
        self.set_reactive(StepBar.note, note)

    def render(self) -> RenderResult:
        """One line, the note at its end."""
        parts: list[Content] = [Content.styled(" m35 ", "bold $accent"), Content(" ")]
        for step in ORDER:
            here = step is self._step
            before = "[" if here else " "
            after = "]" if here else " "
            if here:
                parts.append(Content.styled(f"{before}{step.label}{after}", "bold $accent"))
            elif reachable(step, self.answers):
                parts.append(Content.from_markup(f" [@click=screen.go('{step.value}')]{step.label}[/] "))
            else:
                parts.append(Content.styled(f"{before}{step.label}{after}", "$secondary 70%"))
            if step is not ORDER[-1]:
                parts.append(Content.styled("─", "$secondary"))
        line = Content("").join(parts)
        gap = self.content_size.width - line.cell_length - len(self.note) - 1
        if gap > 0 and self.note:
            line = Content.assemble(line, " " * gap, (self.note, "$secondary"))
        return line
