"""Every option that a read release's parser has or had, release by release: what a review of a command line asks."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from oracle.changes import load
from oracle.facts_file import FOLDER

FILE = FOLDER.parent / "options.json"


def history(folder: Path = FOLDER) -> dict[str, Any]:
    """Return the options of every facts file: name → first release and what the parser says; null where it is gone."""
    files = load(folder)
    tables = [(one["vllm_version"], one["cli_options"]) for one in files]
    options: dict[str, list[list[Any]]] = {}
    for name in sorted({name for _, table in tables for name in table}):
        found = [(version, table.get(name)) for version, table in tables]
        first = [[found[0][0], found[0][1]]] if found[0][1] is not None else []
        options[name] = first + [[version, now] for (_, before), (version, now) in pairwise(found) if now != before]
    return {
        "schema_version": 1,
        "provenance": {"basis": "exact", "source": "argument parsers of the vLLM wheels named in `releases`, executed"},
        "releases": [version for version, _ in tables],
        "options": options,
    }


def render(document: dict[str, Any]) -> str:
    """Return the file: one line an option, so that a release changes few of them."""
    head = [f"{json.dumps(key)}: {json.dumps(document[key])}," for key in ("schema_version", "provenance", "releases")]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in document["options"].items())
    return "\n".join(["{", *head, '"options": {', lines, "}", "}"]) + "\n"


def write(folder: Path = FOLDER) -> Path:
    """Write the history of the facts files in `folder`; return its path."""
    FILE.write_text(render(history(folder)), encoding="utf-8")
    return FILE
