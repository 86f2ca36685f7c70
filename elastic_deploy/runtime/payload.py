"""What the payloads of the agent protocol mean: checked here, before anything of them is kept or done.

Called by `server`. The other side of `cluster.wish`.
"""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from elastic_deploy.model.errors import UsageError
from elastic_deploy.model.front_door import CertificatePair, FrontDoorOptions, FrontDoorWish
from elastic_deploy.model.spec import DeploymentSpec

_SPEC = TypeAdapter(DeploymentSpec)
_OPTIONS = TypeAdapter(FrontDoorOptions)


def wish_of(payload: dict[str, Any]) -> tuple[DeploymentSpec, FrontDoorWish]:
    """The spec that a payload of `apply` or `compare` asks for, and the front door.

    Raises UsageError where it is none: what is wrong must be found here, before it is kept on disk.
    """
    door = _door(payload)
    try:
        wish = dict(payload["deployment"])
        shape = {size: wish.pop(size) for size in ("tensor_parallel", "pipeline_parallel", "replicas")}
        return _SPEC.validate_python({**wish, "shape": shape}), door
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise UsageError(f"The supervisor cannot read this deployment: {error!r}.") from error


def _door(payload: dict[str, Any]) -> FrontDoorWish:
    try:
        options = _OPTIONS.validate_python(payload.get("door") or {})
        port = int(payload["port"])
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise UsageError(f"The supervisor cannot read this deployment: {error!r}.") from error
    told = payload.get("tls")
    if told is None:
        return FrontDoorWish(port, options)
    try:
        pair = CertificatePair(str(told["certificate"]), str(told["key"]))
    except (KeyError, TypeError):
        pair = CertificatePair("", "")
    if pair.fingerprint != options.certificate:
        # Without what was sent: there is a private key in it.
        raise UsageError("The supervisor cannot read this deployment: its certificate is not the one that it names.")
    return FrontDoorWish(port, options, pair)
