"""Where the hub keeps what it downloads, by the hub's own rules; it looks at variables and never at a disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hw_specs.reading import expanded


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Return the folder of the hub's cache.

    >>> str(hub_cache({"HF_HOME": "/data/hf"}))
    '/data/hf/hub'
    """
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return expanded(environment[name])
    if environment.get("HF_HOME"):
        return expanded(environment["HF_HOME"]) / "hub"
    base = environment.get("XDG_CACHE_HOME")
    root = expanded(base) if base else Path(environment.get("HOME") or expanded("~")) / ".cache"
    return root / "huggingface" / "hub"


def container_caches(environment: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the hub's folder on this machine, which a container shares, and its cache where that lies elsewhere.

    Both are absolute: docker takes a relative path for the name of a volume.
    """
    cache = hub_cache(environment).absolute()
    # Without its own two variables the cache lies in the hub's folder, where a login leaves its token, too.
    plain = {name: value for name, value in environment.items() if not name.endswith("HUB_CACHE")}
    home = hub_cache(plain).absolute().parent
    return str(home), None if cache == home / "hub" else str(cache)
