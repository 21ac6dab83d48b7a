"""The house rules that a program can check."""

from __future__ import annotations

import ast
import graphlib
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("hw_specs", "planner", "tui")
SOURCES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def test_imports_run_one_way() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_no_module_needs_itself_by_way_of_another() -> None:
    """Imports in functions count, so that putting one off does not hide a cycle."""
    import grimp

    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)
    arrows = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(arrows) > 400
    graphlib.TopologicalSorter(arrows).prepare()


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split("\n")}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import planner", {"numpy", "click", "pydantic", "textual", "httpx", "tomllib"}),
        ("import hw_specs", {"pynvml", "amdsmi", "pydantic", "tomllib"}),
        ("from planner import plan, PlanRequest", {"numpy", "click", "pydantic", "textual", "httpx", "asyncio"}),
        (
            "import io, contextlib; from planner.cli import main\n"
            "with contextlib.redirect_stdout(io.StringIO()): main(['--gpus', '1xMI300X'])",
            {"numpy", "pydantic", "textual", "httpx", "asyncio", "rich", "yaml", "multiprocessing", "json"},
        ),
    ],
)
def test_nothing_heavy_is_imported(statement: str, absent: set[str]) -> None:
    statement = statement if "\n" not in statement else f"exec({statement!r})"
    assert not loaded_by(statement) & absent


def test_a_plan_reads_few_of_the_catalogues_files_and_no_forecast() -> None:
    code = (
        "import sys; from planner import plan, PlanRequest; from hw_specs import parse_gpus, catalog\n"
        "plan(PlanRequest(gpus=parse_gpus('1xMI300X'))).levers\n"
        "print(catalog._load.cache_info().currsize, 'planner.speed.answer' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    files, forecast = done.stdout.split()
    assert int(files) <= 8 and forecast == "False"


def test_public_names_exist_and_no_module_takes_one() -> None:
    import hw_specs
    import planner
    import planner.review
    import planner.serve

    for package in (hw_specs, planner, planner.serve, planner.review):
        for module in pkgutil.iter_modules(package.__path__):
            if module.name != "__main__":
                importlib.import_module(f"{package.__name__}.{module.name}")
        assert len(package.__all__) == len(set(package.__all__))
        for name in package.__all__:
            assert getattr(package, name) is not None
            assert not isinstance(getattr(package, name), type(sys)), f"{name} is shadowed by a module"


def told_names(package: str) -> dict[str, str]:
    """Public name → where it is defined, from what type checkers are told."""
    path = ROOT.joinpath(*package.split("."), "__init__.py")
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("planner.", "hw_specs.")):
            found |= {
                name.asname or name.name: f"{node.module}.{name.name}" for name in node.names if name.name != "lazy"
            }
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in found:
            (target,) = node.targets
            assert isinstance(target, ast.Name)
            found[target.id] = found.pop(node.value.id)
    return found


DOORS = ("planner", "planner.serve", "planner.review", "hw_specs")


@pytest.mark.parametrize("door", DOORS)
def test_type_checkers_are_told_the_names_of_each_door(door: str) -> None:
    package, told = importlib.import_module(door), told_names(door)
    assert set(told) == set(package.__all__)
    for name, home in told.items():
        module, _, inner = home.rpartition(".")
        assert getattr(importlib.import_module(module), inner) is getattr(package, name)


@pytest.mark.parametrize("door", DOORS)
def test_the_page_of_the_api_has_every_public_name(door: str) -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    public = set(importlib.import_module(door).__all__)
    assert set(re.findall(rf"^### `{re.escape(door)}\.(\w+)`$", page, re.M)) == public


def test_files_stay_small() -> None:
    too_long = {
        str(path.relative_to(ROOT)): lines
        for folder in (*PACKAGES, "m35_plan", "tests", "scripts", "benchmarks", "examples", "oracle")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not too_long


def test_formulas_know_no_product_and_no_vendor() -> None:
    """GPU and vendor names are data; the probes and what follows a vendor's own tools may name it."""
    allowed = re.compile(
        r"(cli|serve|emitters|detect|checkpoint|speed|accuracy|review)/|report\.py|fleet\.py|hw_specs/"
    )
    names = re.compile(r"\b(h100|h200|b200|mi300x|mi325x|nvidia|amd|hopper|blackwell|rocm|cuda)\b", re.IGNORECASE)
    for path in SOURCES:
        place = str(path.relative_to(ROOT))
        if allowed.search(place) or place.startswith("tui/"):
            continue
        tree = ast.parse(path.read_text())
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
        } | {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                assert not names.search(node.value) or "GiB" in node.value or " " in node.value, (
                    f"{place}: {node.value}"
                )


def holds_a_number(value: object) -> bool:
    if isinstance(value, dict):
        return any(holds_a_number(item) for item in value.values())
    if isinstance(value, list):
        return any(holds_a_number(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_every_number_of_the_data_files_has_a_source() -> None:
    for path in (ROOT / "planner/facts").glob("*.toml"):
        for table, content in tomllib.loads(path.read_text()).items():
            for row in content if isinstance(content, list) else [content]:
                if isinstance(row, dict) and holds_a_number(row):
                    words = repr(row)
                    cited = "source" in words or "reason" in words or "'id'" in words
                    assert cited, f"{path.name}: [{table}] has no source"


def test_no_file_names_the_place_of_this_checkout() -> None:
    private = re.compile(re.escape(f"{ROOT}/"))
    for folder in (*PACKAGES, "docs", "tests", "scripts", "benchmarks", "examples", "oracle"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in {".py", ".md", ".toml", ".json", ".sh", ".txt", ".yaml", ".yml"}:
                found = private.search(path.read_text(encoding="utf-8", errors="replace"))
                assert not found, f"{path.relative_to(ROOT)}: {found and found.group()}"


def test_the_drawing_of_the_house_is_the_house() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawing = page.split("<!-- house -->")[1].split("```")[1]
    drawn = [(len(line) - len(line.lstrip()), line.split()[0]) for line in drawing.splitlines()[1:] if "↓" not in line]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {tuple(one.get("containers", ())): one["layers"] for one in contracts if one["type"] == "layers"}
    for container, depth in (("planner", 2), ("planner.serve", 4)):
        order = [name for layer in layers[container,] for name in layer.split(" | ")]
        rooms = [name for indent, name in drawn if indent == depth]
        assert rooms == order
        folder = ROOT / container.replace(".", "/")
        real = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
        assert set(rooms) == real - {"__init__", "__main__"}


DOORS_TO_FILES = {
    "hw_specs/reading.py": "the door to what people name",
    "planner/state.py": "the door to what is ours",
    "planner/serve/process/supervisor.py": "runs alone, with the standard library",
}
"""Modules that open files by themselves, and why."""


def _opens(node: ast.AST) -> bool:
    """Whether a call opens a file to read it; files of the kernel, named in full, are no input."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in ("open", "read_text", "read_bytes", "fdopen", "FileIO") or _of_the_kernel(node):
        return False
    if isinstance(node.func, ast.Name):
        return name in ("open", "read_text", "read_bytes") and not _is_the_door(name)
    owner = node.func.value
    return not (isinstance(owner, ast.Name) and owner.id in ("io", "webbrowser"))


def _is_the_door(name: str) -> bool:
    # By their own names these two are the functions of the door.
    return name in ("read_text", "read_bytes")


def _of_the_kernel(node: ast.Call) -> bool:
    texts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return any(text.startswith(("/proc/", "/sys/")) for text in texts)


def test_files_are_opened_by_doors_alone() -> None:
    allowed = {
        # Each of these opens what this program or the kernel made, by a path that nobody names.
        "hw_specs/detect/amd.py", "hw_specs/detect/child.py", "hw_specs/detect/host.py", "planner/cli/__init__.py",
        "planner/cli/output.py", "planner/serve/process/again.py", "planner/serve/process/launcher.py",
        "planner/serve/process/run.py", "planner/serve/process/runs.py", "planner/serve/process/scratch.py",
        "planner/serve/rehearsal/twin/tensors.py",
    }  # fmt: skip
    opening = set()
    for path in SOURCES:
        place = str(path.relative_to(ROOT))
        if any(_opens(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))):
            opening.add(place)
    assert opening <= allowed | DOORS_TO_FILES.keys(), opening - allowed - DOORS_TO_FILES.keys()
    assert allowed <= opening, "no longer needed: " + ", ".join(sorted(allowed - opening))


def test_yaml_is_read_by_its_door_alone() -> None:
    """Below it stands a C library as deep as a text is; ``review`` keeps places with a reader of its own."""
    reading = {
        str(path.relative_to(ROOT)) for path in SOURCES if re.search(r"\byaml\.(?:safe_)?load", path.read_text())
    }
    assert reading == {"hw_specs/parsing.py"}
