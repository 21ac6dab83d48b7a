"""Our data files, from a folder or a zip file alike; it knows nothing of what is in them.

TOML is compiled once, as a module is: parsing it costs a plan's cold start more than the plan itself. In a wheel stands
``NAME.toml.py`` beside ``NAME.toml``, which pip compiles like every module; in a checkout Python's own cache keeps what
was parsed, keyed by the file's time and size. A TOML file that is newer than what was made of it is read instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any


def code_of(toml: bytes) -> str:
    """Return the module that stands for a TOML file: its values under one name."""
    import tomllib

    return f"from math import inf, nan\n\nVALUES = {tomllib.loads(toml.decode())!r}\n"


class _TomlLoader(SourceFileLoader):
    """Loads ``NAME.toml.py``, or makes it of ``NAME.toml`` where it is missing or older."""

    def __init__(self, package: str, name: str) -> None:
        self._module = sys.modules[package]
        # Not pathlib: importing it costs more than all files together.
        path = f"{os.path.dirname(str(self._module.__file__))}/{name}"  # noqa: PTH120
        self._parsed = _changed_at(path) > _changed_at(f"{path}.py")
        super().__init__(f"{package}:{name}", f"{path}.py")

    def path_stats(self, path: str) -> Mapping[str, Any]:
        return super().path_stats(path.removesuffix(".py") if self._parsed else path)

    def get_data(self, path: str) -> bytes:
        if not path.endswith(".py"):
            return super().get_data(path)
        assert self._module.__spec__ is not None
        loader: Any = self._module.__spec__.loader
        content: bytes = loader.get_data(path.removesuffix(".py") if self._parsed else path)
        return content

    def source_to_code(self, data: Any, path: Any, **_: Any) -> CodeType:  # type: ignore[override]
        source = code_of(bytes(data)) if self._parsed else data
        code: CodeType = compile(source, path, "exec", dont_inherit=True)
        return code


def _changed_at(path: str) -> float:
    try:
        return os.stat(path).st_mtime  # noqa: PTH116
    except OSError:
        return 0.0 if path.endswith(".py") else 1.0


def read_compiled(package: str, name: str) -> dict[str, Any]:
    """Return the TOML file `name` of an imported `package` as plain values.

    Raises:
        FileNotFoundError: when the package holds no such file.
    """
    loader = _TomlLoader(package, name)
    code = loader.get_code(loader.name)
    assert code is not None, "a source file has code"
    module: dict[str, Any] = {}
    exec(code, module)
    values: dict[str, Any] = module["VALUES"]
    return values


def read_data(name: str) -> bytes:
    """Return the bytes of ``hw_specs/data/<name>``."""
    from pkgutil import get_data

    content = get_data("hw_specs", f"data/{name}")
    if content is None:
        raise FileNotFoundError(f"hw_specs/data/{name}")
    return content


def read_toml(name: str) -> dict[str, Any]:
    """Return one TOML file of ``hw_specs/data`` as plain values."""
    return read_compiled("hw_specs", f"data/{name}")
