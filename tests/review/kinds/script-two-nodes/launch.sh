#!/bin/bash
SELF=$1; RANK=$2; MASTER=10.0.0.1
HEADLESS=""; [ "$RANK" != 0 ] && HEADLESS="--headless"
docker run --gpus all -d --privileged --network host --ipc host \
  -e VLLM_HOST_IP=$SELF -v /models:/model:ro \
  --entrypoint bash vllm/vllm-openai:v0.33.0 \
  -lc 'exec vllm serve /model/Mistral-Medium-3.5-128B --tensor-parallel-size 16 --nnodes 2 --node-rank '"$RANK"' --master-addr '"$MASTER"' '"$HEADLESS"''
