"""The values of a plan: what was decided and why. It never computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Literal, get_args

from hw_specs.frozen import dataclass
from hw_specs.spec import GpuSet
from planner.memory.ledger import Ledger
from planner.model import ModelSpec
from planner.planning.load import LOAD
from planner.planning.request import SETTINGS, PlanRequest
from planner.planning.setting import SettingValue, as_typed
from planner.settings import Layout, Settings

if TYPE_CHECKING:
    from planner.speed.answer import SpeedSection

Verdict = Literal["fits", "tight", "does-not-fit"]
VERDICTS: tuple[Verdict, ...] = ("does-not-fit", "tight", "fits")
"""From worst to best."""


LeverCost = Literal["nothing", "speed", "images", "context", "quality", "hardware"]
LEVER_COSTS: tuple[LeverCost, ...] = get_args(LeverCost)
"""What a change costs its user, from least to most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCache:
    """The KV pool of one replica, per GPU, as the engine computes it."""

    bytes_per_token_per_gpu: int
    block_size: int
    available_bytes: int
    available_low_bytes: int
    available_high_bytes: int
    num_gpu_blocks: int
    tokens: int
    """What vLLM prints as KV cache size: ``int(max_concurrency * max_model_len)``."""
    max_concurrency: float
    largest_max_model_len: int
    """Longest length that would still start at the expected bound; 0 when none does."""
    largest_max_model_len_low: int
    """The same at the low bound: what a recommendation rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another layout of the same GPUs, planned the same way."""

    layout: Layout
    verdict: Verdict
    max_model_len: int
    max_concurrency: float
    kv_cache_tokens: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A layout that cannot run, and why in one sentence."""

    layout: Layout
    reason: str


@dataclasses.dataclass
class OtherLayouts:
    """The other layouts of the same GPUs; they are planned when somebody first looks, and then kept."""

    found: tuple[tuple[Alternative, ...], tuple[Rejected, ...]] | None = None
    """Those that start, and those that do not; None until somebody looks."""

    def look(self) -> tuple[tuple[Alternative, ...], tuple[Rejected, ...]]:
        """Return those that start, and those that do not."""
        if self.found is None:
            self.found = self.find()
        return self.found

    def find(self) -> tuple[tuple[Alternative, ...], tuple[Rejected, ...]]:
        """Plan them; none are known here."""
        return (), ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """One change of the request and what it buys."""

    name: str
    change: Mapping[str, SettingValue] = field(hash=False)
    """Fields of the request and their new values."""
    load: Mapping[str, SettingValue] = field(default_factory=dict, hash=False)
    """Options of the load and their new values, where only another load meets the targets."""
    gain_bytes: int
    """KV budget won per GPU."""
    gain_tokens: int
    fits: bool
    """Whether the request starts at the low bound with this lever alone."""
    meets_targets: bool = False
    """Whether the load then meets targets that the plan misses."""
    cost: LeverCost
    """The dearest thing that its user gives up for it."""
    note: str = ""

    @property
    def flag(self) -> str:
        """The change as typed: ``--max-num-seqs 128``."""
        return " ".join(
            part for part in (as_typed(self.change, SETTINGS), as_typed(self.load, {**SETTINGS, **LOAD})) if part
        )

    def apply(self, request: PlanRequest) -> PlanRequest:
        """Return `request` with this lever switched on; `load` is not the request's and stays to be changed.

        Raises:
            InvalidRequest: when the engine would not take the value.
        """
        return replace(request, **self.change)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWarning:
    """Something that would cost a day; `code` is stable for programs."""

    code: str
    message: str
    """What is wrong; after a semicolon, why or what to do about it."""

    @property
    def short(self) -> str:
        """The message up to its first semicolon, for one line."""
        return self.message.split("; ")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer: what to run, whether it fits, and why."""

    request: PlanRequest
    model: ModelSpec
    gpus: GpuSet
    """Those that are planned on; see :attr:`gpus_left_out`."""
    vllm_version: str
    rules_version: str
    """Newest known release whose rules were used; differs from `vllm_version` for unknown releases."""
    verdict: Verdict
    settings: Settings
    ledger: Ledger
    """Of the rank with the least room for KV."""
    weights_bytes_per_gpu: tuple[int, ...]
    """One per rank of TP x PP: target and draft, without RoPE table and scales."""
    kv_cache: KvCache
    shortfall_bytes: int
    """Missing on the worst rank at the expected bound, or at the low one where only that fails; 0 when it fits."""
    reasons: tuple[str, ...] = ()
    other_layouts: OtherLayouts = field(compare=False, repr=False)
    levers: tuple[Lever, ...] = ()
    warnings: tuple[PlanWarning, ...] = ()
    speed: SpeedSection | None = None
    """The forecast it was chosen by; None where no load was given or nothing fits."""

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """The other layouts of the same GPUs that start."""
        return self.other_layouts.look()[0]

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The other layouts that cannot run."""
        return self.other_layouts.look()[1]

    @property
    def gpus_left_out(self) -> int:
        """GPUs of the request that are not planned on, because others hold memory of them."""
        return self.request.gpus.total_gpus - self.gpus.total_gpus

    @property
    def feasible(self) -> bool:
        """Whether it is expected to start."""
        return self.verdict != "does-not-fit"
