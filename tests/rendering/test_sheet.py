"""A plan to share: what the page says, and what a real browser makes of it."""

from __future__ import annotations

import html
import html.parser
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from hw_specs import parse_gpus
from planner import Plan, PlanRequest, plan
from planner.cli import main
from planner.cli.sheet import sheet_text
from planner.rendering.sheet.content import Acceptance, CheckRow, plan_id, sheet
from planner.rendering.sheet.markdown import markdown, text

CASES = ("8xH200", "7xH200", "1xMI300X", "1xH100")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def planned(gpus: str, **settings: Any) -> Plan:
    return plan(PlanRequest(gpus=parse_gpus(gpus), **settings))


class Balanced(html.parser.HTMLParser):
    """Every element is closed where it was opened."""

    EMPTY = frozenset({"meta", "rect", "path", "circle", "polyline", "polygon"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("gpus", CASES)
def test_the_html_is_whole_and_needs_nothing_else(gpus: str) -> None:
    page = sheet_text(planned(gpus), "html")
    parser = Balanced()
    parser.feed(page)
    assert not parser.open and "svg" in parser.seen and "script" not in parser.seen
    assert not re.search(r"(src|href)=|url\(|@import", page), "nothing is loaded"
    assert "GB" not in page.split("<h2>Formulas")[0]


@pytest.mark.parametrize("gpus", CASES)
def test_both_forms_say_the_same(gpus: str) -> None:
    answer = planned(gpus)
    told = sheet(answer)
    page, marked = sheet_text(answer, "html"), markdown(told)
    for row in told.memory:
        assert f"| {text(row.label)} | {row.gib} |" in marked
        assert f"<td>{html.escape(row.label)}</td>" in page
    assert told.verdict in page and told.verdict in marked
    assert ("```sh" in marked) == answer.feasible == ("<h2>Command</h2>" in page)


def test_markdown_tables_have_one_width() -> None:
    for block in markdown(sheet(planned("8xH200"))).split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1


def test_marks_in_names_stay_words() -> None:
    assert text("a_b|<c>") == "a\\_b\\|\\<c\\>"
    page = sheet_text(planned("1xH100"), "html")
    assert "<script" not in page


def test_the_id_follows_what_would_be_started() -> None:
    one = planned("8xH200")
    assert plan_id(one) == plan_id(planned("8xH200"))
    assert len({plan_id(one), plan_id(planned("8xH200", max_num_seqs=64)), plan_id(planned("4xH200"))}) == 3


def test_an_acceptance_report_has_the_measured_beside_the_predicted() -> None:
    checks = (CheckRow(name="chat", status="pass", seen="'Hello.'"),)
    told = Acceptance(run="r1", measured_gib={"activations": "2.15"}, verdict="within bounds", checks=checks)
    answer = planned("8xH200")
    assert "| 2.15 | derived |" in sheet_text(answer, "markdown", acceptance=told)
    page = sheet_text(answer, "html", acceptance=told)
    assert '<td class="right">2.15</td>' in page and "Run <code>r1</code>" in page


def test_the_command_line_writes_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gpus", "8xH200", "--emit", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("# mistralai/Mistral-Medium-3.5-128B on 8 x H200\n")
    assert main(["--gpus", "1xH100", "--emit", "html"]) == 3
    assert capsys.readouterr().out.startswith("<!doctype html>")


def test_the_page_forecasts_the_load_of_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    load = ["--prompt-tokens", "300", "--output-tokens", "40", "--turns", "3", "--pause-s", "5", "--concurrency", "4"]
    assert main(["--gpus", "8xH200", *load, "--emit", "html"]) == 0
    assert (
        "Forecasts for chats of 3 turns, each 300 tokens in, 40 out, 5 s between turns; the shade"
        in capsys.readouterr().out
    )


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_overflow_and_without_barriers(width: int, scheme: Any, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    file = tmp_path / "plan.html"
    file.write_text(sheet_text(planned("7xH200"), "html"), encoding="utf-8")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page)
        browser.close()
    assert found.violations_count == 0, found.generate_report()
