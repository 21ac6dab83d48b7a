#!/bin/bash
SCRIPT_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [ -f "$SCRIPT_DIR/env.sh" ]; then
    source "$SCRIPT_DIR/env.sh"
else
    exit 1
fi

vllm serve "facebook/opt-125m" \
  --data-parallel-size 2 \
  --data-parallel-size-local 0 \
  --data-parallel-address 10.0.0.4 \
  --data-parallel-rpc-port 13345

# vllm serve "/data/moe" --enable-expert-parallel --data-parallel-size 2
