"""What every command of ours is to click: its help shows groups and examples. It runs nothing."""

from __future__ import annotations

import click

UNBROKEN = "\N{NON-BREAKING HYPHEN}"
"""Stands for ``-`` while click wraps: a flag that is cut in two cannot be copied."""


class Command(click.Command):
    """A command whose help page is drawn by :mod:`planner.cli.help_page`, which a run never loads."""

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
