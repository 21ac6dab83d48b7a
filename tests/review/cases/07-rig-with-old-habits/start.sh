#!/bin/bash
export NCCL_P2P_DISABLE=1
export NCCL_IB_DISABLE=1
export VLLM_WORKER_MULTIPROC_METHOD=spawn
export VLLM_USE_V1=1
export LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu:$LD_LIBRARY_PATH
source /srv/rig/env/bin/activate
echo "starting vLLM under a limit"
systemd-run --user --scope -p MemoryMax=90% \
  python3 -m vllm.entrypoints.openai.api_server \
  --model Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8 \
  --tensor-parallel-size 8 \
  --gpu-memory-utilization 0.85 \
  --max-model-len 4096 --max-num-seqs 32 \
  --swap-space 1 \
  --trust-remote-code
