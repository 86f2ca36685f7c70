"""Deploys the tiny model with Ray Serve LLM, as its documentation has it. Runs on a head, started by `serve_cluster`.

Takes a port and a number of replicas. Each replica has one GPU, with the arguments and the environment that our engine
has. The ingress is kept on the head, which is not killed: by itself Ray would put it on a node that is. Prints one
line of JSON once the application runs, which it goes on doing.
"""

import json
import sys

from ray import serve
from ray.serve.llm import LLMConfig, build_openai_app

from elastic_deploy.rehearsal.engine_arguments import TINY_MODEL, model_path, rehearsal_environment

HOST = "127.0.0.1"
ON_THE_HEAD = {"resources": {"node:__internal_head__": 0.001}, "num_cpus": 0}


def main() -> None:
    """Deploy, and return once all replicas run."""
    port, replicas = int(sys.argv[1]), int(sys.argv[2])
    config = LLMConfig(
        model_loading_config={"model_id": TINY_MODEL, "model_source": model_path(TINY_MODEL)},
        deployment_config={
            "num_replicas": replicas,
            "health_check_period_s": 1,
            "health_check_timeout_s": 10,
        },
        engine_kwargs={
            "dtype": "float32",
            "enforce_eager": True,
            "kv_cache_memory_bytes": 64 << 20,
            "max_model_len": 2048,
            "tensor_parallel_size": 1,
        },
        placement_group_config={"bundles": [{"GPU": 1}], "strategy": "PACK"},
        runtime_env={"env_vars": rehearsal_environment()},
    )
    ingress = {"num_replicas": 1, "autoscaling_config": None, "ray_actor_options": ON_THE_HEAD}
    serve.start(proxy_location="HeadOnly", http_options={"host": HOST, "port": port})
    serve.run(build_openai_app({"llm_configs": [config], "ingress_deployment_config": ingress}))
    print(json.dumps({"port": port}), flush=True)


if __name__ == "__main__":
    main()
