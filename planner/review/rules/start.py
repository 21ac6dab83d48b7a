"""What the engine checks of its settings before it loads: ranges, pairs, names, ranks beyond a node."""

from __future__ import annotations

from collections.abc import Iterator

from hw_specs.errors import M35Error
from hw_specs.units import parse_count
from planner.facts.release import parse_version
from planner.facts.start_checks import Names, Range, Since, start_checks
from planner.review.case import Case
from planner.review.edits import without_option
from planner.review.findings import Finding, finding
from planner.review.memory import Memory
from planner.review.options import Option, json_option
from planner.review.text import Source, Text

_NONE = ("none", "null", "auto", "")


def find(case: Case, memory: Memory, source: Source) -> Iterator[Finding]:
    """Yield what the engine refuses though its parser takes it."""
    if case.version is not None and parse_version(case.version) < parse_version(start_checks().first):
        return
    yield from _ranges(case)
    yield from _pairs(case, source)
    yield from _orders(case, memory)
    yield from _chunks(case, source)
    yield from _names(case)
    yield from _connector(case)
    yield from _attention(case)
    yield from _nodes(case)
    yield from _context_ranks(case)


def refused(
    case: Case, check: Since | None, message: str, at: Text, *, ever: bool = True, **more: object
) -> Iterator[Finding]:
    """Yield the finding where the judged release makes the check; a release that nobody names makes it perhaps.

    `ever` says that releases from before the read ones make it, too.
    """
    if check is not None and parse_version(case.judged_version) < parse_version(check.since):
        return
    ever = ever and (check is None or check.since == start_checks().first)
    surely = case.version is not None or ever or case.model is not None
    yield finding("refused", message, at, severity=None if surely else "warn", stops=surely, **more)  # type: ignore[arg-type]


def _ranges(case: Case) -> Iterator[Finding]:
    for check in start_checks().ranges:
        for name in check.flags:
            option = case.server.option(name)
            value = case.server.text(name)
            number = _number(value)
            if option is None or number is None or value is None or _inside(number, check):
                continue
            if check.only_with and not case.server.on(check.only_with):
                continue
            yield from refused(
                case,
                check,
                f"--{name} must be {_wording(check)}, not {value.strip()[:20]}",
                option.typed,
                cure=f"a value {_wording(check)}",
            )


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(parse_count(text))
    except M35Error:
        return None


def _inside(number: float, check: Range) -> bool:
    return not (
        (check.least is not None and number < check.least)
        or (check.above is not None and number <= check.above)
        or (check.most is not None and number > check.most)
        or (check.below is not None and number >= check.below)
    )


def _wording(check: Range) -> str:
    """The bounds in words, the lower one first."""
    if check.least is not None and check.most is not None:
        return f"from {check.least} to {check.most}"
    words = (("at least", check.least), ("above", check.above), ("at most", check.most), ("below", check.below))
    return " and ".join(f"{word} {bound}" for word, bound in words if bound is not None)


def _pairs(case: Case, source: Source) -> Iterator[Finding]:
    server, facts = case.server, start_checks()
    library = server.entry == "llm"
    for need in facts.needs:
        option = server.option(need.flag)
        if option is None or not option.on or (library and need.serve_only) or server.arguments.open_ended:
            continue
        if case.model is not None and need.flag == "enable-eplb":
            continue  # a dense model has no experts at all
        if not any(one.name in need.needs and one.on for one in server.options):
            wanted = f"--{need.needs[0]}"
            yield from refused(
                case, need, f"--{need.flag} needs {wanted} beside it", option.typed, cure=f"add {wanted}"
            )
    for pair in facts.excludes:
        one, other = (server.option(name) for name in pair.flags)
        if one is None or other is None or not (one.on and other.on) or (library and pair.serve_only):
            continue
        message = f"--{pair.flags[0]} and --{pair.flags[1]} exclude each other"
        yield from refused(case, pair, message, other.typed, cure="leave one of them out")
    for twice in facts.twice:
        option = server.option(twice.flag)
        if option is not None and twice.key in json_option(server.options, twice.object):
            message = f"--{twice.flag} is given a second time as `{twice.key}` of --{twice.object}"
            yield from refused(
                case, twice, message, option.typed, cure="give it once", edits=without_option(server, option, source)
            )
    headless, count = server.option("headless"), server.number("api-server-count")
    if headless is not None and headless.on and count is not None and count > 0:
        message = f"--headless starts no API server, and --api-server-count asks for {count}"
        yield from refused(case, None, message, headless.typed, cure="leave --api-server-count out")


def _orders(case: Case, memory: Memory) -> Iterator[Finding]:
    server = case.server
    planned = {one.field.replace("_", "-") for one in memory.refused}
    for order in start_checks().orders:
        if planned & {order.low, order.high}:
            continue
        low, high = server.number(order.low), server.number(order.high)
        at = server.option(order.low)
        if server.option(order.high) is None and not server.arguments.open_ended:
            high = order.otherwise
        if low is None or high is None or at is None or low < high or (low == high and not order.strict):
            continue
        bound = "below" if order.strict else "at most"
        message = f"--{order.low} {low} must be {bound} --{order.high} {high}"
        yield from refused(
            case, order, message, at.typed, cure=f"make --{order.low} {bound} {high}, or raise the other"
        )


def _chunks(case: Case, source: Source) -> Iterator[Finding]:
    """Without chunked prefill a step must hold a whole prompt."""
    server = case.server
    chunked, batched = server.option("enable-chunked-prefill"), server.number("max-num-batched-tokens")
    if chunked is None or chunked.on or batched is None:
        return
    length = server.number("max-model-len")
    if length is None and server.option("max-model-len") is None and case.model is not None:
        length = case.model.max_position_embeddings
    if length is None or batched >= length:
        return
    yield from refused(
        case,
        None,
        f"without chunked prefill a step must hold a whole prompt: --max-num-batched-tokens {batched} is below "
        f"the {length} tokens of --max-model-len",
        chunked.typed,
        cure=f"leave --no-enable-chunked-prefill out, or --max-num-batched-tokens {length}",
        edits=without_option(server, chunked, source),
    )


def _names(case: Case) -> Iterator[Finding]:
    """Values and keys that no release knows, or not the judged one."""
    facts = start_checks()
    for flag, names in facts.values.items():
        option, value = case.server.option(flag), case.server.text(flag)
        if option is None or value is None or "." in value or value.lower() in _NONE or _plugged(case, flag):
            continue
        if (case.flags.find(f"--{flag}") or {}).get("choices"):
            continue  # its parser refuses it
        if flag in ("load-format", "quantization"):
            value = value.lower()
        value = value.upper() if flag == "attention-backend" else value
        yield from unknown_name(case, names, value, option, f"--{flag} {value}", ever=True)
    for flag, names in facts.keys.items():
        option = next((one for one in case.server.options if one.name == flag), None)
        if option is None:
            continue
        for key in json_option(case.server.options, flag):
            yield from unknown_name(
                case, names, key.partition(".")[0].replace("-", "_"), option, f"the key `{key[:40]}` of --{flag}"
            )


def _plugged(case: Case, flag: str) -> bool:
    """Whether the names are not the engine's alone, or are not looked at."""
    server = case.server
    if flag == "tool-call-parser":
        choice = server.option("enable-auto-tool-choice")
        return choice is None or not choice.on or server.option("tool-parser-plugin") is not None
    return flag == "reasoning-parser" and server.option("reasoning-parser-plugin") is not None


def _connector(case: Case) -> Iterator[Finding]:
    """A KV connector says which side it is."""
    option = case.server.option("kv-transfer-config")
    given = json_option(case.server.options, "kv-transfer-config")
    roles, name = start_checks().connector.roles, given.get("kv_connector")
    if option is not None and isinstance(name, str) and "kv_connector_module_path" not in given:
        names = start_checks().connector.names
        yield from unknown_name(case, names, name, option, f"the connector {name[:60]}")
    if option is None or not given.get("kv_connector") or given.get("kv_role") in roles:
        return
    role = given.get("kv_role")
    said = "has no `kv_role`" if role is None else f"has the `kv_role` {str(role)[:40]}"
    message = f"--kv-transfer-config {said}: a connector needs one of {', '.join(roles)}"
    yield from refused(case, None, message, option.typed, cure="`kv_role` beside `kv_connector`")


def _attention(case: Case) -> Iterator[Finding]:
    """An attention backend is one that these GPUs and this model can use."""
    option, facts = case.server.option("attention-backend"), start_checks().attention
    name = (case.server.text("attention-backend") or "").upper()
    if option is None:
        return
    if case.vendor == "amd" and name in facts.nvidia_only:
        what = "needs FlashInfer, which ROCm does not have"
    elif case.model is not None and name in facts.mla_only:
        what = "is for multi-head latent attention, which this model does not have"
    else:
        return
    message = f"--attention-backend {name} {what}"
    yield from refused(case, None, message, option.typed, cure="leave it out: the engine picks one")


def unknown_name(
    case: Case, names: Names, value: str, option: Option, what: str, *, ever: bool = False
) -> Iterator[Finding]:
    """Yield a finding where the judged release does not have a name.

    `ever` says that the names of earlier releases are among those that are gone.
    """
    judged = parse_version(case.judged_version)
    came, gone = names.came_with(value), names.gone_since(value)
    if not names.knows(value):
        from difflib import get_close_matches

        near = get_close_matches(value, names.of(case.judged_version), n=1, cutoff=0.8)
        cure = f"write `{near[0]}` if that is meant" if near else "leave it out"
        message = f"{what} is not known to any release since {start_checks().first}"
        yield from refused(case, None, message, option.typed, ever=ever, cure=cure)
    elif came is not None and judged < parse_version(came):
        yield from refused(case, None, f"{what} came with vLLM {came}", option.typed, cure=f"take {came} or newer")
    elif gone is not None and judged >= parse_version(gone):
        surely = case.version is not None
        yield finding(
            "refused",
            f"{what} is gone since vLLM {gone}",
            option.typed,
            severity=None if surely else "warn",
            stops=surely,
            cure=f"leave it out, or take a release before {gone}",
        )


def _nodes(case: Case) -> Iterator[Finding]:
    """Ranks of one replica that do not fit a node need to be told of the others."""
    server, checks = case.server, start_checks().nodes
    backend, nodes = server.option("distributed-executor-backend"), server.number("nnodes") or 1
    named = server.text("distributed-executor-backend")
    if nodes > 1 and backend is not None and named == "ray":
        message = f"--nnodes {nodes} is for processes of one kind each, and Ray places the ranks by itself"
        yield from refused(case, checks, message, backend.typed, cure="leave --nnodes out, or take mp as the backend")
    by_ray = server.text("data-parallel-backend") == "ray"
    ranks, there = case.ranks if by_ray else case.used, case.available
    if ranks is None or there is None or ranks <= there or case.elsewhere or backend is not None:
        return
    machines = server.claim.nodes if server.claim.nodes > 1 else case.machine.nodes if case.machine is not None else 1
    if machines < 2 or ranks > there * machines or case.vendor == "amd":
        return
    sizes = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")
    at = next((option for option in map(server.option, sizes) if option is not None), None)
    alone = case.ranks is not None and case.ranks <= there and case.model is not None
    yield from refused(
        case,
        checks,
        f"its {ranks} ranks are more than the {there} GPUs of one node, and nothing tells it of the others",
        at.typed if at is not None else server.at,
        ever=False,
        cure="a server of its own on each node, without --data-parallel-size"
        if alone
        else f"--nnodes {-(-ranks // there)} with --node-rank and --master-addr on each node, or "
        "--distributed-executor-backend ray",
    )


def _context_ranks(case: Case) -> Iterator[Finding]:
    """Ranks that share a KV cache are taken out of those that hold a copy of it."""
    server, name = case.server, "decode-context-parallel-size"
    option, size = server.option(name), server.number(name)
    ranks = server.number("tensor-parallel-size") if server.option("tensor-parallel-size") is not None else 1
    if option is None or size is None or ranks is None or size < 2 or server.number("prefill-context-parallel-size"):
        return
    heads = case.model.num_key_value_heads if case.model is not None else None
    if ranks % size:
        message = f"--decode-context-parallel-size {size} does not divide the {ranks} tensor-parallel ranks"
        yield from refused(case, None, message, option.typed, cure=f"a size that divides {ranks}")
    elif heads is not None and size > max(1, ranks // heads):
        message = (
            f"--decode-context-parallel-size {size} needs {size} copies of the KV cache, and {ranks} ranks hold "
            f"{max(1, ranks // heads)} of its {heads} heads"
        )
        yield from refused(case, None, message, option.typed, cure="leave --decode-context-parallel-size out")
