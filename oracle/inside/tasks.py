"""The questions that a job can ask, by name; each returns plain data."""

from __future__ import annotations

from typing import Any

from oracle.inside import defaults, engine, kv_cache, options, profile, weights
from oracle.inside.device import Device

Task = dict[str, Any]


def _setup(task: Task, job: dict[str, Any]) -> engine.Setup:
    fields = {k: v for k, v in task.items() if k in engine.Setup.__dataclass_fields__}
    fields["extra"] = tuple(task.get("extra", {}).items())
    models = job["models"]
    return engine.Setup(**{**fields, "model": models[task.get("model", "shallow")], "draft": models.get("draft", "")})


def _profile(task: Task, job: dict[str, Any], _: Device) -> Any:
    """Load and profile: bytes by phase and the runner's own buffers."""
    setup = _setup(task, job)
    with engine.started(setup, engine.configure(setup), remember_where=bool(task.get("items"))) as start:
        answer: dict[str, Any] = {
            "init": start.init_bytes,
            "loaded": start.loaded_bytes,
            "transient": start.transient_bytes,
            "after_load": start.after_load_bytes,
            "runner": "v2" if start.v2 else "v1",
        }
        if task.get("items"):
            live = start.counter.live
            answer["items"] = [
                (when, s.size, list(s.shape), s.dtype, s.where)
                for when, keys in (("init", start.before_load), ("after_load", set(live) - start.before_sampler))
                for s in sorted((live[k] for k in keys if k in live), key=lambda s: -s.size)
                if s.size >= 1 << 20
            ]
        return answer | profile.peaks(start)


def _weights(task: Task, job: dict[str, Any], _: Device) -> Any:
    """Load the whole model and sum it by component, the draft apart."""
    setup = _setup(task, job)
    with engine.started(setup, engine.configure(setup)) as start:
        target = engine.model_of(start)
        answer: dict[str, Any] = {
            "target": weights.by_component(target),
            "loaded": start.loaded_bytes,
            "transient": start.transient_bytes,
        }
        draft = engine.draft_of(start)
        if draft is not None:
            answer["draft"] = weights.by_component(draft, weights.storages(target))
        return answer


def _after_profile(task: Task, job: dict[str, Any], _: Device) -> Any:
    setup = _setup(task, job)
    with engine.started(setup, engine.configure(setup), remember_where=True) as start:
        return kv_cache.after_profile(start, task["available"])


def _kv_vectors(task: Task, job: dict[str, Any], _: Device) -> Any:
    config = engine.configure(_setup(task, job))
    with engine.world(_setup(task, job), config):
        return [kv_cache.vector(kv_cache.stand_in_config(config), **v) for v in task["vectors"]]


def _options(_: Task, __: dict[str, Any], ___: Device) -> Any:
    return options.options()


def _defaults(task: Task, job: dict[str, Any], device: Device) -> Any:
    return defaults.of(device, task["card"], _setup(task, job))


_TASKS = {
    "profile": _profile,
    "weights": _weights,
    "after_profile": _after_profile,
    "kv_vectors": _kv_vectors,
    "options": _options,
    "defaults": _defaults,
}


def run(task: Task, job: dict[str, Any], device: Device) -> Any:
    """Answer one task."""
    return _TASKS[task["kind"]](task, job, device)
