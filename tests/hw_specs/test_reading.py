"""Files that people name: what is read, what is refused, and that nothing hangs."""

from __future__ import annotations

import codecs
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import reading
from hw_specs.parsing import BadJson, decoded, parse_json
from hw_specs.reading import UnreadableInput, open_input, read_bytes, read_text

ENDLESS = ["/dev/zero", "/dev/urandom", "/dev/full"]


@pytest.mark.parametrize("path", ENDLESS)
def test_devices_are_refused(path: str) -> None:
    with pytest.raises(UnreadableInput, match="a device"):
        read_bytes(Path(path))


def test_dev_null_is_empty() -> None:
    assert read_bytes(Path("/dev/null")) == b""


def test_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UnreadableInput, match="named pipe"):
        read_bytes(pipe)


def test_a_pipe_that_was_given_is_read() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"words")
    os.close(write_end)
    assert read_text(Path(f"/dev/fd/{read_end}")) == "words"
    os.close(read_end)


def test_a_pipe_without_an_end_is_refused_after_its_time() -> None:
    read_end, write_end = os.pipe()
    begun = time.monotonic()
    with (
        pytest.raises(UnreadableInput, match="did not end within"),
        open_input(f"/dev/fd/{read_end}", limit_s=0.2) as f,
    ):
        f.read(10)
    assert time.monotonic() - begun < 5
    os.close(read_end)
    os.close(write_end)


def test_a_stream_without_an_end_is_cut_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ANNOUNCED_S", 0.05)
    read_end, write_end = os.pipe()
    os.write(write_end, b"a line\n")
    told: list[str] = []
    with open_input(f"/dev/fd/{read_end}", limit_s=0.4, on_wait=lambda: told.append("waiting")) as file:
        assert file.as_utf8().read(1 << 20) == b"a line\n"
        assert file.was_cut
    assert told == ["waiting"]
    os.close(read_end)
    os.close(write_end)


def test_a_larger_file_is_refused_and_never_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(UnreadableInput, match="larger than 1 MiB"):
        read_bytes(path, most_bytes=1 << 20)
    assert read_bytes(path, first_bytes=3) == b"\0\0\0"


@pytest.mark.parametrize("name", ["n" * 256, "n" * 5000, "a\0b", "", "gone", "/dev/fd/999999", "\ud800"])
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(UnreadableInput):
        read_bytes(name)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="a folder"):
        read_bytes(tmp_path)


# A mark of UTF-16 before a zero is the one of UTF-32.
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff\0")))
def test_every_mark_gives_the_same_text(text: str) -> None:
    for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert decoded(text.encode(codec)) == text
    for mark, codec in ((codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF32_BE, "utf-32-be")):
        assert decoded(mark + text.encode(codec)) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text[0] != "\0"))
def test_a_log_in_utf_16_reads_as_one_in_utf_8(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "a.log"
    path.write_bytes(text.encode("utf-16"))
    with open_input(path) as file:
        utf8 = file.as_utf8()
        found = b"".join(iter(lambda: utf8.read(7), b""))
    assert found.decode() == text


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_plain_documents_survive(value: object) -> None:
    for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        assert parse_json(json.dumps(value).encode(codec)) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 200_000, "nested too deeply"),
        ("[" * 101 + "]" * 101, "nested too deeply"),
        ('{"a":' * 300 + "1" + "}" * 300, "nested too deeply"),
        ("9" * 41, "41 digits"),
        ("9" * 5000, "5,000 digits"),
        ("1e999", "beyond every limit"),
        ("NaN", "not a number"),
        ("-Infinity", "not a number"),
        ("{", "not JSON"),
        ("", "not JSON"),
        (b"\xff\xfe\x00", "not text"),
        (b"\x00\x00", "not"),
    ],
)
def test_hostile_documents_are_refused_in_words(text: str | bytes, words: str) -> None:
    with pytest.raises(BadJson, match=words):
        parse_json(text)


@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_value_or_in_words(data: bytes) -> None:
    try:
        parse_json(data)
    except BadJson as error:
        assert str(error).startswith(("is ", "holds "))


def test_a_writer_that_drips_is_waited_for() -> None:
    read_end, write_end = os.pipe()

    def drip() -> None:
        for part in (b"[1,", b"2", b"]"):
            os.write(write_end, part)
        os.close(write_end)

    writer = threading.Thread(target=drip)
    writer.start()
    assert parse_json(read_bytes(f"/dev/fd/{read_end}")) == [1, 2]
    writer.join()
    os.close(read_end)


# What every command does with such files, through real processes.

DOORS = [
    ["--gpus", "@FILE"],
    ["--gpus", "8xH200", "--model", "FILE"],
    ["fleet", "FILE"],
    ["review", "FILE"],
    ["diff", "FILE", "8xH100"],
    ["diagnose", "FILE"],
    ["calibrate", "FILE", "--gpus", "8xH200"],
    ["verify", "--plan", "FILE", "http://127.0.0.1:1"],
    ["bench", "--result", "FILE"],
    ["bench", "--plan", "FILE", "--print"],
]


@pytest.mark.parametrize("kind", ["pipe", "endless", "levels", "utf16-cut", "folder-name"])
@pytest.mark.parametrize("door", DOORS, ids=lambda door: " ".join(door[:2]))
def test_no_door_hangs_or_crashes(door: list[str], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "levels":
        path.write_text("[" * 200_000)
    elif kind == "utf16-cut":
        path.write_bytes(codecs.BOM_UTF16_LE + b"{\0\0")
    else:
        path = tmp_path / ("n" * 256)
    argv = [word.replace("FILE", str(path)) for word in door]
    done = subprocess.run(
        [sys.executable, "-m", "planner", *argv], capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2, 5, 8), done.stderr
    assert done.stdout or done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- " * 50_000 + "x", "nested too deeply"),
        ("[" * 50_000, "nested too deeply"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a [x]\n" + "".join(f"b{n}: [*a, *a]\n" for n in range(9)), "repeats itself"),
        ("a: !!python/object/apply:os.system [id]", "is not YAML"),
        ("{a", "is not YAML"),
        ("a: 2026-99-99", "is not YAML"),
    ],
    ids=["list", "flow", "itself", "aliases", "tag", "open", "date"],
)
def test_hostile_yaml_is_refused_in_words(text: str, words: str) -> None:
    # In a process of its own: the C library underneath ends the whole process where it breaks.
    code = "import sys; from hw_specs.parsing import parse_yaml; parse_yaml(sys.stdin.read())"
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=False)
    assert "BadYaml" in done.stderr and words in done.stderr


def test_only_a_name_that_is_much_alike_is_called_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "mkdocs.yml").touch()
    (tmp_path / "host.json").touch()
    for wanted, hint in {"compose.yaml": "name a file that exists", "hots.json": "host.json"}.items():
        with pytest.raises(UnreadableInput) as caught:
            read_bytes(tmp_path / wanted)
        assert hint in str(caught.value.hint)
        assert "mkdocs" not in str(caught.value.hint)
