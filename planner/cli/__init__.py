"""The command line: find the command, run it, turn errors into words and exit codes.

Every command lives in its own module and is imported only when it is called, because the cold start of a
plan is part of the product.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from hw_specs.errors import M35Error, NoGpuFound, reason_of
from planner.cli.diagnostics import report_error
from planner.cli.exit_code import ExitCode
from planner.cli.output import GuardedStdout, OutputLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from planner.planning.request import PlanRequest

    Wizard = Callable[[PlanRequest, dict[str, Any]], int]

DEFAULT_COMMAND = "plan"

COMMANDS: dict[str, str] = {
    "plan": "find settings that fit, and say why (the default command)",
    "detect": "show the GPUs of this machine, and why any is missing",
    "fleet": "plan for many machines at once, from what clusters and hosts print",
    "gpus": "list the GPU catalogue",
    "spec": "print the command line and the JSON schemas, for machines",
    "review": "judge commands and files that already exist",
    "sweep": "compare many settings at once",
    "diff": "compare two plans, releases or GPU sets",
    "bench": "measure a running server and compare it with the forecast",
    "check": "check this machine before a start",
    "rehearse": "try the plan on a tiny twin of the model, before the download",
    "launch": "check, start and follow a server",
    "attach": "watch a run that was launched earlier",
    "stop": "stop a server that was launched",
    "runs": "list what was launched on this machine",
    "watch": "watch a running server beside its plan",
    "verify": "prove that a running server does what was planned",
    "diagnose": "name the cause of a failed start from its log",
    "calibrate": "keep what a start measured, for later plans",
    "accuracy": "compare predictions with measured start-ups",
    "help": "explain a command or a topic",
}
"""Command name → one line of help; the module is ``planner.cli.commands.<name>``, its object ``command``."""


_JOINED = r"(-tp|-pp)=?([0-9]+)"


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports a module when one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table, which is the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return the command called `cmd_name`."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"planner.cli.commands.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the group's own options; a shell that completes also gets those of the default command."""
        own = super().get_params(ctx)
        if not ctx.resilient_parsing:
            return own
        default = self.get_command(ctx, DEFAULT_COMMAND)
        assert default is not None
        return own + [param for param in default.get_params(ctx) if param.name not in {one.name for one in own}]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands without importing them, and options."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        from click.shell_completion import CompletionItem

        return [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front of arguments that start with one of its options.

        A shell that completes the first word gives no arguments; that word may become a command.
        """
        first = args[0] if args else "" if ctx.resilient_parsing else "-"
        if first.startswith("-") and first not in ("--help", "-h", "--version"):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, _separated(args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when there is none of that name."""
        name = args[0]
        if name not in COMMANDS:
            if ctx.resilient_parsing:
                return None, None, []
            raise M35Usage(f"there is no command `{name}`", hint=_meant(name))
        return super().resolve_command(ctx, args)


def _meant(word: str) -> str:
    """What the user may have meant by a first word that is not a command: GPUs, or a command of nearly that name."""
    from difflib import get_close_matches

    from hw_specs import parse_gpus

    try:
        parse_gpus(word)
    except M35Error:
        near = get_close_matches(word, COMMANDS, n=3)
        return f"did you mean `{'`, `'.join(near)}`?" if near else "`m35-plan --help` lists the commands"
    return f"`m35-plan --gpus {word}` plans for these GPUs"


def _separated(args: list[str]) -> list[str]:
    """Part ``-tp4`` and ``-tp=4`` into two words, up to a ``--``; click knows no short options of several letters."""
    end = args.index("--") if "--" in args else len(args)
    words: list[str] = []
    for word in args[:end]:
        joined = re.fullmatch(_JOINED, word)
        words += joined.groups() if joined else [word]
    return words + args[end:]


class M35Usage(M35Error):
    """A command line that makes no sense."""


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"m35-plan {version('m35-plan')}")
        ctx.exit(0)


# vLLM takes `--max_model_len` for `--max-model-len`, so people type it.
@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="show the version")
def app() -> None:
    """Plan, launch and verify Mistral-Medium-3.5-128B under vLLM on the GPUs you have.

    `m35-plan --gpus 1xMI300X` is short for `m35-plan plan --gpus 1xMI300X`; `m35-plan plan --help` lists the
    settings. Exit codes: 0 fits, 2 usage, 3 does not fit, 4 no GPU, 5 launch failed, 6 verification failed,
    7 timeout, 8 findings of a review, 1 bug.
    """


_ACTS = frozenset({"launch", "attach", "stop", "rehearse", "calibrate"})
"""Commands that do something: they do it also where their output cannot be read."""

_OURS_TO_SAY = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE,
    errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EAGAIN,
})  # fmt: skip
"""What a machine can refuse at any moment, which is not a fault of this program."""


def _fill_closed_streams() -> None:
    """Open the null device where a standard stream is closed, so that no file gets its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def main(argv: list[str] | None = None, *, wizard: Wizard | None = None) -> int:
    """Run one command and return its exit code; never raises for expected failures.

    Args:
        argv: the words; those of the process by default.
        wizard: opens the terminal application on a question, for `--tui`.
    """
    _fill_closed_streams()
    stdout, stderr = sys.stdout, sys.stderr
    if stderr is None:
        # print() would send narration to stdout.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for all of the process
    if stdout is None:
        words = sys.argv[1:] if argv is None else argv
        if not _ACTS & set(words[:1]):
            report_error("cannot write the output: stdout is closed")
            return ExitCode.BUG
        stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    guarded = GuardedStdout(stdout)
    sys.stdout = cast("TextIO", guarded)
    try:
        return _run(argv, wizard)
    except OutputLost as lost:
        guarded.abandon()
        if isinstance(lost.reason, BrokenPipeError):
            # The reader went away (`| head`); that is its right and no failure of ours.
            return ExitCode.OK
        report_error(f"cannot write the output: {(lost.reason.strerror or 'unknown reason').lower()}")
        return ExitCode.BUG
    finally:
        sys.stdout = stdout


def _run(argv: list[str] | None, wizard: Wizard | None) -> int:
    from planner.errors import InvalidRequest, LaunchFailed, VerifyFailed

    try:
        result = app.main(args=argv, prog_name="m35-plan", standalone_mode=False, obj=wizard)
        sys.stdout.flush()
        return int(result or 0)
    except InvalidRequest as error:
        from planner.planning.request import in_options

        report_error(*in_options(error))
        return ExitCode.USAGE
    except LaunchFailed as error:
        report_error(str(error), error.hint)
        return ExitCode.LAUNCH_FAILED
    except VerifyFailed as error:
        report_error(str(error), error.hint)
        return ExitCode.VERIFY_FAILED
    except NoGpuFound as error:
        report_error(str(error), error.hint)
        return ExitCode.NO_GPU
    except M35Error as error:
        report_error(str(error), error.hint)
        return ExitCode.USAGE
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        report_error(_one_line(error.format_message()), _usage_hint(error))
        return ExitCode.USAGE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except OSError as error:
        if error.errno not in _OURS_TO_SAY:
            raise
        where = f"`{error.filename}`: " if error.filename else ""
        report_error(f"{where}{reason_of(error)}")
        return ExitCode.USAGE


_MOST_CHARACTERS = 800
"""Of an error's one line."""


def _one_line(message: str) -> str:
    text = " ".join(message.split()).rstrip(".")
    if len(text) > _MOST_CHARACTERS:
        # Words of hundreds of digits: both ends tell enough.
        text = f"{text[: _MOST_CHARACTERS // 2]} … {text[-_MOST_CHARACTERS // 4 :]}"
    return text[:1].lower() + text[1:]


def _usage_hint(error: click.ClickException) -> str | None:
    if isinstance(error, click.NoSuchOption):
        from planner.facts.serve_flags import flag_of, serve_flags
        from planner.planning.request import planned_flags

        name = flag_of(error.option_name)[0]
        if cost := serve_flags().unmodelled.get(name):
            return f"`vllm serve` has it, and no plan counts what it brings: {cost}"
        own = [flag for option in error.ctx.command.params for flag in option.opts] if error.ctx is not None else []
        for ours in (f"--{name}", planned_flags().get(name)):
            if ours in own:
                return f"it is `{ours}` here"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"`{error.ctx.command_path} --help` lists the options"
    return None


def run(wizard: Wizard | None = None) -> None:
    """Console entry point."""
    sys.exit(main(wizard=wizard))
