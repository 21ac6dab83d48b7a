"""``python -m planner`` is ``m35-plan``."""

from planner.cli import run

run()
