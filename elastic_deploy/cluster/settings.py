"""Reads our own settings from the cluster YAML's `metadata.elastic_deploy`. Called by `cluster.config`.

What each of them means, its default and its rule stand in `planning.settings`; here is how it may be written.
"""

import math
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from elastic_deploy.cluster.config_schema import kind_error, unknown_key
from elastic_deploy.cluster.yaml_source import Source
from elastic_deploy.model.duration import parse_duration
from elastic_deploy.model.front_door import FrontDoorBounds
from elastic_deploy.model.rung import ListedRung, parse_rung
from elastic_deploy.model.scaling import ReplicaRange, parse_replicas
from elastic_deploy.model.spec import OnFailure
from elastic_deploy.planning.settings import Settings, problems

_SECTION = ("metadata", "elastic_deploy")


def _seconds(value: object) -> object:
    return _duration(value, none_allowed=False)


def _seconds_or_endless(value: object) -> object:
    return _duration(value, none_allowed=True)


def _seconds_or_0(value: object) -> object:
    return 0.0 if value in (0, "0") and not isinstance(value, bool) else _duration(value, none_allowed=False)


def _replicas(value: object) -> object:
    return parse_replicas(value) if isinstance(value, str) else value


def _rung(value: object) -> object:
    match value:
        case str():
            return parse_rung(value)
        case dict() if len(value) == 1:  # `- "2": --max-model-len 8192`, which reads the same
            return parse_rung(": ".join(str(part) for pair in value.items() for part in pair))
        case _:
            return parse_rung(str(value))


def _duration(value: object, *, none_allowed: bool) -> object:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is no duration: write it as 90s, 30m or 2h")
    seconds = parse_duration(str(value), none_allowed=none_allowed)
    return math.inf if seconds is None else seconds


Seconds = Annotated[float | None, BeforeValidator(_seconds)]
Replicas = Annotated[int | ReplicaRange | None, BeforeValidator(_replicas)]
SecondsOr0 = Annotated[float | None, BeforeValidator(_seconds_or_0)]
SecondsOrEndless = Annotated[float | None, BeforeValidator(_seconds_or_endless)]


Listed = Annotated[ListedRung, BeforeValidator(_rung)]


class WrittenBounds(BaseModel):
    """The fields of `model.front_door.FrontDoorBounds`, as YAML holds them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    hold_timeout: SecondsOr0 = None
    hold_requests: int | None = None
    hold_bytes: int | None = None
    max_body_bytes: int | None = None
    max_connections: int | None = None
    drain_timeout: SecondsOr0 = None
    engine_silence_timeout: Seconds = None


class WrittenSettings(BaseModel):
    """The fields of `planning.settings.Settings`, as YAML holds them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = None
    model: str | None = None
    gpus: int | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    replicas: Replicas = None
    min_gpus: int | None = None
    rungs: list[Listed] | None = None
    degrade_after: SecondsOrEndless = None
    wait_timeout: SecondsOrEndless = None
    port: int | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    gateway: WrittenBounds | None = None
    engine_arguments: list[str] | None = None
    on_failure: Literal["release", "keep"] | None = None
    max_engine_failures: int | None = None
    engine_start_timeout: SecondsOrEndless = None
    canary_period: Seconds = None
    canary_timeout: Seconds = None
    canary_failures: int | None = None
    drain_timeout: Seconds = None
    pools: list[str] | None = None
    pool_timeout: SecondsOrEndless = None
    partial_timeout: SecondsOrEndless = None
    partial_budget: Annotated[float | None, Field(strict=False)] = None
    prices: dict[str, Annotated[float, Field(strict=False)]] | None = None
    prefer_return: bool | None = None
    return_after: Seconds = None
    step_timeout: SecondsOrEndless = None
    lease: SecondsOrEndless = None
    idle_timeout: SecondsOrEndless = None
    requests_per_replica: int | None = None
    grow_after: Seconds = None
    shrink_after: Seconds = None


def read_settings(source: Source) -> Settings:
    """The settings in `source`, all None where it has none; its paths are taken from the directory it stands in.

    Raises InvalidConfigError with the key's path and line.
    """
    metadata = source.raw.get("metadata") or {}
    for key in metadata:
        if key != "elastic_deploy" and key.lower().replace("-", "").replace("_", "") == "elasticdeploy":
            raise source.error(("metadata", key), "our settings are not read from here", "Call it elastic_deploy")
    section = metadata.get("elastic_deploy")
    if section is None:
        return Settings()
    if not isinstance(section, dict):
        raise source.error(_SECTION, *kind_error(section, "object"))
    replicas = (*_SECTION, "replicas")
    if isinstance(section.get("replicas"), int) and ":" in (text := source.written(replicas)):
        raise source.error(replicas, f"YAML reads {text} as {section['replicas']}", f"Put it in quotes: '{text}'")
    try:
        written = WrittenSettings.model_validate(section)
    except ValidationError as error:
        found = [_worded(each) for each in error.errors(include_url=False)]
        keys, reason, mend = min(found, key=lambda each: source.place((*_SECTION, *each[0])))
        raise source.error((*_SECTION, *keys), reason, mend) from error
    values = written.model_dump()
    values["replicas"] = written.replicas  # as a value, not as a dictionary
    arguments, on_failure, bounds = (values.pop(name) for name in ("engine_arguments", "on_failure", "gateway"))
    pools, prices = values.pop("pools"), values.pop("prices")
    values["rungs"] = None if written.rungs is None else tuple(written.rungs)
    for name in ("tls_cert", "tls_key"):
        values[name] = _beside(source.path, values[name])
    settings = Settings(
        **values,
        engine_arguments=None if arguments is None else tuple(arguments),
        on_failure=None if on_failure is None else OnFailure(on_failure),
        gateway=None if bounds is None else FrontDoorBounds(**bounds),
        pools=None if pools is None else tuple(pools),
        prices=None if prices is None else tuple(sorted(prices.items())),
    )
    for problem in problems(settings):
        raise source.error((*_SECTION, *problem.field.split(".")), problem.sentence, "Mend the value")
    return settings


def _beside(file: Path, written: str | None) -> str | None:
    if written is None or not written.strip():
        return written
    path = Path(written)
    with suppress(RuntimeError):  # ~ of a user that there is not
        path = path.expanduser()
    return str(file.parent / path)


_KINDS = {
    "int_type": "integer",
    "string_type": "string",
    "list_type": "array",
    "float_type": "number",
    "model_type": "object",
}


def _worded(error: Any) -> tuple[tuple[str | int, ...], str, str]:
    """Place below our section, reason and mend of one of pydantic's errors."""
    keys, value = error["loc"], error["input"]
    if error["type"] == "extra_forbidden":
        known = WrittenSettings.model_fields if len(keys) == 1 else WrittenBounds.model_fields
        return keys, *unknown_key(str(keys[-1]), known)
    if error["type"] in _KINDS:
        return keys, *kind_error(value, _KINDS[error["type"]])
    if error["type"] == "literal_error":
        return keys, f"must be {error['ctx']['expected']}, not {value!r}", "Mend the value"
    if error["type"] == "value_error":
        return keys, str(error["ctx"]["error"]), "Mend the value"
    return keys, str(error["msg"]), "Mend the value"
