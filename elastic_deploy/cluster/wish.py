"""A deployment as the agent on the head is asked for it: the payload of the verbs `apply` and `compare`. Pure."""

from dataclasses import asdict
from typing import Any

from elastic_deploy.model.front_door import FrontDoorWish
from elastic_deploy.model.spec import DeploymentSpec

_SUPERVISORS = ("revision", "wanted", "former", "restoring", "full")
"""The fields of a spec that the supervisor alone decides."""


def wish(spec: DeploymentSpec, door: FrontDoorWish) -> dict[str, Any]:
    """The payload. Durations are seconds, None without end; `port` and `door` say where clients will find it.

    The private key is in it where the wish has one: it is for `apply`, which goes to the agent's stdin.
    """
    pair = {"tls": {"certificate": door.pair.certificate, "key": door.pair.key}} if door.pair else {}
    wanted = {name: value for name, value in asdict(spec).items() if name not in _SUPERVISORS}
    return {
        **pair,
        "deployment": {**wanted, **wanted.pop("shape"), "on_failure": spec.on_failure.value},
        "port": door.port,
        "door": asdict(door.options),
    }
