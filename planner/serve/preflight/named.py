"""Checks of what flags name on this machine: files, packages that a value needs, and modules that others hide."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hw_specs.parsing import BadJson, parse_json
from planner.facts.preflight import preflight_facts
from planner.facts.serve_flags import flag_of
from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.preflight.engine import vllm_version
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value

_ELSEWHERE = "the container has folders and packages of its own"
_JINJA = "{}\n"
"""Characters that a template has and the engine takes no path to have."""


def check_files(subject: Subject) -> str | None:
    """Whether the files and folders that flags name are here and readable."""
    given = list(_given(subject))
    if not given:
        return None
    if subject.order.in_container:
        raise Skipped(_ELSEWHERE)
    for flag, path, inside in given:
        if not path.exists():
            raise Failed(
                f"--{flag} names `{path}`, which is not here", f"the path of a file here, or --{flag} left out"
            )
        wanted = path / inside if inside else path
        if not wanted.exists():
            raise Failed(f"--{flag} names `{path}`, which has no {inside}", "the folder that the adapter was saved in")
        if not os.access(wanted, os.R_OK):
            raise Failed(f"--{flag} names `{wanted}`, which this user may not read", f"`chmod a+r {wanted}`")
    return ", ".join(dict.fromkeys(f"--{flag}" for flag, _, _ in given)) + ": all are here"


def _given(subject: Subject) -> Iterator[tuple[str, Path, str]]:
    """Flags, the paths that they name, and the file that a folder must have."""
    facts = preflight_facts().file_flags
    for flag in facts.paths:
        value = option_value(subject.engine_args, flag)
        if value:
            yield flag, Path(value), ""
    for flag in facts.paths_or_names:
        value = option_value(subject.engine_args, flag)
        if value and _is_path(value):
            yield flag, Path(value), ""
    template = option_value(subject.engine_args, facts.template)
    if template and not any(mark in template for mark in _JINJA) and Path(template).is_absolute():
        yield facts.template, Path(template), ""
    for path in _adapters(subject.engine_args, facts.adapters):
        if _is_path(path):
            yield facts.adapters, Path(path), facts.adapter_file


def _is_path(text: str) -> bool:
    """Whether it is a path and not a name on the hub."""
    return Path(text).is_absolute() or text.startswith(("./", "../"))


def _adapters(words: tuple[str, ...], flag: str) -> Iterator[str]:
    """The paths of ``name=path``, or of objects with a ``path``, behind a flag that takes several."""
    at = next((index for index, word in enumerate(words) if flag_of(word)[0] == flag), None)
    if at is None:
        return
    inline = flag_of(words[at])[1]
    values = [inline] if inline is not None else []
    for word in words[at + 1 :]:
        if word.startswith("-") or inline is not None:
            break
        values.append(word)
    for value in values:
        if value.startswith("{"):
            try:
                path = parse_json(value).get("path")
            except (BadJson, AttributeError):
                continue
            if isinstance(path, str):
                yield path
        elif "=" in value and "," not in value:
            yield value.partition("=")[2]


def check_packages(subject: Subject) -> str | None:
    """Whether the packages that values of flags need are installed beside the engine."""
    wanted = {}
    for flag, packages in preflight_facts().packages.by_flag.items():
        value = (option_value(subject.engine_args, flag) or "").lower()
        if value in packages:
            wanted[f"--{flag} {value}"] = packages[value]
    if not wanted:
        return None
    if subject.order.in_container:
        raise Skipped(_ELSEWHERE)
    if subject.versions is None or vllm_version(subject) is None:
        raise Skipped("there is no vLLM whose packages could be read")
    for said, package in wanted.items():
        if package not in subject.versions:
            name = package.replace("_", "-")
            raise Failed(
                f"{said} needs {name}, which is not installed", f"`uv pip install {name}` into its environment"
            )
    return ", ".join(f"{package} {subject.versions[package]}" for package in wanted.values())


def check_shadows(subject: Subject) -> str | None:
    """Whether no folder before the installed packages has a module of a name that the engine imports."""
    if subject.order.in_container:
        return None
    facts = preflight_facts().start_modules
    for folder in _before_packages(subject):
        if any(folder.glob("*.dist-info")) or any(folder.glob("*.egg-info")):
            continue  # A folder of installed packages, or of one that is worked on.
        for name in facts.standard:
            if (found := _module(folder, name)) is not None:
                raise Failed(
                    f"`{found}` hides Python's own module {name}, which the engine imports",
                    "rename the file, or take its folder out of PYTHONPATH",
                )
        for name in facts.installed:
            if (found := _module(folder, name)) is not None:
                alone = found.name != "__init__.py" and name not in facts.single_files
                raise (Failed if alone else Doubtful)(
                    f"`{found}` is imported in the place of the installed {name}",
                    "rename it, or take its folder out of PYTHONPATH, if it is not meant",
                )
    return None


def _before_packages(subject: Subject) -> Iterator[Path]:
    """Folders that Python looks into before the installed packages."""
    if "-m" in subject.order.argv[:3] and not subject.environment.get("PYTHONSAFEPATH"):
        yield Path.cwd()
    named = subject.environment.get("PYTHONPATH", "")
    for folder in named.split(":") if named else ():
        yield Path(folder or ".")


def _module(folder: Path, name: str) -> Path | None:
    places = (folder / f"{name}.py", folder / name / "__init__.py")
    return next((place for place in places if place.is_file()), None)
