"""The maintainer's oracle: runs a vLLM release's own Python on a device without memory and writes facts files.

It stands outside the wheel and is never imported by the planner. `python -m oracle --vllm 0.33.0` fetches that release,
runs it and writes `planner/facts/engine/0.33.0.json`.
"""
