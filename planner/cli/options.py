"""Options that several commands share, with the words of the request's fields; it never decides anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from hw_specs.errors import M35Error
from hw_specs.units import parse_count
from planner.cli.command import Several
from planner.planning.request import CARD_DRAFT_TOKENS, SETTINGS, option_for

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from planner.model import ModelSpec

_CHOICES_SHOWN = 40
"""Characters up to which a help page spells the choices of an option beside it."""
F = TypeVar("F", bound=Callable[..., Any])


class HumanInt(click.ParamType[int | None]):
    """vLLM's human-readable integers: ``128k`` is 128,000 and ``128K`` is 131,072; ``auto`` where `auto` allows it."""

    name = "INTEGER"

    def __init__(self, *, auto: bool = False) -> None:
        self.auto = auto

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the integer, or None for ``auto`` and ``-1``."""
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if self.auto and text in ("auto", "-1"):
            return None
        try:
            return parse_count(text)
        except M35Error as error:
            more = ", or `auto`" if self.auto else ""
            self.fail(f"{error}; {error.hint}{more}", param, ctx)


class Trimmed(click.ParamType[str]):
    """Text without blanks around it."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Return the text; one of nothing but blanks never comes here."""
        return str(value).strip()


class OneOf(click.Choice[str]):
    """A choice in vLLM's spelling: underscores stay, and small letters are taken for capitals as vLLM takes them."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Return the choice that is meant; any other word as it is."""
        return next((one for one in self.choices if _alike(one) == _alike(str(choice))), str(choice))


def _alike(word: str) -> str:
    return word.casefold().replace("-", "_")


class Host(click.ParamType[str]):
    """An IP address or a host name."""

    name = "HOST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Check the form; nothing is resolved. The default is right, and a cold start need not load the check."""
        if param is not None and value == param.default:
            return str(value)
        from planner.rendering.address import check_host

        return check_host(str(value))


class ModelSource(click.ParamType["ModelSpec"]):
    """A shipped model's name, a checkpoint directory, its config.json or its params.json."""

    name = "MODEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ModelSpec:  # noqa: ARG002
        """Read the model; what is wrong with it is told as any other error."""
        from planner.checkpoint import load_model

        return load_model(value) if isinstance(value, str) else value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Names of the shipped models, and files."""
        from click.shell_completion import CompletionItem

        from planner.checkpoint import preset_stems

        names = [CompletionItem(stem) for stem in preset_stems() if stem.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]


def complete_gpus(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the catalogue behind whatever count was typed, in the letters that were typed."""
    from click.shell_completion import CompletionItem

    from hw_specs import list_gpus
    from hw_specs.gpu_set import split_counts

    typed = split_counts(incomplete)[2]
    # A blank would end the word in a shell; the catalogue knows the name with a dash, too.
    names = ["auto", *(spec.name.replace(" ", "-") for spec in list_gpus())]
    return [
        CompletionItem(incomplete + name[len(typed) :])
        for name in names
        if name.lower().startswith(typed.lower()) and (name != "auto" or typed == incomplete)
    ]


def complete_runs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs of this machine, the newest first, and ``latest``."""
    from click.shell_completion import CompletionItem

    from planner.serve.process.runs import LATEST, list_runs

    names = [LATEST, *(run.id for run in list_runs())]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_logs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs and files."""
    from click.shell_completion import CompletionItem

    return [*complete_runs(ctx, param, incomplete), CompletionItem(incomplete, type="file")]


def _option(name: str) -> Callable[[F], F]:
    """The option of one setting of a request, from its description."""
    setting = SETTINGS[name]
    more: dict[str, Any] = {"metavar": setting.metavar}
    if name == "num_speculative_tokens":
        more = {"type": int, "is_flag": False, "flag_value": CARD_DRAFT_TOKENS, "default": 0, "metavar": "[K]"}
    elif setting.kind == "switch":
        more = {"is_flag": True}
    elif setting.kind == "either":
        more = {"is_flag": True, "default": None}
        off = "--no-" + option_for(name).removeprefix("--")
        return click.option(f"{option_for(name)}/{off}", name, help=setting.help, **more)
    elif setting.kind in ("integers", "words"):
        more |= {"type": Several(setting.kind), "default": None}
    elif setting.choices:
        shown = {} if len("|".join(setting.choices)) < _CHOICES_SHOWN else {"metavar": setting.metavar}
        more = {"type": OneOf(setting.choices), "default": setting.default, **shown}
    elif setting.kind in ("count", "length"):
        more |= {"type": HumanInt(auto=setting.kind == "length"), "default": setting.default}
    elif setting.kind == "text":
        more |= {"type": Trimmed(), "default": setting.default}
    else:
        more["type"] = float if setting.kind == "fraction" else int
    names = (option_for(name), *filter(None, [setting.short]), name)
    return click.option(*names, help=setting.option_help or setting.help, **more)


def gpu_options(command: F) -> F:
    """``--gpus`` and ``--gpu-memory``."""
    command = click.option(
        "--gpu-memory",
        type=Trimmed(),
        metavar="SIZE",
        help="engine-visible memory of one GPU, such as 130GiB, where it differs from the catalogue's",
    )(command)
    return click.option(
        "--gpus",
        metavar="[NODESx][COUNTx]GPU",
        shell_complete=complete_gpus,
        help="8xH200, 1xMI300X, 2x8xB200, @host.json, or auto: the GPUs of this machine (default)",
    )(command)


def _in_words_of_vllm(command: F) -> F:
    """Take a draft and graphs as vLLM is told of them, too."""

    def taken(option: str, said: Mapping[str, Any], settings: dict[str, Any]) -> None:
        for name, value in said.items():
            if settings[name] not in (SETTINGS[name].default, value):
                raise click.UsageError(f"{option} and {option_for(name)} contradict each other")
            settings[name] = value

    @wraps(command)
    def told(*args: Any, speculative_config: str | None, compilation_config: str | None, **settings: Any) -> Any:
        if speculative_config is not None:
            from planner.rendering.json_flags import draft_settings

            taken("--speculative-config", draft_settings(speculative_config, printed_anew=True), settings)
        if compilation_config is not None:
            from planner.rendering.json_flags import graph_settings

            taken("--compilation-config", graph_settings(compilation_config), settings)
        return command(*args, **settings)

    told = click.option(
        "--compilation-config", "-cc", metavar="JSON", type=Trimmed(),
        help="graphs in vLLM's own JSON: cudagraph_mode, cudagraph_capture_sizes, max_cudagraph_capture_size",
    )(told)  # fmt: skip
    return click.option(
        "--speculative-config", metavar="JSON", type=Trimmed(),
        help="the draft in vLLM's own JSON: method, num_speculative_tokens, max_model_len",
    )(cast("F", told))  # fmt: skip


def engine_options(command: F) -> F:
    """Everything of vLLM's that a plan depends on, under vLLM's names."""
    command = _in_words_of_vllm(command)
    for decorate in reversed(
        (
            click.option(
                "--model",
                type=ModelSource(),
                metavar="NAME|DIR|FILE",
                help="another model: a shipped one, or a local checkpoint directory, config.json or params.json",
            ),
            *(_option(name) for name, setting in SETTINGS.items() if setting.kind != "gpus"),
        )
    ):
        command = decorate(command)
    return command
