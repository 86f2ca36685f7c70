"""What a deployment can be told: the same fields from the cluster YAML and from the command line.

`cluster.settings` reads them from `metadata.elastic_deploy`, the CLI fills them from flags, and `planning.request`
makes one request of both. A field that is None was not said there. The rules below hold for both sources; who breaks
one is told in the words of the source.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from elastic_deploy.model.front_door import FrontDoorBounds, overlaid
from elastic_deploy.model.rung import ListedRung
from elastic_deploy.model.scaling import ReplicaRange
from elastic_deploy.model.spec import OnFailure

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
"""A deployment's name: it stands in actor names, file names and labels."""


POOL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""A pool's name: the value of a label, as Ray takes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that can be said of a deployment. Durations are seconds, infinity where the user wrote `none`."""

    name: str | None = None
    """The deployment's name in this cluster; default: made from the model's."""
    model: str | None = None
    """What vLLM is to serve: a hub id, a checkpoint's directory, or `tiny`."""
    gpus: int | None = None
    """GPUs of the whole deployment."""
    tensor_parallel_size: int | None = None
    """GPUs that share each layer; given, it is insisted on, over several nodes if need be."""
    pipeline_parallel_size: int | None = None
    """Stages that the layers are cut into."""
    replicas: int | ReplicaRange | None = None
    """Engines side by side; a range lets the load decide, and `gpus` are those of the most."""
    min_gpus: int | None = None
    """Serve in a smaller shape with this many GPUs rather than not at all; default: all that is asked."""
    rungs: tuple[ListedRung, ...] | None = None
    """Smaller shapes in which it may serve, with arguments of vLLM's for each, such as a shorter context."""
    degrade_after: float | None = None
    """How long all GPUs are waited for before it serves on fewer, where `min_gpus` allows it; default 10 minutes."""
    wait_timeout: float | None = None
    """How long `up` waits for the GPUs; default 30 minutes."""
    port: int | None = None
    """Where clients find the deployment; default 8000. This and the three below hold for the whole cluster."""
    tls_cert: str | None = None
    """A file with the front door's certificate, its chain behind it, in PEM; default: plain HTTP."""
    tls_key: str | None = None
    """A file with the certificate's private key, in PEM, without a passphrase."""
    gateway: FrontDoorBounds | None = None
    """The front door's bounds; each that is not said has the gateway's own default."""
    engine_arguments: tuple[str, ...] | None = None
    """vLLM's own arguments, passed on unread."""
    on_failure: OnFailure | None = None
    """What becomes of the GPUs of a deployment that has failed; default `release`."""
    max_engine_failures: int | None = None
    """Engine failures in a row after which a deployment has failed; default 3."""
    engine_start_timeout: float | None = None
    """How long an engine may take from its group's being ready to its first generation; default 30 minutes."""
    canary_period: float | None = None
    """Time between two generations that prove an engine alive; default 10 seconds."""
    canary_timeout: float | None = None
    """How long such a generation may take; default 15 seconds."""
    canary_failures: int | None = None
    """Failed canaries in a row after which an engine counts as wedged; default 3."""
    drain_timeout: float | None = None
    """How long an engine may finish what it was asked before a change ends it; default 5 minutes."""
    pools: tuple[str, ...] | None = None
    """Where replicas may live, the best first: values of the label `pool` of the node types; default: anywhere."""
    pool_timeout: float | None = None
    """How long a replica waits in a pool from which nothing comes; default 10 minutes."""
    partial_timeout: float | None = None
    """How long some of a replica's nodes may be there without the others; default 15 minutes where there are several
    pools, else for ever."""
    partial_budget: float | None = None
    """What such nodes may cost, in US dollars; default: no limit."""
    prices: tuple[tuple[str, float], ...] | None = None
    """US dollars an hour by node type; default: what is known of EC2's on-demand prices."""
    prefer_return: bool | None = None
    """Whether replicas go back to a better pool when that can be asked again; default no."""
    return_after: float | None = None
    """How long a replica serves before prefer_return tries to bring it to a better pool; default 15 minutes."""
    step_timeout: float | None = None
    """How long a node may hang in one step (boot, SSH, files, set-up, placing) before it is given up; default 15
    minutes."""
    lease: float | None = None
    """How long the GPUs are kept when the supervisor is gone for good; default 10 minutes."""
    idle_timeout: float | None = None
    """After so long without a request the GPUs are released until the next; default: never, 10 minutes for 0:MAX."""
    requests_per_replica: int | None = None
    """How many requests a replica of a range is meant to have at once; default 8."""
    grow_after: float | None = None
    """How long there must be more requests than that before a replica is added; default 30 seconds."""
    shrink_after: float | None = None
    """How long fewer replicas must have been enough before one goes; default 5 minutes."""


DURATIONS = (
    "wait_timeout",
    "engine_start_timeout",
    "canary_period",
    "canary_timeout",
    "drain_timeout",
    "pool_timeout",
    "partial_timeout",
    "return_after",
    "step_timeout",
    "lease",
    "idle_timeout",
    "degrade_after",
    "grow_after",
    "shrink_after",
)
ENDLESS = (
    "degrade_after",
    "wait_timeout",
    "engine_start_timeout",
    "pool_timeout",
    "partial_timeout",
    "step_timeout",
    "lease",
    "idle_timeout",
)
"""The durations that may be `none`: a canary without a limit would prove nothing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One rule that one field breaks."""

    field: str
    sentence: str


def _at_least_one(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _is_replicas(value: object) -> bool:
    if isinstance(value, ReplicaRange):
        return 0 <= value.least <= value.most and value.most >= 1
    return _at_least_one(value)


def _is_port(value: object) -> bool:
    return isinstance(value, int) and 1 <= value <= 65535


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


def _none_or_more(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < math.inf


def _is_second(value: object) -> bool:
    return _is_time(value) and isinstance(value, (int, float)) and value >= 1


def _are_pools(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) > 0
        and len(set(value)) == len(value)
        and all(isinstance(each, str) and POOL_NAME.fullmatch(each) is not None for each in value)
    )


def _are_rungs(value: object) -> bool:
    return isinstance(value, tuple) and len({each.gpus for each in value}) == len(value)


def _is_money(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 < value < math.inf


def _are_prices(value: object) -> bool:
    return isinstance(value, tuple) and all(_is_time(price) for _, price in value)


_COUNT = "must be a whole number, 1 or more"
_COUNT_OR_0 = "must be a whole number, 0 or more"
_TIME = "must have an end: a duration, or 0"
_RULES: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("name", _is_name, "must be 1 to 40 of the characters a-z, 0-9 and -, with no - at either end"),
    ("model", _is_text, "must be a hub id, a directory or tiny"),
    ("gpus", _at_least_one, _COUNT),
    ("tensor_parallel_size", _at_least_one, _COUNT),
    ("pipeline_parallel_size", _at_least_one, _COUNT),
    ("replicas", _is_replicas, "must be a whole number, 1 or more, or MIN:MAX with MIN from 0 to MAX"),
    ("min_gpus", _at_least_one, _COUNT),
    ("port", _is_port, "must be a port, 1 to 65535"),
    ("tls_cert", _is_path, "must be a file"),
    ("tls_key", _is_path, "must be a file"),
    ("max_engine_failures", _at_least_one, _COUNT),
    ("canary_failures", _at_least_one, _COUNT),
    ("pools", _are_pools, "must be names of pools, each once, of letters, digits, '.', '_' and '-'"),
    ("partial_budget", _is_money, "must be US dollars, more than 0"),
    ("prices", _are_prices, "must be US dollars an hour, 0 or more, by node type"),
    ("rungs", _are_rungs, "must name each number of GPUs once"),
    ("requests_per_replica", _at_least_one, _COUNT),
)
_BOUND_RULES: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("hold_timeout", _is_time, _TIME),
    ("hold_requests", _none_or_more, _COUNT_OR_0),
    ("hold_bytes", _none_or_more, _COUNT_OR_0),
    ("max_body_bytes", _at_least_one, _COUNT),
    ("max_connections", _at_least_one, _COUNT),
    ("drain_timeout", _is_time, _TIME),
    ("engine_silence_timeout", _is_second, "must be a duration of a second or more, and have an end"),
)


def problems(settings: Settings) -> Iterator[Problem]:
    """The rules that `settings` breaks, each field by itself; nothing for what was not said.

    A certificate and its key are one thing said by two fields. The bounds are fields `gateway.<bound>`.
    """
    for field, holds, sentence in _RULES:
        value = getattr(settings, field)
        if value is not None and not holds(value):
            yield Problem(field, f"{sentence}, not {value!r}")
    for field, holds, sentence in _BOUND_RULES:
        value = getattr(settings.gateway or FrontDoorBounds(), field)
        if value is not None and not holds(value):
            yield Problem(f"gateway.{field}", f"{sentence}, not {'none' if value == math.inf else repr(value)}")
    for field, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if getattr(settings, field) is not None and getattr(settings, other) is None:
            yield Problem(field, f"needs {other} beside it")


def overlay(base: Settings, over: Settings) -> Settings:
    """`base` with every field that `over` says."""
    chosen = {}
    for field in fields(Settings):
        said = getattr(over, field.name)
        chosen[field.name] = getattr(base, field.name) if said is None else said
    if base.gateway and over.gateway:
        chosen["gateway"] = overlaid(base.gateway, over.gateway)
    if base.prices and over.prices:
        chosen["prices"] = tuple(sorted({**dict(base.prices), **dict(over.prices)}.items()))
    return Settings(**chosen)
