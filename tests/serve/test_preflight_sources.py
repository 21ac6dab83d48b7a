"""Tables and small rules are read from sources, and nothing of them runs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from planner.serve.preflight import sources


def function(text: str) -> ast.AST:
    return ast.parse(text).body[0]


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ('T = {"a": 1, **{"b": 2}}', {"a", "b"}),
        ('T: dict = Lazy(a="A", **{"b-c": "B"})', {"a", "b-c"}),
        ('T = OrderedDict([("a", "A"), ("b", "B")])', {"a", "b"}),
        ('T = {"a": 1} | {"b": 2}', {"a", "b"}),
        ("T = made_up()", set()),
        ("U = {'a': 1}", set()),
    ],
)
def test_a_table_is_read_however_it_is_written(table: str, keys: set[str]) -> None:
    assert sources.keys(ast.parse(table), "T") == keys


@pytest.mark.parametrize(
    ("body", "given", "said"),
    [
        ("return 75", {}, 75),
        ("return size % 8 == 0 and size <= 256", {"size": 128}, True),
        ("return size % 8 == 0 and size <= 256", {"size": 100}, False),
        ("return size in [64, 128]", {"size": 80}, False),
        ("return capability >= DeviceCapability(8, 0)", {"capability": (7, 5)}, False),
        ("return capability.major in (9, 10)", {"capability": (9, 0)}, True),
        ("return capability <= DeviceCapability(major=12, minor=0)", {"capability": (9, 0)}, None),
        ("return DeviceCapability(9).minor == 0", {}, None),
        ("if size > 256:\n  return False\n return True", {"size": 512}, False),
        ("if ask():\n  return False\n return False", {}, False),
        ("if ask():\n  return False\n return True", {}, None),
        ("if ask():\n  return False\n return True", {"ask()": lambda: True}, False),
        ("x = ask(1)\n return x or size == 1", {"size": 1}, True),
        ("return open('/etc/passwd')", {}, None),
        ("raise SystemExit", {}, None),
        ("return size < 'a'", {"size": 1}, None),
    ],
)
def test_a_rule_is_worked_out_as_far_as_it_is_sure(body: str, given: dict[str, object], said: object) -> None:
    assert sources.answer(function(f"def f(size):\n '''What it is.'''\n {body}"), given) is said


def test_a_member_comes_from_a_base_and_from_another_file(tmp_path: Path) -> None:
    folder = tmp_path / "vllm"
    folder.mkdir()
    (folder / "a.py").write_text("class A:\n    kinds = ['x']\n")
    (folder / "b.py").write_text("from vllm.a import A\nclass B(A):\n    pass\nclass C(B):\n    pass\n")
    tree = sources.module(folder, "b.py")
    assert sources.words(sources.member(tree, "C", "kinds", folder=folder)) == {"x"}
    assert sources.member(tree, "C", "kinds") is None
    assert sources.member(tree, "D", "kinds", folder=folder) is None


def test_what_is_not_python_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("type = = 1")
    assert sources.module(tmp_path, "bad.py") is None
    assert sources.module(tmp_path, "missing.py") is None and sources.module(None, "x.py") is None
    assert sources.keys(None, "T") == frozenset() and sources.words(None) == frozenset()
