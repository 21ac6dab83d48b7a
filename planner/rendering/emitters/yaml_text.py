"""YAML for every emitter that writes it; strings that look like numbers stay strings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from planner.planning.answer import Plan
from planner.rendering.emitters.image import heading


def commented_yaml(plan: Plan, what: str, documents: Iterable[dict[str, Any]], *notes: str) -> str:
    """Return the documents as one YAML stream below the comment that heads every artefact."""
    return yaml_documents(documents, heading=heading(plan, what, *notes))


def yaml_documents(documents: Iterable[dict[str, Any]], *, heading: str = "") -> str:
    """Return the documents as one YAML stream under comment lines, keys in the order given."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Lists are indented under their key, as people write them."""

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
            super().increase_indent(flow, False)

        def ignore_aliases(self, _data: object) -> bool:
            return True

    def block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        """Scripts are read by people, too."""
        style = "|" if "\n" in text and not any(line.endswith(" ") for line in text.split("\n")) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, block)
    parts = [
        yaml.dump(document, Dumper=Dumper, sort_keys=False, default_flow_style=False, width=1000, allow_unicode=True)
        for document in documents
    ]
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    return (comment + "---\n".join(parts)).rstrip("\n")
