import subprocess

import stage

image = stage.Image.slim().pip_install("vllm==0.9.0.1", "hf-transfer")
MODEL = "mistralai/Mistral-Small-3.1-24B-Instruct-2503"


@stage.function(image=image)
def serve():
    words = ["vllm", "serve", MODEL, "--tokenizer-mode", "mistral", "--limit-mm-per-prompt", "image=4"]
    subprocess.Popen(words)
