#!/usr/bin/env bash
# A pre-launch gate by exit code: start only what is safe, say what is not.
#
#     GPUS=8xH200 MAX_MODEL_LEN=131072 bash examples/gate.sh
set -uo pipefail
out=$(mktemp)
trap 'rm -f "$out"' EXIT
m35_plan=${M35_PLAN:-m35-plan}

"$m35_plan" --gpus "${GPUS:-auto}" --max-model-len "${MAX_MODEL_LEN:-auto}" --strict >"$out" 2>&1
code=$?
case $code in
  0) echo "go: $(head -1 "$out")" ;;
  3) echo "no-go: $(head -1 "$out")" ;;
  4) echo "no GPU on this machine" ;;
  *) cat "$out" ;;
esac
exit $code
