"""``m35-plan help``: a command's help, or a subject that no single command explains. It plans nothing."""

from __future__ import annotations

from collections.abc import Callable

import click

from hw_specs.errors import shown
from planner.cli.command import Command
from planner.cli.output import table, write


def _targets() -> str:
    from planner.rendering.emitters import EMITTERS

    return "What `--emit TARGET` writes a plan for:\n\n" + table(("", ""), list(EMITTERS.items()))


def _exit_codes() -> str:
    from planner.cli.exit_code import ExitCode

    rows = [(str(code.value), code.name.lower().replace("_", " ")) for code in ExitCode]
    return "A number never changes its meaning:\n\n" + table(("", ""), rows, (">",))


def _verdicts() -> str:
    return (
        "fits           it starts even if every uncertain term is at its worst\n"
        "tight          it starts if every uncertain term is as expected, not if each\n"
        "               is at its worst; `--strict` makes that exit code 3\n"
        "does-not-fit   it is not expected to start; levers say what would change that"
    )


def _bases() -> str:
    return (
        "exact      the engine's own arithmetic\n"
        "derived    follows from its code, with bounds\n"
        "measured   measured, and the source is named; here: `calibrate`\n"
        "assumed    not measured; the bounds are wide, and the reason is given"
    )


def _levers() -> str:
    return (
        "A lever is one change of settings, or a set of them, with the plan that follows:\n"
        "its GiB and tokens are what the KV caches of that plan gain, over all servers.\n"
        "`✓` marks a lever that alone makes the plan fit or meet its targets. They are\n"
        "ordered by what they cost:\n\n"
        "nothing    a setting that costs nothing, or memory that another process holds\n"
        "speed      slower decoding, longer prompts, fewer requests at once\n"
        "images     text only\n"
        "context    a shorter length, fewer requests of it\n"
        "quality    a smaller cache entry; its effect on answers was not measured\n"
        "hardware   more or other GPUs"
    )


def _gpus() -> str:
    return (
        "GPU, COUNTxGPU or NODESxCOUNTxGPU: H200, 8xH200, 2x8xB200. Case and a vendor in\n"
        "front do not matter. `@host.json` is what `m35-plan detect --json` wrote on one\n"
        "host, `auto` is this machine. `m35-plan gpus` lists the names."
    )


TOPICS: dict[str, tuple[str, Callable[[], str]]] = {
    "gpus": ("how GPUs are written", _gpus),
    "verdicts": ("what fits, tight and does-not-fit mean", _verdicts),
    "levers": ("what a lever promises and costs", _levers),
    "bases": ("how far a figure can be trusted", _bases),
    "targets": ("what a plan can be emitted for", _targets),
    "exit-codes": ("what an exit code means", _exit_codes),
}
"""Topic → one line about it, and its text. A command of the same name is reached by `--help`."""


@click.command(cls=Command, short_help="explain a command or a topic")
@click.argument("topic", required=False)
def command(topic: str | None) -> int:
    """Explain TOPIC: a command, or a subject that several commands share. Without one, list the topics."""
    from planner.cli import COMMANDS, M35Usage, app

    if topic is None:
        write("Topics, for `m35-plan help TOPIC`:\n")
        write(table(("", ""), [(name, text) for name, (text, _) in TOPICS.items()]))
        write("\nThe name of a command explains that command; `m35-plan --help` lists them.")
    elif topic in TOPICS:
        write(TOPICS[topic][1]())
    elif topic in COMMANDS:
        root = click.Context(app, info_name="m35-plan")
        found = app.get_command(root, topic)
        assert found is not None, "it stands in the table"
        write(found.get_help(click.Context(found, info_name=topic, parent=root)))
    else:
        raise M35Usage(f"`{shown(topic)}` is neither a topic nor a command", hint=f"topics: {', '.join(TOPICS)}")
    return 0
