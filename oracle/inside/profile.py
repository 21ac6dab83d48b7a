"""Reads activation peaks, by phase, off the runner's own `profile_run`; it adds nothing to it."""

from __future__ import annotations

import gc
from typing import Any

import torch

from oracle.inside.engine import Started
from oracle.inside_names import PHASES


def peaks(start: Started) -> dict[str, int]:
    """Peak bytes above the level after load, for each phase; what stays allocated (`left`); what the forward pass finds
    already allocated (`held`).

    The phases follow one another: everything up to the dummy forward pass is the encoder's, everything after the
    logits is the sampler's.
    """
    counter, runner = start.counter, start.runner
    base = counter.current
    counter.phases = {}
    forward, logits = runner._dummy_run, runner.model.compute_logits
    logits_of_forward = False
    held = 0

    def watched_forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal logits_of_forward, held
        held = counter.current - base
        counter.enter_phase("forward")
        logits_of_forward = True
        try:
            return forward(*args, **kwargs)
        finally:
            logits_of_forward = False

    held = 0

    def watched_logits(*args: Any, **kwargs: Any) -> Any:
        if logits_of_forward:
            return logits(*args, **kwargs)
        counter.enter_phase("logits")
        out = logits(*args, **kwargs)
        counter.enter_phase("sampler")
        return out

    runner._dummy_run = watched_forward
    runner.model.compute_logits = watched_logits
    encodes = not start.setup.language_model_only and getattr(runner, "supports_mm_inputs", False)
    counter.enter_phase("encoder" if encodes else "idle")
    try:
        with torch.inference_mode():
            runner.profile_run()
    finally:
        del runner._dummy_run
        runner.model.compute_logits = logits
    gc.collect()
    result = {name: max(0, counter.phases.get(name, base) - base) for name in PHASES}
    return result | {"left": counter.current - base, "held": held}
