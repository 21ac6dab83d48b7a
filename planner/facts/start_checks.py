"""What the engine checks of its settings before it loads weights: ``start_checks.toml``."""

from collections.abc import Mapping

from planner.facts.record import Record, door
from planner.facts.release import parse_version
from planner.facts.vllm import Basis, Origin


class Since(Record):
    """A check and the first read release that makes it."""

    since: str
    source: str


class Range(Since):
    """Bounds of a number."""

    flags: tuple[str, ...]
    least: int | None = None
    above: int | None = None
    """Exclusive."""
    most: int | None = None
    below: int | None = None
    """Exclusive."""
    only_with: str = ""
    """The switch without which nobody looks at it."""


class Need(Since):
    """A flag that is refused without another one."""

    flag: str
    needs: tuple[str, ...]
    """One of these."""
    serve_only: bool = False
    """Whether only the server checks it, not the library."""


class Exclude(Since):
    """Two flags that are refused together."""

    flags: tuple[str, str]
    serve_only: bool = False


class Order(Since):
    """Two numbers of which one bounds the other."""

    low: str
    high: str
    strict: bool = False
    otherwise: int | None = None
    """The higher one where it is not given."""


class Twice(Since):
    """A flag that is also a key of another one's object."""

    flag: str
    object: str
    key: str


class Json(Record):
    """Flags whose value is JSON."""

    objects: tuple[str, ...]
    lists: tuple[str, ...]
    braced: tuple[str, ...]
    """Text, or an object in braces."""


class Nodes(Since):
    """What lets ranks stand on other nodes."""

    backends: tuple[str, ...]


class Draft(Record):
    """What a draft needs."""

    own_weights: tuple[str, ...]
    """Methods without a model of their own."""
    own_weights_ending: str
    counts_itself: tuple[str, ...]
    """Methods that know how many tokens they draft."""
    positive: tuple[str, ...]
    """Keys that must be at least 1."""


class Names(Record):
    """Names that a value or a key may have, over the read releases."""

    names: tuple[str, ...]
    """Those that every read release has."""
    came: Mapping[str, tuple[str, ...]] = {}
    """Release → names that it brought."""
    gone: Mapping[str, tuple[str, ...]] = {}
    """Release → names that it dropped."""
    brought: tuple[str, ...] = ()
    """Names that other packages register."""

    def knows(self, name: str) -> bool:
        """Whether some read release has it."""
        groups = (self.names, self.brought, *self.came.values(), *self.gone.values())
        return any(name in group for group in groups)

    def came_with(self, name: str) -> str | None:
        """The release that brought it; None where the first read one has it."""
        return next((release for release, names in self.came.items() if name in names), None)

    def gone_since(self, name: str) -> str | None:
        """The first release without it; None where the newest has it."""
        return next((release for release, names in self.gone.items() if name in names), None)

    def of(self, version: str) -> list[str]:
        """The names that `version` has, as far as the read releases say."""
        number = parse_version(version)
        brought = [name for release, names in self.came.items() if parse_version(release) <= number for name in names]
        dropped = {name for release, names in self.gone.items() if parse_version(release) <= number for name in names}
        first = [*self.names, *(name for names in self.gone.values() for name in names if self.came_with(name) is None)]
        return sorted(name for name in {*first, *brought} if name not in dropped)


class Connector(Record):
    """What a KV connector needs."""

    roles: tuple[str, ...]
    names: Names
    """The connectors that the engine finds without a module's path."""


class Attention(Record):
    """Attention backends that cannot serve: they need another vendor's library, or another kind of attention."""

    nvidia_only: tuple[str, ...]
    mla_only: tuple[str, ...]
    source: str


class StartChecks(Record):
    """The whole file; flags stand without their dashes."""

    first: str
    """The oldest read release: of older ones nothing is said."""
    basis: Basis
    source: str
    remembered: Origin
    """Of the names that are gone since `first`."""
    ranges: tuple[Range, ...]
    needs: tuple[Need, ...]
    excludes: tuple[Exclude, ...]
    orders: tuple[Order, ...]
    twice: tuple[Twice, ...]
    json: Json
    nodes: Nodes
    draft: Draft
    connector: Connector
    attention: Attention
    values: Mapping[str, Names]
    """Flag, or ``method`` of a draft → its values."""
    keys: Mapping[str, Names]
    """Flag → the keys of its object."""


start_checks = door("start_checks.toml", StartChecks)
