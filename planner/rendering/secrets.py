"""The variables that carry keys: named in commands and manifests, their values never."""

API_KEY = "VLLM_API_KEY"
"""What a client must send, where a server has it."""
HF_TOKEN = "HF_TOKEN"
"""What a download from the hub may need."""
