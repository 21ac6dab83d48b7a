docker run --runtime nvidia --gpus all \
    -v ~/.cache/huggingface:/root/.cache/huggingface \
    --env "HF_ENDPOINT=https://mirror.example.com" \
    -p 8000:8000 \
    --ipc=host \
    vllm/vllm-openai \
    --model mistralai/Mistral-7B-v0.1
