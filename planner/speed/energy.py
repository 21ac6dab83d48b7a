"""What a forecast costs in electricity: board power by what the GPU does, and joules for each token."""

from __future__ import annotations

from planner.facts.energy import energy_facts
from planner.speed.answer import Energy, Estimate, SpeedForecast

_JOULES_PER_KWH = 3.6e6


def energy_of(
    forecast: SpeedForecast, *, gpu_id: str, total_gpus: int, price_per_kwh: float | None = None
) -> Energy | None:
    """Return the power of all GPUs under the forecast's load and what it makes of each token; None for unlisted GPUs.

    Only boards are counted: hosts, fans and cooling come on top.
    """
    facts = energy_facts()
    limit = facts.board.watts.get(gpu_id)
    if limit is None:
        return None
    reading = max(0.0, forecast.busy_share - forecast.prefill_share)
    shares = {"idle": 1 - forecast.busy_share, "decode": reading, "prefill": forecast.prefill_share}

    def watts(bound: str) -> float:
        drawn = sum(part * getattr(facts.share[name], bound) for name, part in shares.items())
        return float(limit * drawn * total_gpus)

    power = Estimate(expected=watts("value"), low=watts("low"), high=watts("high"), basis="derived")
    output, total = (_joules(power, rate) for rate in (forecast.output_tokens_per_s, forecast.total_tokens_per_s))
    return Energy(
        gpu_watts=power,
        joules_per_output_token=output,
        joules_per_total_token=total,
        output_tokens_per_kwh=output.inverse(_JOULES_PER_KWH),
        price_per_kwh=price_per_kwh,
        per_million_output_tokens=output.scaled(1e6 * price_per_kwh / _JOULES_PER_KWH) if price_per_kwh else None,
    )


def _joules(power: Estimate, rate: Estimate) -> Estimate:
    """Joules of a token: the least power over the most tokens, and the other way round."""
    return Estimate(
        expected=power.expected / rate.expected, low=power.low / rate.high, high=power.high / rate.low, basis=rate.basis
    )
