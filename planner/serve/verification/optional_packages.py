"""Packages that only serving needs; it says which one is missing, and installs nothing."""

from __future__ import annotations

from importlib import import_module

from planner.errors import PlannerError


def require(*packages: str) -> None:
    """Import `packages`.

    Raises:
        PlannerError: when one is not installed, with the command that installs it.
    """
    for package in packages:
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise PlannerError(f"{package} is not installed", hint=f"pip install {package}") from error
