"""The ledger of the waits: for every node and replica its steps, how long each took, and how long it is expected to.

Pure; called by `core.status` (the key `ledger` of its document). The figures are those of this cluster's journal:
where it knows of none, nothing is expected.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from elastic_deploy.core.explain import FAILURES_TOLD
from elastic_deploy.core.launches import launch_said
from elastic_deploy.core.ledger import Ledger
from elastic_deploy.core.steps import STARTING, Kind, Track
from elastic_deploy.core.waiting_cost import unserved
from elastic_deploy.model.memory import Memory
from elastic_deploy.model.snapshot import LaunchFailure, LaunchOutcome, NodeState, Snapshot

_StepKey = tuple[Kind, str, str]
_LASTING = ("placed", "ready", "draining", "ending")
"""Steps that take as long as something else wants: what they took tells nothing of the next."""


def lengths(tracks: Iterable[Track]) -> dict[_StepKey, list[float]]:
    """Seconds that each step took, by what, node type and step. What was cut short is left out."""
    found: dict[_StepKey, list[float]] = defaultdict(list)
    for track in tracks:
        for step in track.steps:
            if step.passed and step.until is not None and step.name not in _LASTING:
                found[track.kind, track.node_type, step.name].append(step.until - step.since)
    return dict(found)


def expected(past: Mapping[_StepKey, Sequence[float]], track: Track, step: str) -> dict[str, Any] | None:
    """What the past lets one expect of a track's step, in seconds; None where it knows of none."""
    took = past.get((track.kind, track.node_type, step))
    if not took:
        return None
    return {"median": round(median(took), 3), "worst": round(max(took), 3), "times": len(took)}


def ledger_document(
    tracks: Sequence[Track],
    ledger: Ledger,
    memory: Memory,
    snapshot: Snapshot,
    prices: Mapping[str, float],
    now: float,
) -> list[dict[str, Any]]:
    """An entry for each node that is there or on its way, each launch that is being refused, and each replica.

    `prices` are in USD an hour, by node type.
    """
    past = lengths(tracks)
    here = {r.node.id for r in ledger.nodes if not r.node.is_head and r.node.state is not NodeState.DEAD}
    replicas = {f"{d.name}/{r.id}" for d in memory.deployments for r in d.replicas}
    held = {r.node.id: tuple(f"{g.deployment}/{g.replica}" for g in r.holds) for r in ledger.nodes}
    # A name comes back with the next node that is asked for, or the next life: the latest track is meant.
    latest = {(track.kind, track.name): track for track in tracks}
    nodes = [t for t in latest.values() if t.kind is Kind.NODE and t.name in here]
    ours = {track.name: track for track in latest.values() if track.kind is Kind.REPLICA}
    entries = [
        _entry(track, past, held.get(track.name, ())) | _cost(unserved(track, ours, now), prices.get(track.node_type))
        for track in nodes
    ]
    entries += _refused(snapshot, {track.node_type for track in nodes if track.steps[-1].name == "asked"})
    entries += [_entry(t, past, ()) for t in ours.values() if t.name in replicas]
    return entries


def _cost(seconds: float, usd_per_hour: float | None) -> dict[str, Any]:
    """What a node has cost while it served nobody; no dollars where its price is not known."""
    usd = None if usd_per_hour is None else round(seconds / 3600 * usd_per_hour, 4)
    return {"unserved": {"seconds": round(seconds, 3), "usd": usd}}


def _entry(track: Track, past: Mapping[_StepKey, Sequence[float]], replicas: Sequence[str]) -> dict[str, Any]:
    steps = [
        {
            "step": step.name,
            "since": step.since,
            "seconds": None if step.until is None else round(step.until - step.since, 3),
            "expected": expected(past, track, step.name),
        }
        for step in track.steps
    ]
    refusals = track.refusals
    refused = None
    if refusals is not None:
        refused = {"at": refusals.at, "code": refusals.code, "message": refusals.message, "times": refusals.times}
    now = steps[-1]
    return {
        "what": track.kind.value,
        "id": track.name,
        "node_type": track.node_type,
        "replicas": [track.name] if track.kind is Kind.REPLICA else list(replicas),
        "step": now["step"],
        "since": now["since"],
        "expected": now["expected"],
        "then": _then(past, track, track.steps[-1].name),
        "refused": refused,
        "unserved": None,
        "steps": steps,
    }


def _then(past: Mapping[_StepKey, Sequence[float]], track: Track, step: str) -> float:
    """Seconds that the steps after this one are expected to take until the replica serves, as far as they are known."""
    if step not in STARTING:
        return 0.0
    after = [expected(past, track, each) for each in STARTING[STARTING.index(step) + 1 :]]
    return round(sum(float(each["median"]) for each in after if each is not None), 3)


def _refused(snapshot: Snapshot, asked: set[str]) -> list[dict[str, Any]]:
    """The launches that the cloud refuses and of which no node is seen as asked for at the moment."""
    kinds: dict[str, list[LaunchFailure]] = defaultdict(list)
    for failure in sorted(snapshot.launch_failures, key=lambda f: f.at):
        kinds[failure.node_type].append(failure)
    entries = []
    for node_type, failures in kinds.items():
        last = failures[-1]
        settled = last.outcome in (LaunchOutcome.ELSEWHERE, LaunchOutcome.RETRYING)
        if node_type in asked or settled or snapshot.at - last.at > FAILURES_TOLD:
            continue
        words = {"at": last.at, "code": last.code, "message": f"{launch_said(last)}.", "times": len(failures)}
        step = {"step": "refused", "since": failures[0].at, "seconds": None, "expected": None}
        entries.append(
            {
                "what": Kind.NODE.value,
                "id": "",
                "node_type": node_type,
                "replicas": [],
                "step": "refused",
                "since": failures[0].at,
                "expected": None,
                "then": 0.0,
                "refused": words,
                "unserved": None,
                "steps": [step],
            }
        )
    return entries
