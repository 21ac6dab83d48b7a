"""Step 2: what the server must do; every field has a default and a line of help."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import DescendantFocus
from textual.widget import Widget
from textual.widgets import Input, Static

from hw_specs import M35Error
from hw_specs.units import parse_count
from planner import PlanRequest
from planner.errors import InvalidRequest
from planner.facts.vllm import vllm_facts
from planner.planning.load import LOAD, workload_of
from planner.planning.request import SETTINGS
from planner.planning.setting import Setting
from tui.screens.speed_step import SpeedStep
from tui.widgets.fields import Choice, Line
from tui.widgets.plan_side import PlanSide
from tui.wizard import Step, with_load, with_request

YES, NO = "yes", "no"
SERVER = ("language_model_only", "max_model_len", "concurrency")
ASKED_LOAD = (
    "prompt_tokens", "output_tokens", "turns", "system_tokens", "request_rate", "ttft_ms", "tpot_ms", "tokens_per_s",
    "objective", "price_per_gpu_hour",
)  # fmt: skip
ENGINE = (
    "num_speculative_tokens", "spec_method", "kv_cache_dtype", "gpu_memory_utilization", "max_num_seqs",
    "max_num_batched_tokens", "enforce_eager", "vllm_version", "load_format",
)  # fmt: skip
FORM: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", SERVER), ("load and targets", ASKED_LOAD), ("engine", ENGINE)
)  # fmt: skip
"""What is asked, top to bottom, under its headings."""


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
    return tuple(
        _load_field(name, LOAD[name]) if name in LOAD else _field(name, SETTINGS[name])
        for _, names in FORM
        for name in names
    )


def help_of(name: str) -> str:
    """The line of help of a field."""
    return (LOAD[name] if name in LOAD else SETTINGS[name]).help


def _load_field(name: str, setting: Setting) -> Field:
    """One line of the load."""
    if setting.choices:
        default = setting.choices[0]
        return Field(
            name=name, label=setting.label, words=setting.choices,
            read=lambda word: None if word == default else word, show=lambda value: value or default,
        )  # fmt: skip
    return Field(
        name=name, label=setting.label, placeholder=setting.placeholder,
        read=_number if setting.kind == "count" else _positive(setting.label),
        show=_shown if setting.kind == "count" else _share,
    )  # fmt: skip


def _positive(label: str) -> Callable[[str], float | None]:
    def read(text: str) -> float | None:
        try:
            value = float(text.replace(",", "")) if text.strip() else None
        except ValueError:
            value = -1.0
        if value is not None and not 0 < value < float("inf"):
            raise M35Error(f"`{text}` is not a number above 0", hint=f"{label}: a number such as 2.5")
        return value

    return read


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
    if name == "spec_method":
        own = setting.placeholder
        return Field(
            name=name, label=setting.label, words=(own, *setting.choices),
            read=lambda word: None if word == own else word, show=lambda value: value or own,
        )  # fmt: skip
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


class WorkloadScreen(SpeedStep):
    """A form beside the plan it leads to."""

    STEP: ClassVar[Step] = Step.WORKLOAD
    LINE_KEY: ClassVar[str] = "^y"
    HELP_TEXT: ClassVar[str] = (
        "What should the server do? Leave a field empty and the planner picks a value that is sure to fit. Numbers "
        "are read as vLLM reads them: 128k is 128,000 and 128K is 131,072. The plan on the right updates with every "
        "key; a value that cannot be planned is refused with a reason. Once a load or a target is given, its speed "
        "is forecast, and `concurrent requests` counts the requests of that load in flight."
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
        self._problem: M35Error | None = None
        self._fields = {field.name: field for field in fields()}
        with Horizontal():
            with Vertical(classes="question"):
                yield Static(str(request.gpus), classes="title", markup=False)
                with VerticalScroll(id="form", can_focus=False):
                    for heading, names in FORM:
                        if heading:
                            yield Static(heading, classes="heading")
                        for name in names:
                            yield from self._line(self._fields[name], request)
                yield Static(id="field-help", markup=False)
            yield PlanSide(classes="answer")

    def _line(self, field: Field, request: PlanRequest) -> ComposeResult:
        """One line of the form."""
        value = field.show(self._value(field.name, request))
        control: Widget
        if field.words:
            control = Choice(field.words, value=value, id=field.name)
        else:
            control = Line(value, placeholder=field.placeholder, id=field.name)
        control.tooltip = help_of(field.name)
        with Horizontal(classes="field"):
            yield Static(field.label, classes="label")
            yield control
        yield Static(help_of(field.name), classes="field-note", markup=False)

    def _value(self, name: str, request: PlanRequest) -> Any:
        """What a field stands for now."""
        return dict(self.answers.load).get(name) if name in LOAD else getattr(request, name)

    def on_mount(self) -> None:
        """Draw the plan and start at the first field."""
        self._update()
        self.query_one("#language_model_only").focus()

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        if event.widget.id in self._fields:
            self.query_one("#field-help", Static).update(help_of(event.widget.id))

    @on(Choice.Changed)
    @on(Input.Changed)
    def _changed(self) -> None:
        # A refusal that was told is answered, and stands over the form.
        self.app.clear_notifications()
        self._update()

    def _update(self) -> None:
        """Read the form and plan anew."""
        request = self.answers.request
        assert request is not None
        try:
            self._problem = None
            request, load = self._read(request)
            if load:
                workload_of(dict(load), concurrency=request.concurrency)
            self.answers = with_load(with_request(self.answers, request), load)
            self.replan()
        except M35Error as refusal:
            self._problem = refusal
            self.show_line()
        self.show_answer(self._problem or self.answer)

    def _read(self, request: PlanRequest) -> tuple[PlanRequest, tuple[tuple[str, Any], ...]]:
        """Return the request and the load that the form says.

        Raises:
            M35Error: for a line that is not a number, or a value out of range.
        """
        changes: dict[str, Any] = {}
        load = dict(self.answers.load)
        for field in self._fields.values():
            control = self.query_one(f"#{field.name}")
            assert isinstance(control, (Choice, Line))
            if control.value == field.show(self._value(field.name, request)):
                continue
            if field.name in LOAD:
                load[field.name] = field.read(control.value)
            else:
                changes[field.name] = field.read(control.value)
        asked = tuple((name, load[name]) for name in LOAD if load.get(name) is not None)
        return dataclasses.replace(request, **changes), asked

    def own_line(self) -> str:
        """The command line that says the same; none while the form says nothing that can be read."""
        return "" if self._problem is not None else super().own_line()

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
