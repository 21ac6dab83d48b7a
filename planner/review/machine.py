"""From what an artefact calls a GPU or a machine to the catalogue's name; it never guesses between two."""

from __future__ import annotations

import re

from hw_specs import list_gpus, parse_gpus
from hw_specs.errors import M35Error

_DEVICE_ID = re.compile(r"(?:0x)?[0-9a-f]{4}", re.IGNORECASE)
"""A PCI device id, as AMD's labeller writes it."""
_DECORATION = re.compile(r"^(?:nvidia|amd|tesla|instinct|gpu)[-_ ]+|[-_ ](?:mig|shared)$", re.IGNORECASE)


def product_of(text: str | None) -> str | None:
    """Return the catalogue's name of a product; None where the catalogue has none, or several.

    >>> product_of("NVIDIA-H100-80GB-HBM3"), product_of("nvidia-l4")
    ('H100', None)
    >>> product_of("74a1")
    'MI300X'
    """
    if not text:
        return None
    for name in (text, _DECORATION.sub("", text)):
        try:
            found = parse_gpus(name)
        except M35Error:
            continue
        return found.spec.name if found.count == 1 and found.nodes == 1 else None
    if _DEVICE_ID.fullmatch(text):
        number = int(text, 16)
        return next((spec.name for spec in list_gpus() if number in spec.pci_device_ids), None)
    return None
