"""The data files and the one way to read them; it never computes.

Files are read once per process. Rules of vLLM are resolved by release here, so that formulas take values and not
version numbers.
"""

from __future__ import annotations

from functools import cache
from pkgutil import get_data
from typing import Any, cast


@cache
def load(name: str) -> dict[str, Any]:
    """Return the parsed data file ``planner/facts/<name>`` (``.toml`` or ``.json``).

    Raises:
        FileNotFoundError: when the package holds no such file.
    """
    # Not importlib.resources: importing it costs a tenth of a plan's cold start.
    content = get_data("planner.facts", name)
    if content is None:
        raise FileNotFoundError(f"planner/facts/{name}")
    text = content.decode()
    if name.endswith(".json"):
        import json

        return cast("dict[str, Any]", json.loads(text))
    import tomllib

    return tomllib.loads(text)
