"""Write the generated pages of docs/reference/ from the code: commands, exit codes, JSON schema.

python scripts/reference.py           # rewrite
python scripts/reference.py --check   # exit 1 and name the pages that are stale
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import sys
from itertools import pairwise
from pathlib import Path

import click
from api_reference import api_page

from planner import json_schema
from planner.cli import COMMANDS, app, exit_code
from planner.cli.exit_code import ExitCode
from planner.rendering.document import SCHEMA_VERSION

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference.py; change the code, not this page. -->\n\n"


def command_page() -> str:
    """Every command with its help, as the terminal prints it at 80 columns."""
    parts = [
        NOTE
        + "# Commands\n\n`m35-plan` without a command is `m35-plan plan`. Data goes to stdout, narration to stderr.\n"
    ]
    root = click.Context(app, info_name="m35-plan", terminal_width=80, max_content_width=80)
    parts.append("```text\n" + app.get_help(root) + "\n```\n")
    for name in COMMANDS:
        command = app.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, terminal_width=80, max_content_width=80)
        parts.append(f"## m35-plan {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def exit_code_page() -> str:
    """The exit codes with their meaning, which stands under each member in the source."""
    tree = ast.parse(inspect.getsource(exit_code))
    (body,) = (node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    said = {}
    for member, text in pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr) and isinstance(member.targets[0], ast.Name):
            said[member.targets[0].id] = ast.literal_eval(text.value)
    rows = [f"| {code.value} | {code.name.lower().replace('_', ' ')} | {said[code.name]} |" for code in ExitCode]
    head = "# Exit codes\n\nA number never changes its meaning; new ones may come.\n\n"
    head += "| code | name | meaning |\n| ---: | --- | --- |\n"
    return NOTE + head + "\n".join(rows) + "\n"


def schema_page() -> str:
    """The JSON document in words; the schema itself lies beside it."""
    schema = json_schema()
    out = [
        NOTE + f"# The JSON document, version {SCHEMA_VERSION}\n",
        "`m35-plan --json` prints one document, also when nothing fits. Bytes are integers, lengths are tokens. "
        "A minor version adds keys, a major one removes or redefines some. The schema for machines: "
        "[plan.schema.json](plan.schema.json), or `m35-plan spec`.\n",
    ]
    definitions = schema.get("$defs", {})
    for name, definition in [("PlanDocument", schema), *sorted(definitions.items())]:
        properties = definition.get("properties")
        if not properties:
            continue
        out.append(f"## {name}\n\n| key | type | meaning |\n| --- | --- | --- |")
        out += [f"| `{key}` | {_type(value)} | {value.get('description', '')} |" for key, value in properties.items()]
        out.append("")
    return "\n".join(out)


def _type(value: dict[str, object]) -> str:
    """A schema's type in a word or two, with a link where it is one of ours."""
    if "$ref" in value:
        name = str(value["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in value:
        return " or ".join(_type(one) for one in value["anyOf"])  # type: ignore[attr-defined]
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])  # type: ignore[attr-defined]
    if value.get("type") == "array":
        items = value.get("items", {})
        return f"list of {_type(items)}" if items else "list"  # type: ignore[arg-type]
    if value.get("type") == "object":
        return "object"
    return str(value.get("type", "anything"))


PAGES = {
    "api.md": lambda: NOTE + api_page(),
    "cli.md": command_page,
    "exit-codes.md": exit_code_page,
    "json-schema.md": schema_page,
    "plan.schema.json": lambda: json.dumps(json_schema(), indent=2) + "\n",
}


def main(*, check: bool) -> int:
    """Rewrite or check every page."""
    stale = []
    for name, page in PAGES.items():
        path, text = REFERENCE / name, page()
        if check:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"stale: {', '.join(stale)}; run `python scripts/reference.py`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="say what is stale, and write nothing")
    sys.exit(main(check=parser.parse_args().check))
