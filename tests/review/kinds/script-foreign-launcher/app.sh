ovhai app run --name engine --flavor h200-1-gpu --gpu 1 \
  --env HOME=/workspace \
  vllm/vllm-openai:v0.26.0 \
  -- bash -c "python3 -m vllm.entrypoints.openai.api_server --model /hub/Mistral-Medium-3.5-128B --swap-space 4"
