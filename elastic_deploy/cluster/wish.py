"""A deployment as the agent on the head is asked for it: the payload of the verbs `apply` and `compare`. Pure."""

from dataclasses import asdict
from typing import Any

from elastic_deploy.model.spec import DeploymentSpec


def wish(spec: DeploymentSpec, port: int) -> dict[str, Any]:
    """The payload. Durations are seconds, None without end; `port` is where clients will find it."""
    return {
        "deployment": {
            "name": spec.name,
            "model": spec.model,
            "served_model_name": spec.served_model_name,
            **asdict(spec.shape),
            "engine_arguments": list(spec.engine_arguments),
            "wait_timeout": spec.wait_timeout,
            "engine_start_timeout": spec.engine_start_timeout,
            "canary": asdict(spec.canary),
            "max_engine_failures": spec.max_engine_failures,
            "on_failure": spec.on_failure.value,
            "drain_timeout": spec.drain_timeout,
            "surge": spec.surge,
        },
        "port": port,
    }
