"""``m35-plan review``: judge commands and files that already exist. It runs nothing that it reads."""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from hw_specs.errors import reason_of
from hw_specs.parsing import decoded
from hw_specs.reading import UnreadableInput, read_bytes
from hw_specs.spec import GpuSet
from hw_specs.units import parse_memory
from planner.cli.command import Command
from planner.cli.diagnostics import narrate, say
from planner.cli.exit_code import ExitCode
from planner.cli.options import Trimmed, gpu_options
from planner.cli.output import write, write_back, write_document, write_json
from planner.errors import InvalidRequest
from planner.rendering.secrets import secrets_in, without

if TYPE_CHECKING:
    from planner.review.findings import Review

_BEHIND = "planner.review.command"
_LIMIT_BYTES = 1 << 20
_ENGINES = ("docker", "podman", "nerdctl")
FORMATS = ("table", "json", "sarif", "github", "junit")


class WithCommand(Command):
    """A command that takes another one after ``--``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what stands behind the first ``--`` as it is."""
        if "--" in args:
            index = args.index("--")
            ctx.meta[_BEHIND] = args[index + 1 :]
            args = args[:index]
        elif (start := _command_at(args)) is not None:
            shown = shlex.join(args[start : start + 2])
            raise InvalidRequest(
                "files", f"`{shown} …` is a command, and a command goes after `--`",
                hint=shlex.join(["m35-plan", "review", *args[:start], "--", *args[start : start + 2]]) + " …",
            )  # fmt: skip
        return super().parse_args(ctx, args)


def _command_at(args: list[str]) -> int | None:
    """Where a command begins that somebody forgot to put after ``--``; None where each word may be a file."""
    for index, (word, following) in enumerate(pairwise(args)):
        name = PurePosixPath(word).name
        starts = (name == "vllm" and following == "serve") or (name in _ENGINES and following == "run")
        starts = starts or (name.startswith("python") and following == "-m")
        if starts and not Path(word).is_file():
            return index
    return None


@click.command(cls=WithCommand, short_help="judge commands and files that already exist")
@gpu_options
@click.option("--vllm-version", type=Trimmed(), metavar="VERSION", help="release, where no image tag or pin says it")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", help="what is printed")
@click.option("--json", "as_json", is_flag=True, help="short for --format json")
@click.option(
    "--fail-on", type=click.Choice(["error", "warn", "info", "never"]), default="error",
    help="mildest severity that ends with 8 (default: error)",
)  # fmt: skip
@click.option("--require-verdict", is_flag=True, help="end with 8 where a server cannot be judged, or none was found")
@click.option("--fix", is_flag=True, help="write the certain fixes into the files, after printing the diff")
@click.option("--diff", "diff_only", is_flag=True, help="show what --fix would write, and write nothing")
@click.argument("files", nargs=-1, metavar="[FILES]... [-- COMMAND...]", type=click.Path(allow_dash=True))
@click.pass_context
def command(
    ctx: click.Context,
    gpus: str | None,
    gpu_memory: str | None,
    vllm_version: str | None,
    form: str,
    as_json: bool,
    fail_on: str,
    require_verdict: bool,
    fix: bool,
    diff_only: bool,
    files: tuple[str, ...],
) -> int:
    """Judge vLLM commands, docker and compose files, manifests, Helm values, task files, units and scripts.

    Each server gets a verdict and findings with line and column; nothing that is read is run. `-` reads stdin, a
    command after `--` is judged as it is. Exit code 0: nothing at or above `--fail-on`, 3: a server does not
    start as it stands, 8: findings at or above `--fail-on`, or no verdict where `--require-verdict` wants one.
    """
    words: list[str] = ctx.meta.get(_BEHIND, [])
    if not files and not words:
        raise InvalidRequest(
            "files", "there is no file and no command after `--`", hint="`m35-plan review -- vllm serve …`"
        )
    machine = _machine(gpus, gpu_memory)
    if vllm_version is not None:
        from planner.facts.release import parse_version

        parse_version(vllm_version)
    texts = [(name, _text(name), _beside(name)) for name in files]
    if words:
        texts.append(("", words[0] if len(words) == 1 else shlex.join(words), _beside(".")))
    reviews: list[Review] = []
    for name, text, beside in texts:
        judge = _judge(name, machine, vllm_version, beside)
        if fix or diff_only:
            reviews.append(_repaired(name, text, judge, dry=diff_only))
        else:
            reviews.append(judge(text))
    from planner.cli.review_table import without_verdict

    code = _exit_code(reviews, fail_on)
    undecided = without_verdict(reviews)
    if undecided and require_verdict and code == ExitCode.OK:
        code = ExitCode.FINDINGS
    _print(reviews, "json" if as_json else form, ok=code == ExitCode.OK)
    if undecided and code in (ExitCode.OK, ExitCode.FINDINGS):
        say("note", undecided)
    return code


def _machine(gpus: str | None, gpu_memory: str | None) -> GpuSet | None:
    """The GPUs that the options name; those of this machine only on request."""
    if gpus is None:
        return None
    if gpus == "auto" or gpus.startswith("@"):
        from planner.cli.gpus_option import resolve_gpus

        return resolve_gpus(gpus, gpu_memory=gpu_memory)
    from hw_specs import parse_gpus

    return parse_gpus(gpus, memory_override_bytes=None if gpu_memory is None else parse_memory(gpu_memory))


def _judge(
    name: str, machine: GpuSet | None, vllm_version: str | None, beside: Callable[[str], str | None]
) -> Callable[[str], Review]:
    from planner.review import review

    def judge(text: str) -> Review:
        return review(text, name="" if name == "-" else name, gpus=machine, vllm_version=vllm_version, beside=beside)

    return judge


def _text(name: str) -> str:
    """The text of a file or of stdin."""
    # One byte more than a review takes, so that it says itself what is too large.
    data = read_bytes(name, first_bytes=_LIMIT_BYTES + 1)
    return decoded(data, errors="replace").replace("\r\n", "\n")


def _beside(name: str) -> Callable[[str], str | None]:
    """Files in the artefact's own folder, by name; nothing else is opened, and no link leads out of it.

    A file named by its place on the machine (``/etc/m35.env``) is looked for under its last name.
    """
    folder = Path(name).parent if name != "-" else Path()

    def read(path: str) -> str | None:
        wanted = PurePosixPath(path)
        by_place = wanted.is_absolute() and not wanted.name.startswith(".")
        for candidate in (wanted, *([PurePosixPath(wanted.name)] if by_place else ())):
            if candidate.is_absolute() or ".." in candidate.parts or not candidate.name:
                continue
            try:
                if not (folder / candidate).resolve().is_relative_to(folder.resolve()):
                    continue
                return decoded(read_bytes(folder / candidate, first_bytes=_LIMIT_BYTES), errors="replace")
            except (UnreadableInput, OSError, RuntimeError, ValueError):  # loops of links, names that none has
                continue
        return None

    return read


def _repaired(name: str, text: str, judge: Callable[[str], Review], *, dry: bool) -> Review:
    """Show the change of one file, write it unless that was not wanted, and return what is left to say."""
    from planner.review.fix import repair

    done = repair(text, judge)
    if not done.changed:
        return done.before
    narrate(without(done.diff().rstrip("\n"), secrets_in(text)))
    if dry:
        return done.before
    if name in ("", "-"):
        write_back(done.after.text.rstrip("\n"))
    else:
        try:
            _write_back(Path(name), done.after.text)
        except OSError as error:
            raise InvalidRequest("files", f"cannot write `{name}`: {reason_of(error)}") from None
    say("note", f"{len(done.applied)} of {len(done.before.findings)} findings fixed in {name or 'the command'}")
    return done.after


def _write_back(path: Path, text: str) -> None:
    """Replace what stands in `path`, with the line ends and the mark it had.

    Raises:
        InvalidRequest: for a file in another encoding, which a rewrite would change everywhere.
    """
    old = read_bytes(path)
    mark = "\ufeff" if old.startswith(codecs.BOM_UTF8) else ""
    try:
        was = old.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(
            "files", f"`{path}` is not UTF-8, so it is not rewritten", hint="`--diff` shows what to change"
        ) from None
    if was.count("\r\n") * 2 > was.count("\n"):
        text = text.replace("\n", "\r\n")
    path.write_bytes((mark + text).encode("utf-8"))


def _print(reviews: list[Review], form: str, *, ok: bool) -> None:
    if form == "json":
        from planner.review.document import review_document

        write_document(review_document(reviews, ok=ok))
    elif form == "sarif":
        from planner.review.sarif import sarif

        write_json(sarif(reviews))
    elif form == "github":
        from planner.review.workflow_commands import workflow_commands

        lines = workflow_commands(reviews)
        if lines:
            write(lines)
    elif form == "junit":
        from planner.review.junit import junit

        write(junit(reviews))
    else:
        from planner.cli.review_table import review_text

        write(review_text(reviews))


def _exit_code(reviews: list[Review], fail_on: str) -> int:
    from planner.review.findings import SEVERITIES

    if any(not one.fits for one in reviews):
        return ExitCode.DOES_NOT_FIT
    if fail_on == "never":
        return ExitCode.OK
    counted = SEVERITIES[: [*SEVERITIES].index(fail_on) + 1]  # type: ignore[arg-type]
    return ExitCode.FINDINGS if any(f.severity in counted for one in reviews for f in one.findings) else ExitCode.OK
