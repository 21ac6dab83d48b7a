"""What a rehearsal starts instead of the plan, and what it therefore cannot prove; it starts nothing.

The plan is changed as little as possible: the checkpoint becomes a tiny twin, whose answers are known, or at full
size random weights, whose memory is the real one's. A CPU build needs more, and every such change is named with its
reason and with what stays unproved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from planner.errors import InvalidRequest
from planner.facts.rehearsal import rehearsal_facts
from planner.facts.release import resolve_release
from planner.memory.kv_cache import KvGeometry, kv_bytes_per_token
from planner.model import ModelSpec
from planner.planning.answer import Plan
from planner.rendering.command import ServeCommand, serve_command
from planner.serve.preflight.installed import InstalledEngine
from planner.serve.rehearsal.twin.spec import CPU_TWIN, TwinSpec
from planner.serve.verification.smoke import Expectations
from planner.settings import Settings

DUMMY = "dummy"
"""vLLM's load format that reads no weights and fills every tensor with small random numbers."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs from the plan."""

    what: str
    """The flag or part, such as ``--tensor-parallel-size``."""
    planned: str
    rehearsed: str
    unproved: str
    """What the rehearsal therefore says nothing about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalPlan:
    """What will be started on which twin."""

    twin: TwinSpec
    full_size: bool
    """Whether the twin has the model's own dimensions and no weights: the engine fills its tensors at random."""
    settings: Settings
    changes: tuple[Change, ...]
    expectations: Expectations
    block_size: int | None
    """As written on the command line; None leaves it to the engine."""

    @property
    def unproved(self) -> tuple[str, ...]:
        """What no rehearsal on this engine proves, each once."""
        return tuple(dict.fromkeys(change.unproved for change in self.changes))


FULL_SIZE_CHECKS = ("health", "model", "max-model-len", "reasoning-refused", "too-long", "long", "kv-cache")
"""Checks that pass whatever a model says: random weights ramble."""


def rehearsal_plan(plan: Plan, engine: InstalledEngine, *, full_size: bool = False) -> RehearsalPlan:
    """Return what to start on `engine` in place of `plan`.

    Raises:
        InvalidRequest: for a plan of the Hugging Face layout, which no twin has; on a GPU build for a replica that
            spans several nodes; with `full_size` for a model that no configuration of ours describes.
    """
    if not plan.model.native_format:
        raise InvalidRequest(
            "model",
            f"{plan.model.name} has Hugging Face's checkpoint layout alone, and only Mistral's own can be rehearsed",
            hint="rehearse the official checkpoint: leave --model out",
        )
    if plan.settings.load_format != "mistral":
        raise InvalidRequest(
            "load_format",
            "only Mistral's own checkpoint layout can be rehearsed",
            hint="plan with --load-format mistral",
        )
    per_replica = plan.settings.layout.gpus_per_replica
    if not engine.cpu and per_replica > plan.gpus.count:
        raise InvalidRequest(
            "gpus",
            f"a replica over {per_replica} GPUs on several nodes cannot be rehearsed from one of them",
            hint=f"rehearse one node, --gpus {plan.gpus.count}x{plan.gpus.spec.name}, or use a CPU build",
        )
    twin = _full_twin(plan, engine) if full_size else _twin(plan, engine)
    changes = list(_checkpoint_changes(plan, full_size=full_size))
    settings, block_size = plan.settings, plan.request.block_size
    if engine.cpu:
        settings, block_size = _for_cpu(plan, twin)
        changes += _cpu_changes(plan, settings, block_size)
    return RehearsalPlan(
        twin=twin,
        full_size=full_size,
        settings=settings,
        changes=tuple(changes),
        expectations=_expectations(plan, settings, twin, engine, block_size, full_size=full_size),
        block_size=block_size,
    )


def rehearsal_command(
    plan: Plan, rehearsal: RehearsalPlan, *, model: str, draft: str | None, engine: InstalledEngine, port: int
) -> ServeCommand:
    """Return the plan's own command, for the twin at `model` with the draft at `draft`."""
    spec = rehearsal.twin.model_spec(model)
    if draft is not None and spec.draft is not None:
        spec = replace(spec, draft=replace(spec.draft, name=draft))
    changed = replace(
        plan,
        model=spec,
        settings=rehearsal.settings,
        request=replace(plan.request, block_size=rehearsal.block_size),
    )
    command = serve_command(changed, port=port, served_model_name=plan.model.name)
    argv = (str(engine.executable), *command.argv[1:])
    if rehearsal.full_size:
        at = argv.index("--load-format") + 1
        argv = (*argv[:at], DUMMY, *argv[at + 1 :])
    # Variables of a GPU vendor mean nothing to a CPU build.
    return ServeCommand(argv=argv, env={} if engine.cpu else command.env)


def _checkpoint_changes(plan: Plan, *, full_size: bool) -> Iterator[Change]:
    model = plan.model.name
    if not full_size:
        unproved = "the real weights: download, memory, loading time, quality of answers, speed"
        yield Change("checkpoint", model, "a tiny scripted twin", unproved)
        return
    unproved = "the real weights: download, loading time, speed"
    yield Change("checkpoint", model, "its dimensions, no weights", unproved)
    unproved = "what answers say, reasoning, tool calls, images: a rehearsal without --full-size proves those"
    yield Change("--load-format", plan.settings.load_format, f"{DUMMY}: random numbers", unproved)


def _full_twin(plan: Plan, engine: InstalledEngine) -> TwinSpec:
    draft = plan.model.draft
    layers = draft.num_hidden_layers if draft is not None and plan.settings.num_speculative_tokens else 0
    twin = TwinSpec.full_size(plan.model, draft_layers=layers)
    return replace(twin, fp8=False) if engine.cpu else twin


def _twin(plan: Plan, engine: InstalledEngine) -> TwinSpec:
    base = CPU_TWIN if engine.cpu else TwinSpec(fp8=_is_fp8(plan.model))
    draft = plan.model.draft
    return replace(
        base,
        vision=plan.model.vision is not None,
        draft_layers=draft.num_hidden_layers if draft is not None and plan.settings.num_speculative_tokens else 0,
        max_position_embeddings=plan.model.max_position_embeddings,
    )


def _is_fp8(model: ModelSpec) -> bool:
    return all(group.attention.name == group.mlp.name == "fp8" for group in model.layers)


def _geometry(twin: TwinSpec, settings: Settings, engine_release: str | None, block_size: int) -> KvGeometry:
    release = resolve_release(engine_release)
    return KvGeometry(
        bytes_per_token=kv_bytes_per_token(
            twin.model_spec("twin"),
            layers=twin.num_hidden_layers + twin.draft_layers,
            tensor_parallel_size=settings.tensor_parallel_size,
            kv_cache_dtype=settings.kv_cache_dtype,
        ),
        block_size=block_size,
        null_block_reserved=release.null_block_reserved,
        tokens_rule=release.kv_tokens,
    )


def _for_cpu(plan: Plan, twin: TwinSpec) -> tuple[Settings, int | None]:
    cpu = rehearsal_facts().cpu
    planned = plan.settings
    asked = plan.request.block_size
    block_size = asked if asked is not None and asked % cpu.block_size_multiple == 0 else None
    settings = replace(
        planned,
        tensor_parallel_size=1,
        pipeline_parallel_size=1,
        replicas=1,
        enforce_eager=True,
        kv_cache_dtype=planned.kv_cache_dtype if planned.kv_cache_dtype in cpu.kv_cache_dtypes else "auto",
    )
    geometry = _geometry(twin, settings, None, block_size or cpu.block_size)
    blocks = geometry.blocks_for(planned.max_model_len) + cpu.spare_blocks
    return replace(settings, kv_cache_memory_bytes=blocks * geometry.block_bytes), block_size


def _cpu_changes(plan: Plan, settings: Settings, block_size: int | None) -> Iterator[Change]:
    planned, kv = plan.settings, settings.kv_cache_dtype
    size, cpu_size = planned.kv_cache_memory_bytes, settings.kv_cache_memory_bytes
    if planned.layout.gpus_per_replica > 1:
        layout, unproved = (
            str(replace(planned.layout, replicas=1)),
            "several ranks: sharding, collectives, NCCL or RCCL",
        )
        yield Change("--tensor-parallel-size", layout, "TP1", unproved)
    if planned.replicas > 1:
        yield Change("--data-parallel-size", str(planned.replicas), "1", "several replicas behind one port")
    unproved = "the memory of a GPU: weights, activations, graphs, the size of the KV cache"
    yield Change("--kv-cache-memory-bytes", f"{size:,}" if size else "profiled", f"{cpu_size:,}", unproved)
    if not planned.enforce_eager:
        yield Change("--enforce-eager", "compiled, with graphs", "eager", "compilation and graph capture")
    if kv != planned.kv_cache_dtype:
        yield Change("--kv-cache-dtype", planned.kv_cache_dtype, kv, f"a KV cache of {planned.kv_cache_dtype}")
    if plan.request.block_size is not None and block_size is None:
        yield Change("--block-size", str(plan.request.block_size), "the CPU build's own", "the block size")
    if _is_fp8(plan.model):
        yield Change("weights", "FP8", "BF16", "FP8 kernels and scales: the CPU build has none")
    yield Change("kernels", plan.gpus.spec.name, "CPU", "GPU kernels and attention backends")
    if planned.num_speculative_tokens:
        unproved = "sampling with a draft: the CPU build gets it wrong above temperature 0"
        yield Change("sampling", "any temperature", "temperature 0", unproved)


def _expectations(
    plan: Plan,
    settings: Settings,
    twin: TwinSpec,
    engine: InstalledEngine,
    block_size: int | None,
    *,
    full_size: bool,
) -> Expectations:
    if full_size and not engine.cpu:
        return Expectations.from_plan(plan)
    planned = Expectations(
        model=plan.model.name,
        vllm_version=plan.vllm_version,
        max_model_len=plan.settings.max_model_len,
        max_num_seqs=plan.settings.max_num_seqs,
        images=twin.vision and not settings.language_model_only,
        num_speculative_tokens=settings.num_speculative_tokens,
        kv_cache_dtype=settings.kv_cache_dtype,
    )
    if not engine.cpu or settings.kv_cache_memory_bytes is None:
        return planned
    size = block_size or rehearsal_facts().cpu.block_size
    geometry = _geometry(twin, settings, engine.release, size)
    blocks = geometry.num_blocks(settings.kv_cache_memory_bytes)
    # With the size given by hand nothing is profiled, so the planner's arithmetic must be exact.
    return replace(planned, block_size=size, num_gpu_blocks=blocks)
