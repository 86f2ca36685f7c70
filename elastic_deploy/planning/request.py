"""The request: what one deployment is to be, every value decided. Made from the cluster YAML and the flags.

`up` and `plan` make it, the head is handed it, `planning.plan` and the supervisor read it. Pure: it does not know
whether the model or the port exists.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from elastic_deploy.model.errors import InvalidConfigError, UsageError
from elastic_deploy.model.front_door import FrontDoorBounds
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.rung import ListedRung, Rung
from elastic_deploy.model.scaling import ReplicaRange, Scaling
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import Canary, DeploymentSpec, OnFailure
from elastic_deploy.planning.settings import ENDLESS, NAME, Settings, overlay, problems

_TAKEN_OVER = (
    "port",
    "tls_cert",
    "tls_key",
    "on_failure",
    "max_engine_failures",
    "canary_period",
    "canary_timeout",
    "canary_failures",
    "drain_timeout",
    "return_after",
    "pools",
    "rungs",
    "partial_budget",
    "prefer_return",
    "prices",
)
"""Settings that stand in the request as they were said, if they were."""

_SCALING = ("requests_per_replica", "grow_after", "shrink_after")

IDLE_TIMEOUT = 600.0
"""Seconds without a request after which a deployment of 0:MAX replicas releases its GPUs, if nobody says other."""


PARTIAL_TIMEOUT = 900.0
"""Seconds for which a partial gang is kept where there are several pools and nobody says otherwise: the slowest types
need ten minutes from the launch to Ray."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRequest:
    """One deployment as asked for. Sizes that are None were left to us; durations are seconds, None without end.

    `served_model_name` is the name that clients send. `min_gpus` equals `gpus` unless a smaller shape is welcome.
    """

    name: str
    model: str
    served_model_name: str
    gpus: int
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    replicas: int | None = None
    min_gpus: int
    rungs: tuple[ListedRung, ...] = ()
    degrade_after: float | None = 600.0
    wait_timeout: float | None = 1800.0
    port: int = 8000
    tls_cert: str | None = None
    tls_key: str | None = None
    bounds: FrontDoorBounds = field(default_factory=FrontDoorBounds)
    engine_arguments: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.RELEASE
    max_engine_failures: int = 3
    engine_start_timeout: float | None = 1800.0
    canary_period: float = 10.0
    canary_timeout: float = 15.0
    canary_failures: int = 3
    drain_timeout: float = 300.0
    pools: tuple[str, ...] = ()
    pool_timeout: float | None = 600.0
    partial_timeout: float | None = None
    partial_budget: float | None = None
    prices: tuple[tuple[str, float], ...] = ()
    prefer_return: bool = False
    return_after: float = 900.0
    step_timeout: float | None = 900.0
    lease: float | None = 600.0
    idle_timeout: float | None = None
    scaling: Scaling | None = None


def merge(settings: Settings, flags: Settings) -> DeploymentRequest:
    """One request of the file's settings and the command line's flags; a flag beats the file.

    Raises UsageError where a flag is wrong or neither names the model or the GPUs, InvalidConfigError where the file
    is wrong.
    """
    for problem in problems(flags):
        sentence = problem.sentence
        if problem.field in ("tls_cert", "tls_key"):
            sentence = sentence.replace("tls_", "--tls-")
        raise UsageError(f"{flag(problem.field)} {sentence}.")
    for problem in problems(settings):
        raise InvalidConfigError(f"metadata.elastic_deploy.{problem.field} {problem.sentence}.")
    said = overlay(settings, flags)
    if said.model is None:
        raise _missing("model", "which model to serve", "--model MODEL")
    if said.gpus is None:
        raise _missing("gpus", "how many GPUs to ask for", "--gpus N")
    min_gpus = said.gpus if said.min_gpus is None else said.min_gpus
    if min_gpus > said.gpus:
        from_flags = flags.min_gpus is not None or flags.gpus is not None
        wrong = UsageError if from_flags else InvalidConfigError
        raise wrong(
            f"min_gpus is {min_gpus}, more than the {said.gpus} GPUs asked for: lower --min-gpus to at most"
            f" {said.gpus}, or raise --gpus."
        )
    decided = {name: getattr(said, name) for name in _TAKEN_OVER if getattr(said, name) is not None}
    if said.pools and len(said.pools) > 1:
        decided["partial_timeout"] = PARTIAL_TIMEOUT
    for name in ENDLESS:
        seconds = getattr(said, name)
        if seconds is not None:
            decided[name] = None if math.isinf(seconds) else seconds
    scaling = _scaling(said)
    if scaling is not None and scaling.least == 0:
        decided.setdefault("idle_timeout", IDLE_TIMEOUT)
    arguments = said.engine_arguments or ()
    return DeploymentRequest(
        name=said.name or deployment_name(said.model),
        model=said.model,
        served_model_name=served_model_name(said.model, arguments),
        gpus=said.gpus,
        tensor_parallel_size=said.tensor_parallel_size,
        pipeline_parallel_size=said.pipeline_parallel_size,
        replicas=said.replicas.most if isinstance(said.replicas, ReplicaRange) else said.replicas,
        scaling=scaling,
        min_gpus=min_gpus,
        engine_arguments=arguments,
        bounds=said.gateway or FrontDoorBounds(),
        **decided,
    )


def spec_of(
    request: DeploymentRequest,
    shape: Shape,
    revision: int = 1,
    *,
    surge: bool = False,
    pools: tuple[Pool, ...] = (),
    rungs: tuple[Rung, ...] = (),
    prices: Iterable[tuple[str, float]] = (),
) -> DeploymentSpec:
    """What the supervisor is handed: the request in the shape and the pools that `plan` gave it, and how a change may
    go about. `prices` are what was found out of them; those that the request names go before.
    """
    return DeploymentSpec(
        name=request.name,
        model=request.model,
        served_model_name=request.served_model_name,
        shape=shape,
        revision=revision,
        engine_arguments=request.engine_arguments,
        wait_timeout=request.wait_timeout,
        engine_start_timeout=request.engine_start_timeout,
        canary=Canary(request.canary_period, request.canary_timeout, request.canary_failures),
        max_engine_failures=request.max_engine_failures,
        on_failure=request.on_failure,
        drain_timeout=request.drain_timeout,
        surge=surge,
        pools=pools,
        rungs=rungs,
        degrade_after=request.degrade_after,
        pool_timeout=request.pool_timeout,
        partial_timeout=request.partial_timeout,
        partial_budget=request.partial_budget,
        prices=tuple(sorted(request.prices)),
        found_prices=tuple(sorted(prices)),
        prefer_return=request.prefer_return,
        return_after=request.return_after,
        step_timeout=request.step_timeout,
        lease=request.lease,
        idle_timeout=request.idle_timeout,
        scaling=request.scaling,
    )


def _scaling(said: Settings) -> Scaling | None:
    """How the load decides, where a range leaves that to it.

    Raises InvalidConfigError where a range from 0 is never to come to 0.
    """
    if not isinstance(said.replicas, ReplicaRange):
        return None
    if said.replicas.least == 0 and said.idle_timeout is not None and math.isinf(said.idle_timeout):
        raise InvalidConfigError(
            f"Replicas {said.replicas} come to 0 by an idle timeout, which is none: name a time with --idle-timeout,"
            f" or ask for 1:{said.replicas.most}."
        )
    told = {name: getattr(said, name) for name in _SCALING if getattr(said, name) is not None}
    return Scaling(said.replicas.least, **told)


def flag(setting: str) -> str:
    """The command line's word for a setting."""
    if setting == "engine_arguments":
        return "the engine arguments after --"
    return f"--{setting.rpartition('.')[2].replace('_', '-')}"


def deployment_name(model: str) -> str:
    """A deployment's name made from the model's: its last path component, in a-z, 0-9 and -, 40 at most."""
    last = model.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
    name = re.sub(r"[^a-z0-9]+", "-", last)[:40].strip("-")
    return name if NAME.fullmatch(name) else "model"


def served_model_name(model: str, engine_arguments: tuple[str, ...]) -> str:
    """The name that clients send: vLLM's own `--served-model-name` where it is given (the first of several names),
    else a hub id as it is, else the last component of a path.
    """
    name = "--served-model-name"
    for place, argument in enumerate(engine_arguments):
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
        if argument == name and place + 1 < len(engine_arguments):
            return engine_arguments[place + 1]
    if model.startswith(("/", ".", "~")):
        return model.rstrip("/").rpartition("/")[2] or model
    return model


def _missing(field: str, what: str, flag_text: str) -> UsageError:
    return UsageError(
        f"Nothing says {what}: give {flag_text}, or write `{field}` under metadata.elastic_deploy in the cluster YAML."
    )
