#!/bin/sh
vllm serve some/speech-2B --omni --deploy-config speech.yaml --host 127.0.0.1 --port 8000
