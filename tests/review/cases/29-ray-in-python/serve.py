from ray import serve
from ray.serve.llm import LLMConfig, build_openai_app

config = LLMConfig(
    model_loading_config=dict(model_id="medium", model_source="mistralai/Mistral-Medium-3.5-128B"),
    deployment_config=dict(autoscaling_config=dict(min_replicas=1, max_replicas=1)),
    engine_kwargs=dict(
        tensor_parallel_size=8,
        max_num_seqs=128,
        swap_space=4,
    ),
    runtime_env=dict(env_vars={"VLLM_USE_V1": "1"}),
)
serve.run(build_openai_app({"llm_configs": [config]}), blocking=True)
