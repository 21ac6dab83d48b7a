#!/bin/bash
set -a
. ./engine.env
set +a
nohup vllm serve "${MODEL_ID:-acme/Other-7B}" \
  --host 0.0.0.0 --port 8000 \
  --tensor-parallel-size "$TP" \
  > logs/vllm.log 2>&1 &
echo $! > vllm.pid
