"""Compile the stub drivers into a folder; the test fixture calls it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
_CC = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-format-truncation"]


def build(folder: Path) -> None:
    """Write ``nvidia/libnvidia-ml.so.1`` and ``amd/libamd_smi.so``; warnings of the compiler are errors."""
    rest = folder / "amdsmi_rest.c"
    rest.write_text(_other_symbols())
    for name, sources in (
        ("nvidia/libnvidia-ml.so.1", [HERE / "nvml.c"]),
        ("amd/libamd_smi.so", [HERE / "amdsmi.c", rest]),
    ):
        library = folder / name
        library.parent.mkdir(exist_ok=True)
        options = ["-Werror", f"-Wl,-soname,{library.name}", "-o", str(library)]
        subprocess.run([*_CC, *options, *map(str, sources)], check=True)


def _other_symbols() -> str:
    """Every function that the installed wrapper binds while it is imported, weak, answering NOT_SUPPORTED.

    The wrapper cannot be imported without a library, so its text is read instead.
    """
    spec = importlib.util.find_spec("amdsmi")
    assert spec is not None and spec.submodule_search_locations, "amdsmi is not installed"
    text = (Path(next(iter(spec.submodule_search_locations))) / "amdsmi_wrapper.py").read_text()
    names = sorted(set(re.findall(r"_libraries\[['\"]libamd_smi\.so['\"]\]\.(\w+)", text)))
    return "".join(f"__attribute__((weak)) unsigned {name}(void) {{ return 2; }}\n" for name in names)
