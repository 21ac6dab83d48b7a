"""The data files and the one way to read them; it never computes.

Files are read once per process. Rules of vLLM are resolved by release here, so that formulas take values and not
version numbers.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from hw_specs.tables import read_compiled


@cache
def load(name: str) -> dict[str, Any]:
    """Return the parsed data file ``planner/facts/<name>`` (``.toml`` or ``.json``).

    Raises:
        FileNotFoundError: when the package holds no such file.
    """
    if name.endswith(".toml"):
        return read_compiled("planner.facts", name)
    import json
    from pkgutil import get_data

    content = get_data("planner.facts", name)
    if content is None:
        raise FileNotFoundError(f"planner/facts/{name}")
    return cast("dict[str, Any]", json.loads(content))
