"""From what an artefact calls a GPU or a machine to the catalogue's name; it never guesses between two."""

from __future__ import annotations

import re

from hw_specs import parse_gpus
from hw_specs.errors import M35Error

_DECORATION = re.compile(r"^(?:nvidia|amd|tesla|instinct|gpu)[-_ ]+|[-_ ](?:mig|shared)$", re.IGNORECASE)


def product_of(text: str | None) -> str | None:
    """Return the catalogue's name of a product; None where the catalogue has none, or several.

    >>> product_of("NVIDIA-H100-80GB-HBM3"), product_of("nvidia-l4")
    ('H100', None)
    """
    if not text:
        return None
    for name in (text, _DECORATION.sub("", text)):
        try:
            found = parse_gpus(name)
        except M35Error:
            continue
        return found.spec.name if found.count == 1 and found.nodes == 1 else None
    return None
