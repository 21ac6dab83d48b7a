"""Step 2: what the server must do; every field has a default and a line of help."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import DescendantFocus
from textual.widget import Widget
from textual.widgets import Input, Static

from hw_specs import M35Error
from hw_specs.units import parse_count
from planner import PlanRequest
from planner.errors import InvalidRequest
from planner.facts.vllm import vllm_facts
from planner.planning.request import SETTINGS
from planner.planning.setting import Setting
from tui.screens.step import StepScreen
from tui.widgets.fields import Choice, Line
from tui.widgets.plan_side import PlanSide
from tui.wizard import Step, with_request

YES, NO = "yes", "no"
FORM = (
    "language_model_only", "max_model_len", "concurrency", "num_speculative_tokens", "kv_cache_dtype",
    "gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens", "enforce_eager", "vllm_version", "load_format",
)  # fmt: skip
"""Settings that are asked, top to bottom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One line of the form: a field of the request, how it is shown and read."""

    name: str
    label: str
    words: tuple[str, ...] = ()
    """Words to turn through; empty for a line to type in."""
    read: Callable[[str], Any]
    show: Callable[[Any], str]
    placeholder: str = "choose for me"


def _number(text: str) -> int | None:
    return parse_count(text) if text.strip() else None


def _fraction(text: str) -> float | None:
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise InvalidRequest(
            "gpu_memory_utilization", f"`{text}` is not a number", hint="a fraction such as 0.92"
        ) from None


def _shown(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _share(value: Any) -> str:
    return "" if value is None else f"{value:g}"


def _yes(value: object) -> str:
    return YES if value else NO


def fields() -> tuple[Field, ...]:
    """The form, top to bottom."""
    return tuple(_field(name, SETTINGS[name]) for name in FORM)


def _field(name: str, setting: Setting) -> Field:
    """One line of the form, from the description of its setting."""
    facts = vllm_facts()
    if setting.kind == "switch":
        return Field(name=name, label=setting.label, words=(NO, YES), read=lambda word: word == YES, show=_yes)
    if name == "num_speculative_tokens":
        return Field(
            name=name,
            label=setting.label,
            words=("off", "1", "2", "3", "4", "5"),
            read=lambda word: 0 if word == "off" else int(word),
            show=lambda value: str(value) if value else "off",
        )
    if name == "vllm_version":
        newest = facts.newest
        return Field(
            name=name,
            label=setting.label,
            words=tuple(reversed(facts.read)),
            read=str,
            show=lambda value: value or newest,
        )
    if setting.kind == "text":
        words = setting.choices or tuple(facts.kv_cache.dtypes)
        return Field(name=name, label=setting.label, words=words, read=str, show=str)
    fraction = setting.kind == "fraction"
    return Field(
        name=name,
        label=setting.label,
        read=_fraction if fraction else _number,
        show=_share if fraction else _shown,
        placeholder=setting.placeholder,
    )


class WorkloadScreen(StepScreen):
    """A form beside the plan it leads to."""

    STEP: ClassVar[Step] = Step.WORKLOAD
    LINE_KEY: ClassVar[str] = "^y"
    HELP_TEXT: ClassVar[str] = (
        "What should the server do? Leave a line empty and the planner chooses what is sure to fit. Numbers may be "
        "written as vLLM reads them: 128k is 128,000 and 128K is 131,072. The plan at the side follows every key; "
        "what it refuses, it refuses with the reason."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        # With priority, so that keys typed ahead reach the field that the arrow went to.
        Binding("down", "move(1)", "choose", key_display="↑↓", priority=True),
        Binding("up", "move(-1)", "choose", show=False, priority=True),
    ]

    def compose_body(self) -> ComposeResult:
        """The form at the left, the plan at the right."""
        request = self.answers.request
        assert request is not None, "the wizard enters this step with GPUs"
        self._fields = {field.name: field for field in fields()}
        with Horizontal():
            with Vertical(classes="question"):
                yield Static(str(request.gpus), classes="title", markup=False)
                for field in self._fields.values():
                    value = field.show(getattr(request, field.name))
                    control: Widget
                    if field.words:
                        control = Choice(field.words, value=value, id=field.name)
                    else:
                        control = Line(value, placeholder=field.placeholder, id=field.name)
                    control.tooltip = SETTINGS[field.name].help
                    with Horizontal(classes="field"):
                        yield Static(field.label, classes="label")
                        yield control
                yield Static(id="field-help", markup=False)
            yield PlanSide(classes="answer")

    def on_mount(self) -> None:
        """Draw the plan and start at the first field."""
        self._problem: M35Error | None = None
        self._update()
        self.query_one("#language_model_only").focus()

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        if event.widget.id in self._fields:
            self.query_one("#field-help", Static).update(SETTINGS[event.widget.id].help)

    @on(Choice.Changed)
    @on(Input.Changed)
    def _changed(self) -> None:
        self._update()

    def _update(self) -> None:
        """Read the form and plan anew."""
        request = self.answers.request
        assert request is not None
        try:
            self._problem = None
            request = self._read(request)
            self.answers = with_request(self.answers, request)
            self.replan()
        except M35Error as refusal:
            self._problem = refusal
        self.show_answer(self._problem or self.answer)

    def _read(self, request: PlanRequest) -> PlanRequest:
        """Return the request that the form says.

        Raises:
            M35Error: for a line that is no number, or a value out of range.
        """
        changes: dict[str, Any] = {}
        for field in self._fields.values():
            control = self.query_one(f"#{field.name}")
            assert isinstance(control, (Choice, Line))
            if control.value != field.show(getattr(request, field.name)):
                changes[field.name] = field.read(control.value)
        return dataclasses.replace(request, **changes)

    def action_move(self, by: int) -> None:
        """Go to the next or the previous field."""
        if by > 0:
            self.focus_next()
        else:
            self.focus_previous()

    def action_next(self) -> None:
        """Go on when the form can be read and the engine would accept it."""
        refusal = self._problem or (self.answer if isinstance(self.answer, M35Error) else None)
        if refusal is not None:
            self.say_refused(refusal)
        else:
            super().action_next()
