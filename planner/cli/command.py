"""What every command of ours is to click: its help shows groups and examples. None is silent for long."""

from __future__ import annotations

import re
from typing import Any

import click

from hw_specs.errors import M35Error
from hw_specs.units import parse_count
from planner.cli.charset import UNBROKEN
from planner.cli.diagnostics import say
from planner.cli.silence import Company

COMPANY = "planner.company"
"""Where the context of a command keeps what speaks up beside it."""
EMPTY = "the value is empty (an unset shell variable?); leave it out for the default"
"""What an empty value is answered, of whatever option or argument."""


def quiet() -> None:
    """Let nothing speak up beside the command that runs, if one does."""
    context = click.get_current_context(silent=True)
    if context is not None and COMPANY in context.meta:
        context.meta[COMPANY].leave()


class Several(click.ParamType[tuple[int, ...] | tuple[str, ...]]):
    """Values with commas or blanks between them: integers as vLLM reads them, or words."""

    name = "TEXT"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...] | tuple[str, ...]:
        """Return the values in their order."""
        if isinstance(value, tuple):
            return value
        words = str(value).replace(",", " ").split()
        if not words:
            self.fail(EMPTY, param, ctx)
        if self.kind == "words":
            return tuple(words)
        try:
            return tuple(parse_count(word) for word in words)
        except M35Error as error:
            self.fail(f"{error}; {error.hint}", param, ctx)


class Command(click.Command):
    """A command whose help page is drawn by :mod:`planner.cli.help_page`, which a run never loads."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words; an unknown ``-dcp`` is named as typed, where click names the letter that it stopped at."""
        words = list(args)
        if not ctx.resilient_parsing:
            self._refuse_empty(args, ctx)
        try:
            return super().parse_args(ctx, self._with_negative_values(self._with_lists(args)))
        except click.NoSuchOption as error:
            short = not error.option_name.startswith("--")
            whole = [word for word in words if short and word.startswith(error.option_name)]
            raise click.NoSuchOption(whole[0].partition("=")[0], ctx=ctx) if whole else error from None

    def _refuse_empty(self, args: list[str], ctx: click.Context) -> None:
        """Refuse a word of nothing but blanks: for a path it would be this folder, for an address the default."""
        valued = [option for option in self.params if isinstance(option, click.Option) and not option.is_flag]
        flags = {flag.replace("_", "-") for option in valued for flag in option.opts}
        end = args.index("--") if "--" in args else len(args)
        for before, word in zip(["", *args], args[:end], strict=False):
            name, equals, value = word.partition("=")
            if not word.strip():
                places = [place.make_metavar(ctx) for place in self.params if isinstance(place, click.Argument)]
                hint = before if before.replace("_", "-") in flags else " ".join(places)
                raise click.BadParameter(EMPTY, ctx=ctx, param_hint=f"'{hint}'" if hint else "a word")
            if name.startswith("-") and equals and not value.strip():
                raise click.BadParameter(EMPTY, ctx=ctx, param_hint=f"'{name}'")

    def _with_lists(self, args: list[str]) -> list[str]:
        """Join the values of an option that takes several, as vLLM's parser does: ``--cudagraph-capture-sizes 1 2 4``.

        Where words may be the command's own, only numbers are joined.
        """
        lists = {
            flag.replace("_", "-")
            for option in self.params
            if isinstance(option, click.Option) and isinstance(option.type, Several)
            for flag in option.opts
        }
        places = any(isinstance(place, click.Argument) for place in self.params)
        end = args.index("--") if "--" in args else len(args)
        words: list[str] = []
        for word in args[:end]:
            in_list = len(words) > 1 and words[-2].replace("_", "-") in lists
            if in_list and (word.isdigit() if places else not word.startswith("-")):
                words[-1] += f",{word}"
            else:
                words.append(word)
        return words + args[end:]

    def _with_negative_values(self, args: list[str]) -> list[str]:
        """Put a blank before a negative value of an option that may stand alone, as ``--spec-tokens -1``.

        Click takes whatever begins with a dash for the next option there, behind ``=``, too.
        """
        alone = {
            flag
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag and isinstance(option.flag_value, int | str)
            for flag in option.opts
        }
        end = args.index("--") if "--" in args else len(args)
        words = list(args)
        for at, word in enumerate(args[:end]):
            name, equals, value = word.partition("=")
            if name in alone and equals and value.startswith("-"):
                words[at] = f"{name}= {value}"
            elif at and args[at - 1] in alone and re.fullmatch(r"-[\d.]+", word):
                words[at] = f" {word}"
        return words

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; where it says nothing for long, a note does."""
        with Company(ctx.info_name or "", say=say) as company:
            ctx.meta[COMPANY] = company
            return super().invoke(ctx)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help page; no flag is broken at a hyphen."""
        return super().get_help(ctx).replace(UNBROKEN, "-")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does."""
        said = self.help
        self.help = said and said.replace("-", UNBROKEN)
        try:
            super().format_help_text(ctx, formatter)
        finally:
            self.help = said

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in their groups; those that a plan explains are named only."""
        from planner.cli.help_page import write_options

        write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        from planner.cli.help_page import write_examples

        write_examples(ctx, formatter)
