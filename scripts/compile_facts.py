"""A hook of the wheel's build: puts ``NAME.toml.py`` beside each data file, which pip compiles on installing."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledFacts(BuildHookInterface):
    """Makes the modules in a folder of its own: a checkout never holds them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add one module for each data file; a checkout that is installed in place reads its TOML."""
        if version == "editable":
            return
        root = Path(self.root)
        sys.path.insert(0, str(root))
        from hw_specs.tables import code_of

        self.folder = tempfile.TemporaryDirectory()
        for path in sorted([*root.glob("planner/facts/**/*.toml"), *root.glob("hw_specs/data/**/*.toml")]):
            name = f"{path.relative_to(root)}.py"
            made = Path(self.folder.name) / name
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_text(code_of(path.read_bytes()), encoding="utf-8")
            build_data["force_include"][str(made)] = name

    def finalize(self, version: str, *_: object) -> None:
        """Clean up."""
        if version != "editable":
            self.folder.cleanup()
