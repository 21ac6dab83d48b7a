"""The bytes of our data files, from a folder or a zip file alike; it knows nothing of what is in them.

Data is read with ``pkgutil`` because ``importlib.resources`` costs more time than a whole plan.
"""

from __future__ import annotations

import tomllib
from pkgutil import get_data
from typing import Any


def read_data(name: str) -> bytes:
    """Return the bytes of ``hw_specs/data/<name>``."""
    content = get_data("hw_specs", f"data/{name}")
    if content is None:
        raise FileNotFoundError(f"hw_specs/data/{name}")
    return content


def read_toml(name: str) -> dict[str, Any]:
    """Return one TOML data file as plain values."""
    return tomllib.loads(read_data(name).decode())
