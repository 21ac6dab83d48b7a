"""``m35-plan verify``: prove that a running server is what was planned; only ``--restart`` changes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from planner.cli.check_table import result_writer, smoke_summary
from planner.cli.command import Command
from planner.cli.diagnostics import say
from planner.cli.exit_code import ExitCode
from planner.cli.kept import plan_behind, plan_in
from planner.cli.options import complete_runs
from planner.cli.output import write, write_document
from planner.serve.verification.verifier import (
    DEFAULT_CONCURRENCY,
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    selected_checks,
    verify,
)

if TYPE_CHECKING:
    from planner.serve.process.run import Run
    from planner.serve.verification.restart import Restart
    from planner.serve.verification.smoke import Expectations

MOST_PROBLEMS = 100
"""How many are shipped; a constant, because the help should not read them."""


@click.command(cls=Command, short_help="prove that a running server does what was planned")
@click.argument("url", required=False)
@click.option(
    "--run",
    "run_name",
    metavar="RUN",
    shell_complete=complete_runs,
    help="a launched run (or `latest`): its address and its plan",
)
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="what to expect: a plan as JSON")
@click.option("--model", help="expected model name")
@click.option("--max-model-len", type=click.IntRange(1), metavar="N", help="expected context limit")
@click.option("--vision/--text-only", default=None, help="expect images to be read, or refused")
@click.option("--eagle/--no-eagle", "draft", default=None, help="expect draft tokens to be accepted, or none")
@click.option("--long", is_flag=True, help="also send a prompt that fills the context: slow")
@click.option(
    "--gsm8k",
    type=click.IntRange(1, MOST_PROBLEMS),
    metavar="N",
    help=f"also ask N short problems in words, at most {MOST_PROBLEMS}, and compare with the published share",
)
@click.option("--restart", is_flag=True, help="with --run: stop the server, start it again, and prove what comes up")
@click.option("--only", multiple=True, metavar="CHECK", help="run this check (repeatable); health and model always run")
@click.option("--skip", multiple=True, metavar="CHECK", help="leave this check out (repeatable)")
@click.option("--concurrency", type=click.IntRange(1, 256), default=DEFAULT_CONCURRENCY, help="concurrent requests")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1), default=DEFAULT_TIMEOUT_S, help="seconds per answer"
)
@click.option(
    "--report",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="with --run: write an acceptance report, .html or .md: measured beside predicted, and the checks",
)
@click.option("--json", "as_json", is_flag=True, help="print the report as JSON")
def command(
    url: str | None,
    run_name: str | None,
    plan_file: Path | None,
    model: str | None,
    max_model_len: int | None,
    vision: bool | None,
    draft: bool | None,
    long: bool,
    gsm8k: int | None,
    restart: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    concurrency: int,
    timeout_s: float,
    page: Path | None,
    as_json: bool,
) -> int:
    """Run named checks against the server at URL: without it that of `--run`, else http://127.0.0.1:8000.

    With `--run` or `--plan` the server must be as planned; `m35-plan --gpus 8xH200 --json > plan.json` writes a
    plan. Without them, what is found is reported. The API key is read from VLLM_API_KEY. Exit code 0: all passed,
    6: a check failed.
    """
    if run_name is not None and (url or plan_file):
        raise click.UsageError("--run brings its own address and plan; leave URL and --plan out")
    if page is not None:
        from planner.cli.acceptance import comparison_of, form_of

        form_of(page)
        if run_name is None:
            raise click.UsageError("--report is about a launched run; name it with --run")
        # What no page can be written of is refused before anything is stopped or asked.
        comparison_of(_run(run_name))
    if run_name is not None:
        url, planned = _of_run(run_name)
    else:
        from planner.serve.verification.smoke import Expectations

        planned = Expectations()
        if plan_file is not None:
            from planner.planning.choose import make_plan

            planned = Expectations.from_plan(make_plan(plan_in(plan_file).request))
    expectations = replace(
        planned,
        model=planned.model if model is None else model,
        max_model_len=planned.max_model_len if max_model_len is None else max_model_len,
        images=planned.images if vision is None else vision,
        num_speculative_tokens=planned.num_speculative_tokens if draft is None else int(draft),
        spec_method=planned.spec_method if draft is None else planned.spec_method or "eagle" if draft else None,
    )
    if restart and run_name is None:
        from planner.serve.verification.restart import ELSEWHERE_HINT

        raise click.UsageError(f"--restart needs --run: a server that was not launched here, {ELSEWHERE_HINT}")
    again = _restart(run_name) if restart and run_name is not None else None
    checks = selected_checks(only=only, skip=skip, long=long, gsm8k=gsm8k or 0, restart=again)

    report = verify(
        url or DEFAULT_URL,
        expectations,
        checks=checks,
        timeout_s=timeout_s,
        concurrency=concurrency,
        on_result=None if as_json else result_writer(),
    )
    if as_json:
        write_document(report)
    else:
        write(smoke_summary(report))
    if page is not None and run_name is not None:
        from planner.cli.acceptance import write_acceptance

        write_acceptance(page, again.run if again is not None else _run(run_name), report)
        say("note", f"wrote {page}")
    return ExitCode.OK if report.passed else ExitCode.VERIFY_FAILED


def _restart(name: str) -> Restart:
    from planner.serve.verification.restart import Restart

    return Restart(run=_run(name))


def _run(name: str) -> Run:
    from planner.serve.process.runs import attach

    return attach(name, prefer_running=True)


def _of_run(name: str) -> tuple[str, Expectations]:
    from planner.errors import VerifyFailed
    from planner.serve.process.engine_argv import option_value
    from planner.serve.verification.smoke import Expectations

    run = _run(name)
    state = run.status()
    if not state.alive:
        raise VerifyFailed(
            f"run `{run.id}` does not run any more ({state.state}), so there is nothing to verify",
            hint=f"start it again, or name the address of another server: `m35-plan verify {run.url}`",
        )
    if run.port_taken():
        raise VerifyFailed(
            f"the server at {run.url} is not the one of run `{run.id}`: another process has its port",
            hint=f"`m35-plan verify {run.url}` checks that one",
        )
    answer = plan_behind(run)
    expectations = Expectations.from_plan(answer) if answer is not None else Expectations()
    served_name = option_value(run.record.argv, "served-model-name") or expectations.model
    return run.url, replace(expectations, model=served_name)
