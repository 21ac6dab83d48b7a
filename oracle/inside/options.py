"""Lists the command line of `vllm serve` as the release's own parser has it; it checks no values."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

_HOMES = (
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.openai.cli_args",
)
_LONGEST_DEFAULT = 60


def _make_parser() -> Any:
    errors = []
    for home in _HOMES:
        try:
            make = importlib.import_module(home).make_arg_parser
        except ImportError as error:
            errors.append(f"{home}: {error}")
            continue
        try:
            parser_class: Any = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
        except ImportError:
            parser_class = importlib.import_module("vllm.utils").FlexibleArgumentParser  # type: ignore[attr-defined]
        return make(parser_class())
    raise ImportError("; ".join(errors))


def _describe(action: argparse.Action) -> dict[str, Any]:
    about: dict[str, Any] = {"dest": action.dest}
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        about["type"] = "flag"
    elif action.type is not None:
        about["type"] = getattr(action.type, "__name__", type(action.type).__name__)
    if action.choices:
        about["choices"] = sorted(str(getattr(c, "value", c)) for c in action.choices)
    if action.nargs not in (None, 0):
        about["nargs"] = action.nargs
    if isinstance(action.default, bool | int | float | str) and len(str(action.default)) <= _LONGEST_DEFAULT:
        about["default"] = action.default
    return about


def options() -> dict[str, dict[str, Any]]:
    """Option string → what it takes. Aliases of one option have the same `dest`; only the first says everything."""
    listed: dict[str, dict[str, Any]] = {}
    for action in _make_parser()._actions:
        first = True
        for option in action.option_strings:
            listed[option] = _describe(action) if first else {"dest": action.dest}
            first = False
    return dict(sorted(listed.items()))
