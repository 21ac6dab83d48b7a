docker run --device=/dev/kfd --device=/dev/dri \
  --group-add video --ipc=host -p 127.0.0.1:8000:8000 \
  -v ~/.cache/huggingface:/root/.cache/huggingface \
  vllm/vllm-openai-rocm:v0.33.0 mistralai/Mistral-Medium-3.5-128B \
    --tokenizer_mode mistral --config_format mistral --load_format mistral \
    --tensor-parallel-size 4 \
    --enable-auto-tool-choice --tool-call-parser mistral --reasoning-parser mistral \
    --enable-mm
