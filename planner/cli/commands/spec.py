"""``m35-plan spec``: the command line, the exit codes and the JSON schemas, for machines. It plans nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from planner.cli.command import Command
from planner.cli.output import write_json

SPEC_VERSION = "2.0"
DOCUMENT_HOMES = (
    "planner.cli.documents", "planner.rendering.difference", "planner.review.document", "planner.serve.documents",
    "planner.serve.log.events", "planner.serve.log.verdict", "planner.serve.start_report",
    "planner.serve.verification.smoke", "planner.serve.rehearsal.rehearse", "planner.serve.verification.window",
)  # fmt: skip
"""Modules whose documents have types of their own."""


def option_spec(parameter: click.Parameter) -> dict[str, Any]:
    """One option or argument, in plain values."""
    found: dict[str, Any] = {
        "name": parameter.name,
        "flags": [*parameter.opts, *parameter.secondary_opts],
        "kind": "argument" if isinstance(parameter, click.Argument) else "option",
        "type": parameter.type.name,
        "required": parameter.required,
        "multiple": getattr(parameter, "multiple", False) or parameter.nargs == -1,
    }
    if isinstance(parameter, click.Option):
        found["is_flag"] = parameter.is_flag
        found["help"] = parameter.help or ""
        if isinstance(parameter.default, bool | int | float | str):
            found["default"] = parameter.default
    if isinstance(parameter.type, click.Choice):
        found["choices"] = [str(choice) for choice in parameter.type.choices]
    return found


def specification() -> dict[str, Any]:
    """Everything a program needs to call m35-plan and read its answers."""
    from importlib.metadata import version

    from hw_specs.detect.snapshot import SCHEMA_VERSION as DETECTION_VERSION
    from hw_specs.detect.snapshot import json_schema as detection_schema
    from planner.cli import COMMANDS, DEFAULT_COMMAND, app
    from planner.cli.exit_code import ExitCode
    from planner.rendering.document import SCHEMA_VERSION, json_schema
    from planner.rendering.envelope import documents, head, schema

    for home in DOCUMENT_HOMES:
        import_module(home)
    typed = dict(sorted(documents().items()))
    what = {kind: (head(cls)[1], (cls.__doc__ or "").splitlines()[0]) for kind, cls in typed.items()}
    schemas = {
        "plan": json_schema(),
        "detection": detection_schema(),
        **{kind: schema(cls) for kind, cls in typed.items()},
    }
    others = {
        "plan": (SCHEMA_VERSION, "A plan, also when nothing fits."),
        "detection": (DETECTION_VERSION, "The GPUs of a machine."),
        "spec": (SPEC_VERSION, "This document."),
    }
    kinds = {kind: {"schema_version": number, "what": words} for kind, (number, words) in {**others, **what}.items()}
    context = click.Context(app)
    commands = {}
    for name in COMMANDS:
        found = app.get_command(context, name)
        assert found is not None
        commands[name] = {
            "help": COMMANDS[name],
            "parameters": [option_spec(parameter) for parameter in found.params],
        }
    return {
        "program": "m35-plan",
        "version": version("m35-plan"),
        "default_command": DEFAULT_COMMAND,
        "commands": commands,
        "exit_codes": {str(code.value): code.name.lower().replace("_", "-") for code in ExitCode},
        "kinds": kinds,
        "schemas": schemas,
    }


@click.command(cls=Command, name="spec")
@click.option("--json", "_as_json", is_flag=True, help="print JSON, as it does without this, too")
def command(_as_json: bool) -> None:
    """Print the command line, the exit codes and the JSON schemas as one JSON document."""
    write_json({"kind": "spec", "schema_version": SPEC_VERSION, **specification()})
