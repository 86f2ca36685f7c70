"""What would change, in sentences, when `up` is run again with other arguments. Pure; `up` prints it and asks."""

from collections.abc import Callable
from dataclasses import fields

from elastic_deploy.model.duration import format_duration
from elastic_deploy.planning.request import DeploymentRequest
from elastic_deploy.planning.settings import DURATIONS


def differences(running: DeploymentRequest, asked: DeploymentRequest) -> tuple[str, ...]:
    """One line a field that differs (`gpus: 4 -> 8`), in the order of the request's fields; empty if none does."""
    lines = []
    for field in fields(DeploymentRequest):
        before, after = getattr(running, field.name), getattr(asked, field.name)
        if before == after or (field.name == "min_gpus" and _follows_gpus(running) and _follows_gpus(asked)):
            continue
        say = _teller(field.name)
        lines.append(f"{field.name}: {say(before)} -> {say(after)}")
    return tuple(lines)


def _follows_gpus(request: DeploymentRequest) -> bool:
    return request.min_gpus == request.gpus


def _teller(field: str) -> Callable[[object], str]:
    if field in DURATIONS:
        return lambda value: format_duration(value if isinstance(value, (int, float)) else None)
    if field == "engine_arguments":
        return lambda value: " ".join(value) or "none" if isinstance(value, tuple) else str(value)
    return lambda value: "chosen by the plan" if value is None else str(value)
