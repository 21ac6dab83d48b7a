"""A review as JUnit XML, which build servers count and show."""

from __future__ import annotations

import re
from collections.abc import Sequence

from planner.review.findings import Review

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(reviews: Sequence[Review]) -> str:
    """Return one suite for each file and one case for each server; errors fail it, the rest is its output."""
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    root = Element("testsuites", name="m35-plan review")
    for one in reviews:
        titles = [" ".join(part for part in (server.kind, server.name) if part) for server in one.servers]
        names = list(dict.fromkeys([*titles, *(found.server or one.kind for found in one.findings)])) or [one.kind]
        failed = 0
        suite = SubElement(root, "testsuite", name=_clean(one.name or "command"))
        for name in names:
            case = SubElement(suite, "testcase", classname=_clean(one.name or "command"), name=_clean(name))
            mine = [found for found in one.findings if (found.server or one.kind) == name]
            errors = [found for found in mine if found.severity == "error"]
            failed += bool(errors)
            if errors:
                text = "\n".join(f"{found.line}:{found.column} {found.message} [{found.code}]" for found in errors)
                SubElement(case, "failure", message=_clean(errors[0].message), type=errors[0].code).text = _clean(text)
            rest = [found for found in mine if found.severity != "error"]
            if rest:
                text = "\n".join(
                    f"{found.severity} {found.line}:{found.column} {found.message} [{found.code}]" for found in rest
                )
                SubElement(case, "system-out").text = _clean(text)
        suite.set("tests", str(len(names)))
        suite.set("failures", str(failed))
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode")


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
