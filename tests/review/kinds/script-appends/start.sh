#!/usr/bin/env bash
set -euo pipefail
MODEL_ID="${MODEL_ID:-mistralai/Mistral-Medium-3.5-128B}"
TP="${TP:-2}"
EXTRA_ARGS=()
if [[ -n "${MAX_MODEL_LEN:-}" ]]; then
  EXTRA_ARGS+=(--max-model-len "${MAX_MODEL_LEN}")
fi
EXTRA_ARGS+=(--swap-space 4)
exec vllm serve "${MODEL_ID}" \
  --host "${HOST:-0.0.0.0}" \
  --tensor-parallel-size "${TP}" \
  "${EXTRA_ARGS[@]}" \
  "$@"
