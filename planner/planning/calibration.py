"""Which of the start-ups measured earlier speaks for some settings, and for which terms. It never measures."""

from __future__ import annotations

import dataclasses

from planner.memory.rank import Calibration
from planner.planning.question import Question, resolved_method
from planner.settings import Settings

SHAPING = ("lora", "cudagraph_mode", "cudagraph_capture_sizes", "max_cudagraph_capture_size")
"""Settings of graphs and adapters that a measured start is kept with."""


def pick_calibration(question: Question, settings: Settings) -> Calibration | None:
    """Return the newest start-up that speaks for these settings, reduced to the terms it speaks for.

    All terms carry over when every setting that shapes them is equal; with other batch sizes only what lies outside
    torch does, and graphs where the captured sizes are the same.
    """
    picked = None
    here = (question.model.name, question.gpus.spec.id, question.release.version)
    for record in question.request.calibrations:
        if (record.model, record.gpu, record.vllm_version) != here:
            continue
        if (record.tensor_parallel_size, record.pipeline_parallel_size) != settings.layout.split:
            continue
        # A start that was kept before there were methods had the model's own draft.
        method = record.spec_method
        if method is None and question.request.spec_model is None:
            method = resolved_method(question.model, None, record.num_speculative_tokens)
        graphs_alike = _told_alike(record, settings) and (
            record.max_num_seqs, record.enforce_eager, record.num_speculative_tokens, method
        ) == (
            settings.max_num_seqs, settings.enforce_eager, settings.num_speculative_tokens, settings.spec_method
        )  # fmt: skip
        all_alike = graphs_alike and (record.max_num_batched_tokens, record.language_model_only) == (
            settings.max_num_batched_tokens,
            settings.language_model_only,
        )
        terms = {
            name: size
            for name, size in record.terms.items()
            if all_alike or name == "outside_torch" or (name == "graphs" and graphs_alike)
        }
        picked = dataclasses.replace(record, terms=terms)
    return picked


def _told_alike(record: Calibration, settings: Settings) -> bool:
    """Whether the measured start had these graphs and this room for adapters."""
    return all(getattr(record, name) == getattr(settings, name) for name in SHAPING)
