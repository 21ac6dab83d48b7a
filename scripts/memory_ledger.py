"""Write docs/explanation/memory-ledger.md: one plan, taught line by line, every number taken from the planner.

The words stand in memory_ledger.md beside this file.

python scripts/memory_ledger.py           # rewrite
python scripts/memory_ledger.py --check   # exit 1 when the page is stale
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hw_specs import parse_gpus
from hw_specs.units import GIB, MIB, format_gib, format_tokens
from planner import PlanRequest, plan
from planner.facts.release import resolve_release
from planner.memory.activation import activation_phases, images_of_a_step
from planner.memory.budget import RankBudget, rank_budgets
from planner.memory.weights import rank_weights
from planner.planning.answer import Plan

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "memory-ledger.md"
TEMPLATE = Path(__file__).with_suffix(".md")
GPUS = "1xMI300X"


def _budget(answer: Plan) -> RankBudget:
    """The budget behind the ledger, for the figures that the ledger sums up."""
    release = resolve_release(answer.vllm_version)
    return rank_budgets(answer.model, answer.gpus, answer.settings, release)[0]


def _table(answer: Plan) -> str:
    rows = []
    for line in answer.ledger.lines:
        bounds = (
            ""
            if line.low_bytes == line.high_bytes
            else f"{format_gib(line.low_bytes)} to {format_gib(line.high_bytes)}"
        )
        rows.append(f"| `{line.name}` | {format_gib(line.bytes)} | {bounds} | {line.basis} |")
    return "| line | GiB | bounds | basis |\n|---|---:|---:|---|\n" + "\n".join(rows)


def page() -> str:
    """The whole page."""
    answer = plan(PlanRequest(gpus=parse_gpus(GPUS)))
    text_only = plan(PlanRequest(gpus=parse_gpus(GPUS), language_model_only=True))
    rank = _budget(answer)
    model, settings, kv = answer.model, answer.settings, answer.kv_cache
    line = answer.ledger.line
    plain = rank_weights(model, tensor_parallel_size=1)[0].text_bytes
    phases = activation_phases(rank.shape)
    peak = max(phases, key=phases.__getitem__)
    T, S, V, H = settings.max_num_batched_tokens, settings.max_num_seqs, model.vocab_size, model.hidden_size
    vision = model.vision
    assert vision is not None
    linear = 88 * 1_384_120_320
    uncertain = ("weights.rounding", "activations", "outside_torch", "graphs")
    worst = {name: line(name).high_bytes - line(name).bytes for name in uncertain}
    widest = max(worst, key=worst.__getitem__)
    values = {
        "gpus": str(GPUS),
        "max_model_len": format_tokens(settings.max_model_len),
        "vllm_version": str(answer.vllm_version),
        "table": _table(answer),
        "total": format_gib(answer.ledger.total_bytes),
        "total_bytes": f"{answer.ledger.total_bytes:,}",
        "utilization": str(settings.gpu_memory_utilization),
        "budget_bytes": f"{answer.ledger.budget_bytes:,}",
        "budget": format_gib(answer.ledger.budget_bytes),
        "slack": format_gib(line("slack").bytes),
        "text": format_gib(line("weights.text").bytes),
        "linear_bytes": f"{linear:,}",
        "plain_bytes": f"{plain:,}",
        "plain": format_gib(plain),
        "padding": format_gib(line("weights.text").bytes - plain),
        "padding_tokens": format_tokens((line("weights.text").bytes - plain) // kv.bytes_per_token_per_gpu),
        "vision": format_gib(line("weights.vision").bytes),
        "vision_layers": str(vision.num_hidden_layers),
        "vision_width": str(vision.hidden_size),
        "text_only_len": format_tokens(text_only.settings.max_model_len),
        "draft": format_gib(line("weights.draft").bytes),
        "rope": format_gib(line("rope_cache").bytes),
        "positions": format_tokens(model.max_position_embeddings),
        "head_dim": str(model.head_dim),
        "rope_mib": str(line("rope_cache").bytes // MIB),
        "rounding": format_gib(line("weights.rounding").bytes),
        "rounding_high": format_gib(line("weights.rounding").high_bytes),
        "holes": format_gib(rank.kept_bytes),
        "buffers": format_gib(line("buffers").bytes),
        "S": str(S),
        "T": f"{T:,}",
        "counts_mib": f"{S * V * 4 / MIB:.0f}",
        "V": f"{V:,}",
        "H": f"{H:,}",
        "embeddings_mib": f"{T * H * 2 / MIB:.0f}",
        "activations": format_gib(line("activations").bytes),
        "encoder": format_gib(phases["encoder"]),
        "forward": format_gib(phases["forward"]),
        "logits": format_gib(phases["logits"]),
        "sampler": format_gib(phases["sampler"]),
        "images": str(images_of_a_step(rank.shape)),
        "image_size": str(vision.max_image_size),
        "peak": str(peak),
        "activations_high": format_gib(line("activations").high_bytes),
        "outside": format_gib(line("outside_torch").bytes),
        "outside_low": format_gib(line("outside_torch").low_bytes),
        "outside_high": format_gib(line("outside_torch").high_bytes),
        "outside_basis": str(line("outside_torch").basis),
        "graphs": format_gib(line("graphs").bytes),
        "graphs_low": format_gib(line("graphs").low_bytes),
        "graphs_high": format_gib(line("graphs").high_bytes),
        "graphs_basis": str(line("graphs").basis),
        "graphs_source": str(line("graphs").source.split(";")[0]),
        "kv": format_gib(line("kv_cache").bytes),
        "available": format_gib(kv.available_bytes),
        "token_bytes": f"{kv.bytes_per_token_per_gpu:,}",
        "block_size": str(kv.block_size),
        "block_bytes": f"{kv.bytes_per_token_per_gpu * kv.block_size:,}",
        "blocks": f"{kv.num_gpu_blocks:,}",
        "tokens": format_tokens(kv.tokens),
        "expected_len": format_tokens(kv.largest_max_model_len),
        "safe_len": format_tokens(kv.largest_max_model_len_low),
        "worst_rows": chr(10).join(f"| `{name}` | {format_gib(size)} |" for name, size in worst.items()),
        "worst_sum": format_gib(sum(worst.values())),
        "widest": str(widest),
        "widest_gib": f"{worst[widest] / GIB:.1f}",
        "widest_tokens": format_tokens(worst[widest] // kv.bytes_per_token_per_gpu),
    }
    return TEMPLATE.read_text(encoding="utf-8").format(**values)


def main(*, check: bool) -> int:
    """Rewrite or check the page."""
    text = page()
    if not check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print("stale: memory-ledger.md; run `python scripts/memory_ledger.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="say what is stale, and write nothing")
    sys.exit(main(check=parser.parse_args().check))
