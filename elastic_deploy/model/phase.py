"""The phases that `status` shows, and the legal ways from one to another.

A phase is derived from what is remembered and observed (see `core.phase`); nothing stores one but the journal. The
table below is the state diagram of `docs/architecture.md`, and tests walk generated histories along it.
"""

from enum import StrEnum


class Phase(StrEnum):
    """Where a deployment, or one replica of it, stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RECOVERING = "recovering"
    DEGRADED = "degraded"
    FAILED = "failed"
    STOPPED = "stopped"


TRANSITIONS: dict[tuple[Phase, Phase], str] = {
    (Phase.WAITING, Phase.STARTING): "the placement group is ready",
    (Phase.WAITING, Phase.READY): "a running engine was adopted",
    (Phase.WAITING, Phase.RECOVERING): "a replica that served lost a part while others were still awaited",
    (Phase.WAITING, Phase.DEGRADED): "the deadline passed while a part of it serves",
    (Phase.WAITING, Phase.FAILED): "the deadline passed",
    (Phase.WAITING, Phase.STOPPED): "it was stopped",
    (Phase.STARTING, Phase.READY): "a real generation came back",
    (Phase.STARTING, Phase.WAITING): "a node was lost before the engine was ready",
    (Phase.STARTING, Phase.RECOVERING): "a replica that served lost a part while others were still starting",
    (Phase.STARTING, Phase.DEGRADED): "an engine failed too often in a row while another serves",
    (Phase.STARTING, Phase.FAILED): "the engine cannot start",
    (Phase.STARTING, Phase.STOPPED): "it was stopped",
    (Phase.READY, Phase.RECOVERING): "a part was lost",
    (Phase.READY, Phase.STARTING): "it was changed by the user",
    (Phase.READY, Phase.WAITING): "it was changed by the user, and needs other GPUs",
    (Phase.READY, Phase.DEGRADED): "a change is rolled out where the replicas stand",
    (Phase.READY, Phase.STOPPED): "it was stopped",
    (Phase.RECOVERING, Phase.READY): "a real generation came back from the new engine",
    (Phase.RECOVERING, Phase.STARTING): "it was changed by the user, or what is left to do is a first start",
    (Phase.RECOVERING, Phase.WAITING): "it was changed by the user, or what is left to do is a first wait",
    (Phase.RECOVERING, Phase.DEGRADED): "a part serves again, and another is overdue",
    (Phase.RECOVERING, Phase.FAILED): "the engine failed too often in a row",
    (Phase.RECOVERING, Phase.STOPPED): "it was stopped",
    (Phase.DEGRADED, Phase.READY): "the rest of it serves as well",
    (Phase.DEGRADED, Phase.STARTING): "the rest of its GPUs came, or the user changed it",
    (Phase.DEGRADED, Phase.WAITING): "a node was lost under an engine that failed, or the user changed it",
    (Phase.DEGRADED, Phase.RECOVERING): "the part that served lost a part of its own",
    (Phase.DEGRADED, Phase.STOPPED): "it was stopped",
    (Phase.FAILED, Phase.WAITING): "it was applied again",
    (Phase.FAILED, Phase.STARTING): "it was applied again, and its GPUs were kept",
    (Phase.FAILED, Phase.READY): "it was applied again before its engines were ended",
    (Phase.FAILED, Phase.RECOVERING): "it was applied again before its engines were ended",
    (Phase.FAILED, Phase.STOPPED): "it was stopped",
    (Phase.STOPPED, Phase.WAITING): "it was applied again",
    (Phase.STOPPED, Phase.STARTING): "it was applied again while its group still stood",
    (Phase.STOPPED, Phase.READY): "it was applied again before its engines were ended",
    (Phase.STOPPED, Phase.RECOVERING): "it was applied again before its engines were ended",
}
