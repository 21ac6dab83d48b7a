"""From a ``vllm serve`` command line back to a request, the inverse of :mod:`planner.rendering.command`.

A flag that changes memory and that the planner does not model is refused with its name; it is never ignored.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from hw_specs.errors import shown
from planner.errors import InvalidRequest
from planner.facts.engine_flags import flags_of
from planner.facts.serve_flags import flag_of, serve_flags
from planner.planning.answer import Plan
from planner.planning.engine_limits import LORA_FIELDS
from planner.planning.question import Question
from planner.planning.request import NOT_THE_ENGINES, SETTINGS, PlanRequest
from planner.planning.setting import flags_of as engine_flags
from planner.planning.solve import engine_settings
from planner.rendering.engine_words import Option, Plain, walk
from planner.rendering.json_flags import converted, draft_method, draft_settings, graph_settings, object_of, read_count
from planner.rendering.secrets import API_KEY, HF_TOKEN, is_secret_name, secrets_in
from planner.settings import DEFAULT_HOST, DEFAULT_PORT, Layout

_ENGINES = {
    flag: (name, setting)
    for name, setting in SETTINGS.items()
    if name not in NOT_THE_ENGINES
    for flag in engine_flags(name, setting)
}
"""Flag of the engine → the field that it sets, and its description."""
_JSON = frozenset({"speculative-config", "limit-mm-per-prompt", "compilation-config"})
_ADDRESS = frozenset({"host", "port"})
_SECRETS = {"api-key": API_KEY, "hf-token": HF_TOKEN}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCommand:
    """What an edited command line says."""

    request: PlanRequest
    """The question whose plan is this command; what the line leaves out is what the engine sets by itself."""
    argv: tuple[str, ...]
    """The words to run, ``vllm serve`` included."""
    env: tuple[tuple[str, str], ...]
    """Assignments in front of the command."""
    host: str
    port: int
    unplanned: tuple[str, ...]
    """Flags that change nothing in the plan, as typed."""


def read_command(text: str, *, plan: Plan) -> ReadCommand:
    """Return what `text` asks for, on the GPUs, the model and the release of `plan`.

    Raises:
        InvalidRequest: when the line cannot be read, names another model, carries a secret, or has a flag whose
            memory is not known.

    >>> from hw_specs import parse_gpus
    >>> from planner import PlanRequest, plan
    >>> read_command("vllm serve mistralai/Mistral-Medium-3.5-128B -tp 4", plan=plan(PlanRequest(
    ...     gpus=parse_gpus("8xH200")))).request.tensor_parallel_size
    4
    """
    words = _words(text)
    env: list[tuple[str, str]] = []
    while words and _is_assignment(words[0]):
        name, _, value = words.pop(0).partition("=")
        env.append((name, value))
    for name, value in env:
        if (is_secret_name(name) and value) or secrets_in(value):
            raise InvalidRequest("env", f"the value of {name} must not stand in a command", hint=f"export {name}")
    if words[:2] != ["vllm", "serve"]:
        raise InvalidRequest(
            "command",
            f"the command must begin with `vllm serve`, not `{shown(' '.join(words[:2]))}`",
            hint="variables may stand in front of it, as in `NAME=value vllm serve …`",
        )
    model, options = _parted(words[2:])
    if model is not None and model != plan.model.name:
        raise InvalidRequest("model", f"the plan is for {plan.model.name}, not `{shown(model)}`")
    said = read_options(options)
    return ReadCommand(
        request=said.request(plan),
        argv=("vllm", "serve", *words[2:]),
        env=tuple(env),
        host=said.host,
        port=said.port,
        unplanned=tuple(said.unplanned),
    )


def _parted(words: Sequence[str]) -> tuple[str | None, list[Option[Plain]]]:
    """The positional word and the options, each of which must be spelt in full."""
    model: str | None = None
    options: list[Option[Plain]] = []
    for one in walk([Plain(word) for word in words]):
        if isinstance(one, Option):
            written = flag_of(one.typed.value)[0].partition(".")[0]
            if flags_of(None).find(f"--{written}") is None:
                _refuse(written)
            if _is_switch(one.name) and one.value is not None:
                hint = f"write `--{one.name}` or `--no-{one.name}`"
                raise InvalidRequest(one.name, f"`--{one.name}` takes no value", hint=hint)
            options.append(one)
        word = one.truth if isinstance(one, Option) else one
        if word is not None and model is not None:
            raise InvalidRequest("command", f"unexpected argument `{shown(word.value)}`: it follows no flag")
        model = model if word is None else word.value
    return model, options


def _is_switch(name: str) -> bool:
    return name in serve_flags().switches or (name in _ENGINES and _ENGINES[name][1].kind in ("switch", "either"))


@dataclass(kw_only=True)
class Said:
    """What the options of a command say of a plan."""

    changes: dict[str, Any] = field(default_factory=dict)
    """Field of a request → its value."""
    asked: set[str] = field(default_factory=set)
    """Fields that an option with a value is about, whatever it says."""
    unplanned: list[str] = field(default_factory=list)
    """Flags that change nothing in the plan."""
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    def request(self, plan: Plan) -> PlanRequest:
        """Return the question whose plan is this command, on the GPUs, the model and the release of `plan`."""
        changes = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1, **self.changes}
        if not changes.get("enable_lora"):
            for name in LORA_FIELDS:
                changes.pop(name, None)  # the engine reads them only with adapters
        same = plan.settings.layout.split == (changes["tensor_parallel_size"], changes["pipeline_parallel_size"])
        changes.setdefault("replicas", plan.settings.replicas if same else None)
        return _engine_defaults(dataclasses.replace(_plain(plan.request), **changes), plan, asked=self.asked)


def _words(text: str) -> list[str]:
    try:
        # A shell joins lines that end in a backslash; shlex does not.
        return shlex.split(text.replace("\\\n", " "), comments=False)
    except ValueError as error:
        raise InvalidRequest(
            "command", f"the command cannot be read: {str(error).lower()}", hint="close every quotation mark"
        ) from None


def _is_assignment(word: str) -> bool:
    name, mark, _ = word.partition("=")
    return bool(mark) and name.isidentifier()


def read_options(options: Iterable[Option[Any]]) -> Said:
    """Return what `options` say.

    Raises:
        InvalidRequest: for an option that carries a secret or whose memory is not known, and for a value that the
            engine does not take.
    """
    facts, said = serve_flags(), Said()
    layouts: dict[str, str] = {}
    draft: dict[str, Any] = {}
    for one in options:
        name = f"{one.name}.{one.key}" if one.key else one.name
        field, setting = _ENGINES.get(name, (name.replace("-", "_"), None))
        if one.name == "compilation-config":
            if one.value is None:
                raise InvalidRequest("compilation_config", "`--compilation-config` needs a value")
            said.changes |= graph_settings(one.value.value, name)
            continue
        if _is_switch(name):
            if setting is not None:
                said.changes[field] = one.on
            else:
                said.unplanned.append(one.typed.value)
            continue
        if name in _SECRETS:
            raise InvalidRequest(
                name.replace("-", "_"),
                f"`--{name}` must not stand on a command line, where everyone can read it",
                hint=f"export it as {_SECRETS[name]}",
            )
        if name not in (*_ENGINES, *_ADDRESS, *facts.values) and one.name not in _JSON:
            _refuse(flag_of(one.typed.value)[0])
        if one.value is None:
            raise InvalidRequest(name.replace("-", "_"), f"`--{name}` needs a value")
        value = one.value.value
        if name in facts.values:
            said.unplanned += [f"--{name}", value, *(word.value for word in one.more)]
            continue
        said.asked.add(field)
        if setting is not None and setting.kind in ("integers", "words"):
            reader = read_count if setting.kind == "integers" else _READERS["text"]
            said.changes[field] = tuple(reader(field, word.value) for word in (one.value, *one.more))
        elif setting is not None and name not in (*_JSON, *facts.layouts):
            said.changes[field] = _READERS[setting.kind](field, value)
            if field == "spec_method":
                said.changes[field] = draft_method({"method": value})
        elif name == "port":
            said.port = _port(value)
        elif name == "host":
            said.host = value
        elif name in facts.layouts:
            if means := facts.layouts[name].get(value):
                layouts[name] = means
            elif value != "auto":
                known = ", ".join((*facts.layouts[name], "auto"))
                raise InvalidRequest(field, f"`--{name} {shown(value)}` is not known", hint=f"one of {known}")
        elif one.name == "speculative-config":
            draft.update(object_of(name, value))
        else:
            images = object_of(name, value).get("image")
            if not isinstance(images, int):
                raise InvalidRequest("limit_mm_per_prompt_image", "`--limit-mm-per-prompt` must say how many images")
            said.changes["limit_mm_per_prompt_image"] = images
    if layouts:
        said.changes["load_format"] = _agreed(layouts)
    if draft:
        said.changes |= draft_settings(draft)
    return said


def _agreed(layouts: Mapping[str, str]) -> str:
    """The checkpoint layout that several flags mean."""
    if len(set(layouts.values())) > 1:
        said = ", ".join(f"--{name} means {means}" for name, means in layouts.items())
        raise InvalidRequest(
            "load_format",
            f"the checkpoint flags contradict each other: {said}",
            hint="tokenizer mode, config format and load format are all mistral, or all Hugging Face",
        )
    return next(iter(layouts.values()))


def _length(field: str, value: str) -> int | None:
    return None if value in ("auto", "-1") else read_count(field, value)


def _number(field: str, value: str) -> float:
    return float(converted(field, value, float))


_READERS: dict[str, Callable[[str, str], Any]] = {
    "integer": read_count,
    "count": read_count,
    "length": _length,
    "fraction": _number,
    "text": lambda _field, value: value,
}
"""How a flag's value is read, by the kind of its setting."""


def _port(value: str) -> int:
    port = int(converted("port", value, int))
    if not 0 < port < 65536:
        raise InvalidRequest("port", f"port must be between 1 and 65535, not `{port}`")
    return port


def _refuse(name: str) -> NoReturn:
    """Name the flag and the nearest one that works."""
    from difflib import get_close_matches

    facts = serve_flags()
    known = [*_ENGINES, *_ADDRESS, *facts.switches, *facts.values]
    near = get_close_matches(name.lstrip("-"), known, n=1, cutoff=0.75)
    typed = shown(name if name.startswith("-") else f"--{name}")
    raise InvalidRequest(
        name.lstrip("-").replace("-", "_"),
        f"the planner does not know what `{typed}` does to memory",
        hint=f"did you mean `--{near[0]}`?" if near else "leave it out here, or start the server without the wizard",
    )


def _plain(request: PlanRequest) -> PlanRequest:
    """The request with every engine setting open again; GPUs, model, release and concurrency stay."""
    return PlanRequest(
        gpus=request.gpus,
        model=request.model,
        vllm_version=request.vllm_version,
        concurrency=request.concurrency,
        calibrations=request.calibrations,
        load_format=request.load_format,
    )


def _engine_defaults(request: PlanRequest, plan: Plan, *, asked: set[str]) -> PlanRequest:
    """Fill in what the engine does by itself with a flag that is not there."""
    if "max_model_len" not in asked:
        request = dataclasses.replace(request, max_model_len=plan.model.max_position_embeddings)
    layout = Layout(
        tensor_parallel_size=request.tensor_parallel_size or 1,
        pipeline_parallel_size=request.pipeline_parallel_size or 1,
        replicas=request.replicas or 1,
    )
    settings = engine_settings(Question.unchecked(request), layout)
    return dataclasses.replace(
        request,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        gpu_memory_utilization=settings.gpu_memory_utilization,
    )
