"""What the engine refuses of a draft: ``--speculative-config``."""

from __future__ import annotations

from collections.abc import Iterator

from planner.facts.release import parse_version
from planner.facts.start_checks import start_checks
from planner.review.case import Case
from planner.review.findings import Finding
from planner.review.options import json_option
from planner.review.rules.start import refused, unknown_name

_FLAG = "speculative-config"


def find(case: Case) -> Iterator[Finding]:
    """Yield what the engine refuses of the draft's object."""
    if case.version is not None and parse_version(case.version) < parse_version(start_checks().first):
        return
    options = [one for one in case.server.options if one.name == _FLAG]
    if not options or any(one.value is None or not one.value.known for one in options):
        return
    draft, option, facts = json_option(options, _FLAG), options[0], start_checks().draft
    if not draft:
        return

    def refuse(message: str, cure: str) -> Iterator[Finding]:
        return refused(case, None, message, option.typed, cure=cure)

    method, model = draft.get("method"), draft.get("model")
    given = {one.name for one in case.server.options}
    if isinstance(method, str) and "spec-method" not in given:
        what = f"the method `{method[:40]}` of --{_FLAG}"
        yield from unknown_name(case, start_checks().values["method"], method.strip("[]"), option, what)
    alone = isinstance(method, str) and (
        method.strip("[]") in facts.own_weights or method.endswith(facts.own_weights_ending)
    )
    if not model and not alone and "spec-model" not in given and "spec-method" not in given:
        said = f"--{_FLAG} has no `model`" if method is None else f"the method `{str(method)[:40]}` has no `model`"
        yield from refuse(f"{said}: the draft's weights are not named", "`model` inside the JSON")
    counted = isinstance(method, str) and (method in facts.counts_itself or method.endswith(facts.own_weights_ending))
    if method is not None and "num_speculative_tokens" not in draft and "spec-tokens" not in given and not counted:
        yield from refuse(
            f"--{_FLAG} has no `num_speculative_tokens`: the draft does not know how many tokens to propose",
            "`num_speculative_tokens` inside the JSON",
        )
    for key in facts.positive:
        value = draft.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 1:
            yield from refuse(f"`{key}` of --{_FLAG} must be at least 1, not {value}", f"`{key}` of 1 or more")
    least, most = draft.get("prompt_lookup_min"), draft.get("prompt_lookup_max")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        said = f"`prompt_lookup_min` {least} is above `prompt_lookup_max` {most}"
        yield from refuse(said, "make the first at most the second")
    if "tensor_parallel_size" in draft:
        said = f"`tensor_parallel_size` is the target's, not a key of --{_FLAG}"
        yield from refuse(said, "`draft_tensor_parallel_size`, or nothing")
    size, target = draft.get("draft_tensor_parallel_size"), case.server.number("tensor-parallel-size")
    target = 1 if case.server.option("tensor-parallel-size") is None else target
    if isinstance(size, int) and not isinstance(size, bool) and target is not None and size not in (1, target):
        said = f"`draft_tensor_parallel_size` must be 1 or the target's {target}, not {size}"
        yield from refuse(said, f"`draft_tensor_parallel_size` 1 or {target}")
