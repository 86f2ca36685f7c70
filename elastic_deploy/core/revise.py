"""How a new wish for a deployment becomes the next spec: what differs, and whether engines have to be replaced.

Pure; called by the supervisor for `apply`, `compare` and `stop`.
"""

import shlex
from dataclasses import replace

from elastic_deploy.core.ladder import at_rung, widened
from elastic_deploy.core.roster import versions_of
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.memory import DeploymentMemory, Memory
from elastic_deploy.model.rung import ListedRung
from elastic_deploy.model.spec import DeploymentSpec


def _described(spec: DeploymentSpec) -> dict[str, str]:
    shape = spec.shape
    return {
        "model": spec.model,
        "served_model_name": spec.served_model_name,
        "gpus": str(shape.gpus),
        "tensor_parallel": str(shape.tensor_parallel),
        "pipeline_parallel": str(shape.pipeline_parallel),
        "replicas": f"{spec.scaling.least}:{shape.replicas}" if spec.scaling else str(shape.replicas),
        "engine_arguments": shlex.join(spec.engine_arguments) or "(none)",
        "wait_timeout": format_duration(spec.wait_timeout),
        "engine_start_timeout": format_duration(spec.engine_start_timeout),
        "canary_period": format_duration(spec.canary.period),
        "canary_timeout": format_duration(spec.canary.timeout),
        "canary_failures": str(spec.canary.failures),
        "drain_timeout": format_duration(spec.drain_timeout),
        "max_engine_failures": str(spec.max_engine_failures),
        "on_failure": spec.on_failure.value,
        "pools": ", ".join(pool.name for pool in spec.pools) or "anywhere",
        "pool_timeout": format_duration(spec.pool_timeout),
        "partial_timeout": format_duration(spec.partial_timeout),
        "partial_budget": "none" if spec.partial_budget is None else f"{spec.partial_budget:g} USD",
        "prices": ", ".join(f"{name} {price:g}" for name, price in spec.prices) or "none named",
        "rungs": ", ".join(str(ListedRung(r.gpus, r.arguments)).rstrip(": ") for r in spec.rungs) or "(none)",
        "degrade_after": format_duration(spec.degrade_after),
        "prefer_return": "yes" if spec.prefer_return else "no",
        "return_after": format_duration(spec.return_after),
        "step_timeout": format_duration(spec.step_timeout),
        "lease": format_duration(spec.lease),
        "idle_timeout": format_duration(spec.idle_timeout),
        "scaling": _scaling(spec),
    }


def _scaling(spec: DeploymentSpec) -> str:
    """By what the load decides over the number of replicas; `(none)` where it does not."""
    each = spec.scaling
    if each is None:
        return "(none)"
    return (
        f"{each.requests_per_replica} requests a replica, grown after {format_duration(each.grow_after)},"
        f" shrunk after {format_duration(each.shrink_after)}"
    )


def difference(old: DeploymentSpec, new: DeploymentSpec) -> list[str]:
    """What changes from one spec to another, a line each: `gpus: 4 -> 8`."""
    before, after = _described(old), _described(new)
    return [f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]


def revised(old: DeploymentSpec | None, memory: DeploymentMemory | None, wish: DeploymentSpec) -> DeploymentSpec:
    """The spec that carries out a wish. Its revision is the old one's where no engine has to be started anew.

    A deployment that has failed or was stopped gets a new revision, and with it new attempts. One that serves keeps
    what it was as `former`, until the change is rolled out.
    """
    wish = replace(wish, wanted=True, former=None, restoring=False)
    if old is None:
        return replace(wish, revision=(memory.revision if memory else 0) + 1)
    former, restoring = old.former, old.restoring
    old = at_rung(old, memory)
    alive = old.wanted and (memory is None or memory.failure is None)
    if alive and widened(old).fingerprint == wish.fingerprint:
        return replace(wish, revision=old.revision, former=former, restoring=restoring)
    spared = _former(old, memory, wish) if alive else None
    return replace(wish, revision=old.revision + 1, former=None if spared is None else widened(spared))


def _former(old: DeploymentSpec, memory: DeploymentMemory | None, wish: DeploymentSpec) -> DeploymentSpec | None:
    """What serves now and is to be spared until the change is proven, None where nothing has served.

    In the middle of another change that is what was before that: it has proven itself, even where nothing of it serves
    at the moment. What else serves is its `former` in turn.
    """
    replicas = memory.replicas if memory else ()
    served = {r.fingerprint for r in replicas if r.serves or (r.ever_ready and not r.leaving)}
    versions = [*versions_of(old).values()]
    if old.former is not None and not old.restoring:
        versions[:2] = reversed(versions[:2])
    spared = [version for version in versions if version.fingerprint in served] or versions[: 1 if old.former else 0]
    former: DeploymentSpec | None = None
    for version in reversed(spared):
        if version.fingerprint != wish.fingerprint:
            former = replace(version, former=former, restoring=False, wanted=True)
    return former


def acknowledged(memory: Memory, name: str) -> Memory:
    """The memory in which a change of a deployment that was given up is old news: the user has decided anew."""
    deployments = tuple(_forgotten(d) if d.name == name else d for d in memory.deployments)
    return replace(memory, deployments=deployments)


def _forgotten(memory: DeploymentMemory) -> DeploymentMemory:
    """Without the change that was given up; and awake, as who asks for a deployment wants it to serve."""
    sleeps = memory.scale is not None and memory.scale.replicas == 0
    if memory.refused is None and not sleeps:
        return memory
    return replace(memory, refused=None, scale=None if sleeps else memory.scale)


def is_same(old: DeploymentSpec, new: DeploymentSpec) -> bool:
    """Whether two specs ask for the same: room for a surge and prices found out are findings, not wishes."""
    return replace(old, surge=False, found_prices=()) == replace(new, surge=False, found_prices=())
