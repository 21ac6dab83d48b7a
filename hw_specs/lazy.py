"""One way for a package to name its public values and load the module of each when it is first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of `package`.

    Args:
        package: its ``__name__``.
        homes: module, from the package on, to the public names it defines, separated by blanks; ``inner=outer`` gives
            a name another one.

    Raises:
        ValueError: when two modules define one name.
    """
    found: dict[str, tuple[str, str]] = {}
    for home, names in homes.items():
        for name in names.split():
            inner, _, outer = name.partition("=")
            if (outer or inner) in found:
                raise ValueError(f"{package}: `{outer or inner}` has two homes")
            found[outer or inner] = home, inner

    def get(name: str) -> object:
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home, inner = found[name]
        value: object = getattr(import_module(f"{package}.{home}"), inner)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *found}), sorted(found)
