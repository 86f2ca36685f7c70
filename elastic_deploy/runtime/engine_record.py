"""What an engine publishes about itself in Ray's key-value store, so that any supervisor finds it by name.

Written by the engine (`EngineRecord`), by its processes as its start goes on (its stage) and, after its end, by the
sweep (`SweepRecord`); read by the observer.
"""

from dataclasses import dataclass

from pydantic import TypeAdapter
from ray.experimental import internal_kv

from elastic_deploy.model.names import NAMESPACE, EngineName
from elastic_deploy.model.snapshot import EngineStage


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """`address` is the server's base URL, `log` a path on the engine's node. `ended` when its server returned.

    `version` is the fingerprint of the spec that it was started for.
    """

    address: str
    pid: int
    log: str
    version: str = ""
    ended: bool = False
    refused_arguments: bool = False
    last_words: str = ""


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """Nothing of an ended engine is left on any living node. `killed` counts the processes that had to be."""

    killed: int
    last_words: str = ""


_ENGINE = TypeAdapter(EngineRecord)
_SWEEP = TypeAdapter(SweepRecord)


def _put(key: str, value: bytes) -> None:
    internal_kv._internal_kv_put(key.encode(), value, namespace=NAMESPACE.encode())


def _get(key: str) -> bytes | None:
    raw: bytes | None = internal_kv._internal_kv_get(key.encode(), namespace=NAMESPACE.encode())
    return raw or None


def put_engine(name: EngineName, record: EngineRecord) -> None:
    """Publish an engine's record, replacing the former one."""
    _put(str(name), _ENGINE.dump_json(record))


def get_engine(name: EngineName) -> EngineRecord | None:
    """An engine's record; None until it has published one."""
    raw = _get(str(name))
    return _ENGINE.validate_json(raw) if raw else None


def put_sweep(name: EngineName, record: SweepRecord) -> None:
    """Publish that an engine was swept."""
    _put(f"swept/{name}", _SWEEP.dump_json(record))


def get_sweep(name: EngineName) -> SweepRecord | None:
    """The record of an engine's sweep; None until it was swept."""
    raw = _get(f"swept/{name}")
    return _SWEEP.validate_json(raw) if raw else None


def put_stage(name: EngineName, stage: EngineStage) -> None:
    """Publish that a stage of an engine's start has begun. Whichever of its processes is first is right."""
    _put(f"{stage}/{name}", b"1")


def get_stage(name: EngineName) -> EngineStage | None:
    """The last stage of its start that an engine has told of."""
    return next((stage for stage in reversed(EngineStage) if _get(f"{stage}/{name}")), None)


def forget(name: EngineName) -> None:
    """Drop all records of an engine that nothing asks about any more."""
    for key in (str(name), f"swept/{name}", *(f"{stage}/{name}" for stage in EngineStage)):
        internal_kv._internal_kv_del(key.encode(), namespace=NAMESPACE.encode())
