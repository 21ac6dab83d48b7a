"""Whatever the text is, a review ends with findings at real places, never with an exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.review import review
from planner.review.fix import repair

NAMES = st.sampled_from(["", "a.yaml", "a.sh", "a.py", "a.service", "a.json", "-"])
SCRAPS = st.sampled_from([
    "vllm serve ", "mistralai/Mistral-Medium-3.5-128B ", "--tensor-parallel-size ", "8 ", "docker run ",
    "-p ", "8000:8000 ", "-it ", "--gpus\n    ", "vllm/vllm-openai:latest ", "'", '"', "$", "${", "}", "$(",
    ")", "(", "\\\n", "\n", " ", "#", "<<EOF\n", "EOF\n", "services:\n", "  engine:\n", "    image: ",
    "    command: ", "apiVersion: v1\n", "kind: Deployment\n", "spec:\n", "containers:\n", "- ", "[", "]",
    "{", ":", ": ", "&a ", "*a ", "<<: *a\n", "!x ", "{{ .Values.x }}", "[Service]\n", "ExecStart=",
    "Environment=", "from vllm import LLM\n", "LLM(", "model=", "**kw", "x=1\n", "--speculative-config ",
    '{"max_model_len": 1}', "=", "resources:\n", "run: >\n", "=(", "if ", "fi\n", "env:\n", "\t", "\x07",
    "é", "  ",
])  # fmt: skip
TEXTS = st.one_of(st.text(max_size=300), st.lists(SCRAPS, max_size=40).map("".join))


@given(TEXTS, NAMES)
def test_any_text_is_answered(text: str, name: str) -> None:
    answer = review(text, name=name)
    lines = text.count("\n") + 1
    for found in answer.findings:
        assert 1 <= found.line <= lines
        assert found.column >= 1
        assert found.message
        assert found.why
        assert found.source
        for edit in found.edits:
            assert 0 <= edit.start <= edit.end <= len(text)


@given(TEXTS, NAMES)
def test_a_repair_is_stable(text: str, name: str) -> None:
    done = repair(text, lambda one: review(one, name=name))
    assert repair(done.after.text, lambda one: review(one, name=name)).after.text == done.after.text
    assert len(done.after.servers) == len(done.before.servers)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        (BOMB + "kind: List\napiVersion: v1\nitems: *k\n", "unreadable", None),
        ("kind: Pod\napiVersion: v1\nspec: !!python/object/apply:os.system [id]\n", "unreadable", 3),
        ("kind: Pod\napiVersion: v1\nspec: !secret x\n", "unreadable", 3),
        ("[" * 5000, "unreadable", None),
        ("a: b: c\n", "unreadable", 1),
        ("kind: Pod\napiVersion: v1\nmetadata:\n  name: {{ .Values.name }}\n", "template", 4),
        ("x\0y", "unreadable", 1),
        ("a" * (1 << 20) + "b", "unreadable", 1),
        ("a: 1\n" * (1 << 17), "unreadable", 1),
    ],
    ids=["bomb", "object", "tag", "brackets", "colons", "template", "binary", "large", "large-yaml"],
)
def test_what_is_refused_is_named(text: str, code: str, line: int | None) -> None:
    found = [one for one in review(text, name="a.yaml").findings if one.code == code]
    assert found
    if line is not None:
        assert found[0].line == line


def test_nothing_that_is_read_is_run(tmp_path) -> None:  # type: ignore[no-untyped-def]
    trace = tmp_path / "ran"
    for name, text in [
        ("a.sh", f"vllm serve $(touch {trace}) `touch {trace}`\n"),
        ("a.py", f"import vllm\nopen({str(trace)!r}, 'w')\nvllm.LLM(model=open({str(trace)!r}, 'w').name)\n"),
        ("a.yaml", f"services:\n  e:\n    image: vllm/vllm-openai:v0.33.0\n    command: $(touch {trace})\n"),
    ]:
        review(text, name=name)
    assert not trace.exists()
