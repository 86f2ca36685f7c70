"""A deployment as the agent on the head is asked for it: the payload of the verbs `apply` and `compare`. Pure."""

from dataclasses import asdict
from typing import Any

from elastic_deploy.model.front_door import FrontDoorWish
from elastic_deploy.model.spec import DeploymentSpec


def wish(spec: DeploymentSpec, door: FrontDoorWish) -> dict[str, Any]:
    """The payload. Durations are seconds, None without end; `port` and `door` say where clients will find it.

    The private key is in it where the wish has one: it is for `apply`, which goes to the agent's stdin.
    """
    pair = {"tls": {"certificate": door.pair.certificate, "key": door.pair.key}} if door.pair else {}
    return {
        **pair,
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
        "port": door.port,
        "door": asdict(door.options),
    }
