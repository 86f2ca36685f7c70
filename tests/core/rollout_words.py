"""Replicas and rosters in a change, written down in words.

A replica is a word: its number, the version whose engine it has ("old", "new", "mid" between the two), and how that
fares; the roster's answer is written in the same way.
"""

from dataclasses import replace

from elastic_deploy.core.rollout import REPLACED, STRAY, SURPLUS
from elastic_deploy.core.roster import rostered
from elastic_deploy.model.memory import DeploymentMemory, Outage, ReplicaMemory
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import DeploymentSpec

from .scenes import NOW, SPEC, deployment, failed, fresh, running, serving

ONE = replace(SPEC, shape=Shape(1, 1, 1))
OLD = replace(ONE, engine_arguments=("--seed", "1"))
MID = replace(ONE, engine_arguments=("--seed", "2"))
NEW = replace(ONE, engine_arguments=("--seed", "3"))
NAMES = {OLD.fingerprint: "old", MID.fingerprint: "mid", NEW.fingerprint: "new", "": ""}
VERSIONS = {name: version for version, name in NAMES.items()}
LEAVING = "somebody said so"
WHY = {SURPLUS: "surplus", REPLACED: "replaced", STRAY: "stray", LEAVING: "leaving"}


def shaped(spec: DeploymentSpec, replicas: int, size: int = 1) -> DeploymentSpec:
    """The version with so many replicas of so many GPUs; where the size differs, so does the fingerprint."""
    return replace(spec, shape=Shape(size, 1, replicas))


def changing(
    old: DeploymentSpec, new: DeploymentSpec, *, surge: bool, restoring: bool = False, mid: bool = False
) -> DeploymentSpec:
    """The new version that takes the place of the old one, with another one between them that came up in part."""
    former = replace(old, former=shaped(MID, old.shape.replicas, old.shape.tensor_parallel) if mid else None)
    return replace(new, surge=surge, former=former, restoring=restoring)


def replica(word: str) -> ReplicaMemory:
    """A replica from its word: `r0 old serves`, `r1 new starts`, `r2 old leaving`, `r3 old>new drains`, ..."""
    number, versions, state = word.split()
    has, _, becomes = versions.partition(">")
    made = {
        "serves": serving(),
        "drains": serving(draining_since=NOW - 1),
        "starts": running(),
        "ended": failed(),
        "broke": serving(engine_ended=True, failures=2, outage=Outage(NOW, "it died", "")),
        "recovers": running(generation=2, ever_ready=True, outage=Outage(NOW, "it died", "")),
        "waits": fresh(),
        "leaving": serving(leaving=LEAVING),
        "left": running(leaving=LEAVING),
    }[state]
    fingerprint = VERSIONS[has] if made.generation else ""
    return replace(made, id=number, fingerprint=fingerprint, version=VERSIONS[becomes or has])


def answer(memory: DeploymentMemory) -> list[str]:
    """The roster: each replica's number, what it is to serve, and why it goes if it does."""
    return [
        " ".join(filter(None, (r.id, NAMES[r.version], WHY[r.leaving] if r.leaving else ""))) for r in memory.replicas
    ]


def roster(spec: DeploymentSpec, *words: str) -> list[str]:
    """What the roster makes of these replicas."""
    return answer(rostered(spec, deployment(*map(replica, words)), spec.fingerprint, NOW, blind=False))
