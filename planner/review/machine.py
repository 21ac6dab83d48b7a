"""From what an artefact calls a GPU or a machine to the catalogue's name; it never guesses between two."""

from __future__ import annotations

import re

from hw_specs import list_gpus, parse_gpus
from hw_specs.errors import M35Error
from hw_specs.instances import find_instance

_DEVICE_ID = re.compile(r"(?:0x)?[0-9a-f]{4}", re.IGNORECASE)
"""A PCI device id, as AMD's labeller writes it."""


def product_of(text: str | None) -> str | None:
    """Return the catalogue's name of the GPU that a product or a cloud's instance type names; None for anything else.

    >>> product_of("NVIDIA-H100-80GB-HBM3"), product_of("nvidia-l2"), product_of("a3-megagpu-8g")
    ('H100', None, 'H100')
    >>> product_of("74a1")
    'MI300X'
    """
    if not text:
        return None
    try:
        found = parse_gpus(text)
    except M35Error:
        pass
    else:
        alone = found.count == 1 and found.nodes == 1
        return found.spec.name if alone or find_instance(text) is not None else None
    if _DEVICE_ID.fullmatch(text):
        number = int(text, 16)
        return next((spec.name for spec in list_gpus() if number in spec.pci_device_ids), None)
    return None


def count_of(text: str | None) -> int | None:
    """Return how many GPUs a cloud's instance type has; None for anything else.

    >>> count_of("Standard_ND96isr_H200_v5")
    8
    """
    found = find_instance(text) if text else None
    return found.count if found is not None else None
