"""What the words of an engine's command say: values, the model, and what a user may add. It starts nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from planner.errors import InvalidRequest
from planner.facts.serve_flags import flag_of, serve_flags
from planner.planning.request import planned_flags
from planner.rendering.json_flags import graph_keys_apart

_COMPILATION = "compilation-config"
SERVE = "serve"
"""The engine's subcommand; what follows it is read by its parser."""


def option_value(argv: Sequence[str], name: str) -> str | None:
    """Return the last value given for ``--name`` in `argv`, however it is spelled; None where there is none.

    >>> option_value(["vllm", "serve", "M", "-tp", "2", "--tensor_parallel_size=4"], "tensor-parallel-size")
    '4'
    """
    value = None
    for index, word in enumerate(argv):
        found, inline = flag_of(word)
        if found == name:
            value = inline if inline is not None else argv[index + 1] if index + 1 < len(argv) else None
    return value


def without_options(argv: Sequence[str], names: Collection[str]) -> tuple[str, ...]:
    """Return `argv` without the flags `names` and their values.

    >>> without_options(["serve", "M", "--host", "x", "--port=1", "--seed", "1"], ("host", "port"))
    ('serve', 'M', '--seed', '1')
    """
    kept: list[str] = []
    skip = False
    for word in argv:
        if skip:
            skip = False
            continue
        name, inline = flag_of(word)
        if name in names:
            skip = inline is None
            continue
        kept.append(word)
    return tuple(kept)


def engine_args(argv: Sequence[str]) -> tuple[str, ...]:
    """Return what vLLM's own parser gets of a ``vllm serve`` command; nothing of another command."""
    return tuple(argv[argv.index(SERVE) + 1 :]) if SERVE in argv else ()


def model_of(args: Sequence[str]) -> str | None:
    """Return the model that `args`, the words behind ``serve``, name."""
    return args[0] if args and not args[0].startswith("-") else option_value(args, "model")


def refuse_planned(words: Sequence[str]) -> None:
    """Raise when one of `words` sets what the plan sets, in full, abbreviated as the engine allows, or in short.

    Raises:
        InvalidRequest: with the option of ours that changes it.
    """
    planned = planned_flags()
    for index, word in enumerate(words):
        flag = _planned_flag(flag_of(word)[0], planned)
        if flag == _COMPILATION and not _compilation_keys(words, index)[0]:
            continue
        if flag is not None:
            field = flag.replace("-", "_")
            typed = word.partition("=")[0]
            short = "" if typed.replace("_", "-") == f"--{flag}" else f" (`{typed}`)"
            raise InvalidRequest(
                field,
                f"{field}{short} after `--` would make the server differ from its plan",
                hint=f"give `{planned[flag]}` to m35-plan itself, before the `--`",
            )


def unmodelled_flags(words: Sequence[str]) -> dict[str, str]:
    """Return flags of `words` whose memory no plan counts, each with what it takes.

    >>> sorted(unmodelled_flags(["--cpu-offload-gb", "4", "--seed", "1"]))
    ['--cpu-offload-gb']
    """
    table = serve_flags().unmodelled
    found = {}
    for index, word in enumerate(words):
        # `-O0` and `-O 0` are a level, which no plan knows, and not the keys of a configuration.
        name = "optimization-level" if word.startswith("-O") else flag_of(word)[0].partition(".")[0]
        if name in table and (name != _COMPILATION or _compilation_keys(words, index)[1]):
            found[f"--{name}"] = table[name]
    return found


def _compilation_keys(words: Sequence[str], index: int) -> tuple[list[str], list[str]]:
    """Keys of the ``--compilation-config`` at `index` that a plan decides, and the others."""
    name, inline = flag_of(words[index])
    value = inline if inline is not None else words[index + 1] if index + 1 < len(words) else ""
    return graph_keys_apart(value, name)


def _planned_flag(name: str, planned: dict[str, str]) -> str | None:
    """The flag of the plan that the engine would understand by `name`."""
    facts = serve_flags()
    name = name.partition(".")[0].removeprefix("no-")
    if name in planned:
        return name
    if not name or name in (*facts.whole.names, *facts.switches, *facts.values):
        return None
    spelt = {flag: flag for flag in planned} | {one: flag for one, flag in facts.aliases.items() if flag in planned}
    return next((flag for word, flag in spelt.items() if word.startswith(name)), None)
