"""What `explain` tells of a deployment: what it waits for, what was tried, what comes next, what a user can do.

Pure, from the status document and the journal's events, so that a supervisor of another version is explained too. The
sentence of `core.explain` is the document's `reason`; here is what stands around it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elastic_deploy.core.refusals import mend, other_zones
from elastic_deploy.core.steps import ON_THE_WAY, STARTING
from elastic_deploy.core.tally import counted
from elastic_deploy.model.duration import clock, format_duration

_WAITING = ("waiting", "starting", "recovering", "degraded")
_DOING = {
    "asked": "the cloud's answer is awaited",
    "launching": "the cloud launches it",
    "ssh": "it boots, and its SSH is awaited",
    "files": "it gets its files",
    "setup": "its set-up commands run",
    "joined": "it has joined, and waits for the rest of its replica's nodes",
    "gathering": "its GPUs are waited for together",
    "resting": "no pool is to be asked for its GPUs at the moment",
    "clearing": "what is left of its last engine is ended",
    "starting": "its engine starts",
    "weights": "its engine loads the weights",
    "engine": "its engine has the weights, and is made ready",
    "adopted": "its engine was found running, and its first generation is awaited",
    "pausing": "its engine failed, and the next start is put off",
    "draining": "it finishes what it was asked",
}
_TRIED = {
    "launch.failed": "a refusal of launches was told",
    "launch.partial": "a launch brought fewer nodes than were asked for",
    "launch.elsewhere": "a launch was refused in one zone and came in another",
    "autoscaler.refused": "the autoscaler could not ask the cloud",
    "node.setup_failed": "a node's set-up failed",
    "node.given_up": "a node was given up",
    "node.withdrawn": "a node that was on its way never came",
    "node.lost": "a node was lost",
    "engine.failed": "an engine failed",
    "rollout.failed": "a change was given up",
    "pool.left": "a pool was left",
    "deployment.lowered": "a smaller shape was taken",
}
_TRIED_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Outlook:
    """One deployment, each part in sentences; `next_at` is when something is to happen at the latest, if that is known.

    `gpu_hours` is what its nodes have been there for, times their GPUs: what they cost is in the cloud's price list.
    """

    deployment: str
    phase: str
    since: float | None
    waits_for: tuple[str, ...]
    tried: tuple[str, ...]
    comes_next: tuple[str, ...]
    next_at: float | None
    you_could: tuple[str, ...]
    holds: str
    gpus: int
    nodes: int
    gpu_hours: float

    @property
    def text(self) -> str:
        """All of it, as a paragraph."""
        return " ".join((*self.waits_for, *self.tried, *self.comes_next, *self.you_could, self.holds))


def outlook(
    deployment: Mapping[str, Any], document: Mapping[str, Any], events: Iterable[Mapping[str, Any]], now: float
) -> Outlook:
    """What is to be told of one deployment of a status document."""
    name, phase, since = str(deployment["name"]), str(deployment["phase"]), deployment.get("since")
    ledger = [entry for entry in document.get("ledger", ()) if _concerns(entry, name)]
    waits = phase in _WAITING
    # The phase's own event is written after what led to it, at the same time.
    recent = [e for e in events if since is not None and e["time"] >= since and e.get("deployment") in (None, name)]
    holds, gpus, nodes, hours = _holding(deployment, document, now)
    return Outlook(
        deployment=name,
        phase=phase,
        since=since,
        waits_for=(_where(name, phase, since, now), str(deployment["reason"]), *(_steps(ledger, now) if waits else ())),
        tried=_tried(recent, str(deployment["reason"]), now) if waits or phase == "failed" else (),
        comes_next=_next(deployment, ledger, now),
        next_at=_next_at(deployment, ledger, now),
        you_could=_could(deployment, ledger),
        holds=f"{holds}{_waiting_cost(ledger)}",
        gpus=gpus,
        nodes=nodes,
        gpu_hours=hours,
    )


def _concerns(entry: Mapping[str, Any], name: str) -> bool:
    """Whether an entry of the ledger is this deployment's, or nobody's yet."""
    owners = [str(replica).split("/")[0] for replica in entry["replicas"]]
    return not owners or name in owners


def _where(name: str, phase: str, since: float | None, now: float) -> str:
    word = "serving" if phase == "ready" else phase
    return f"{name} is {word}." if since is None else f"{name} is {word} since {clock(since)}, for {_ago(since, now)}."


def _ago(then: float, now: float) -> str:
    return format_duration(max(0.0, now - then))


def _steps(ledger: Sequence[Mapping[str, Any]], now: float) -> tuple[str, ...]:
    """In which step each node and replica on its way is, and how that compares with before."""
    sentences = []
    for entry in ledger:
        doing = _DOING.get(entry["step"])
        if doing is None or entry["step"] == "gathering":
            continue  # at rest, refused, or told by the reason
        who = f"Node {entry['id']}" if entry["what"] == "node" else f"Replica {entry['id']}"
        sentences.append(f"{who}: {doing}, for {_ago(entry['since'], now)} so far{_usual(entry, now)}.")
    shown = sentences[:_TRIED_SHOWN]
    more = len(sentences) - len(shown)
    return (*shown, f"{more} more are on their way.") if more else tuple(shown)


def _usual(entry: Mapping[str, Any], now: float) -> str:
    expected = entry["expected"]
    if expected is None:
        return ", and this cluster's journal does not know how long that takes"
    late = now - entry["since"] > expected["worst"]
    than = ", which is longer than ever before" if late else ""
    middle, worst = format_duration(expected["median"]), format_duration(expected["worst"])
    return f" (before: {middle} in the middle, {worst} at the longest){than}"


def _tried(events: Sequence[Mapping[str, Any]], reason: str, now: float) -> tuple[str, ...]:
    """What was tried in vain in this phase: how often each kind, and the latest in its own words."""
    failures = [event for event in events if event["kind"] in _TRIED]
    if not failures:
        return ()
    kinds = Counter(event["kind"] for event in failures)
    told = ", ".join(f"{_TRIED[kind]} {counted(n, 'time')}" for kind, n in kinds.most_common(_TRIED_SHOWN))
    last = failures[-1]
    if last["kind"].startswith("launch.") and " refused " in reason:
        return (f"So far {told}.",)  # the reason has its words already
    return f"So far {told}.", f"The latest, {_ago(last['time'], now)} ago: {last['message']}"


def _next(deployment: Mapping[str, Any], ledger: Sequence[Mapping[str, Any]], now: float) -> tuple[str, ...]:
    phase, deadline = deployment["phase"], deployment.get("deadline")
    if phase == "stopped":
        return ("Nothing more is tried.",)
    if phase == "failed":
        return ("Nothing more is tried until it is applied again.",)
    if phase == "ready":
        return ("Its nodes and its engine are watched; a node that is lost is asked for again by itself.",)
    sentences = []
    at = _next_at(deployment, ledger, now)
    steps = {entry["step"] for entry in ledger}
    soon = f", at about {clock(at)} if it takes as long as before" if at is not None and at != deadline else ""
    if steps & set(ON_THE_WAY):
        sentences.append(f"Next, the nodes on their way join{soon}; when all of a replica's are there, Ray places it.")
    elif steps & {*STARTING, "adopted"}:
        sentences.append(f"Next, the engine generates, and requests go to it{soon}.")
    elif "pausing" in steps:
        sentences.append("Next, another engine is started when its pause is over.")
    elif "clearing" in steps:
        sentences.append("Next, the engine is started.")
    elif "resting" in steps:
        rests = [pool["rests_until"] for pool in deployment.get("pools", ()) if pool["rests_until"] is not None]
        when = f" at {clock(min(rests))}" if rests else ", when it has rested"
        sentences.append(f"Next, a pool is asked again{when}; nothing is asked for meanwhile.")
    else:
        sentences.append("The request stands: the autoscaler goes on asking the cloud every few seconds.")
    if deadline is not None:
        sentences.append(f"At {clock(deadline)}, in {_ago(now, deadline)}, the wait is given up.")
    elif phase in ("waiting", "recovering", "degraded"):
        sentences.append("The wait has no deadline.")
    return tuple(sentences)


def _next_at(deployment: Mapping[str, Any], ledger: Sequence[Mapping[str, Any]], now: float) -> float | None:
    """When the step that ends last is expected to be over, by its median; else the deadline."""
    deadline: float | None = deployment.get("deadline")
    under_way = [e for e in ledger if e["step"] in (*ON_THE_WAY, *STARTING) and e["expected"]]
    expected = [e["since"] + e["expected"]["median"] + e.get("then", 0.0) for e in under_way]
    coming = [at for at in expected if at > now]
    if deployment["phase"] not in _WAITING:
        return None
    return max(coming) if coming else deadline


def _could(deployment: Mapping[str, Any], ledger: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    phase = deployment["phase"]
    if phase in ("ready", "stopped"):
        return ()
    if phase == "failed":
        return ("You could mend what the reason names and run `up` again, or `down` to release what is held.",)
    sentences = []
    told: set[tuple[str, str]] = set()
    for entry in ledger:
        refused = entry["refused"]
        if not refused or entry["step"] not in ("asked", "refused"):
            continue
        advice = mend(refused["code"], refused["message"], other_zones(refused["message"]))
        if advice and (entry["node_type"], advice) not in told and advice not in deployment["reason"]:
            told.add((entry["node_type"], advice))
            sentences.append(f"{advice}")
    waits = any(entry["step"] in (*ON_THE_WAY, "refused", "gathering", "resting") for entry in ledger)
    if phase in ("starting", "degraded") and not waits:
        return (*sentences, "You could watch the engine with `elastic-deploy logs -f`.")
    choices = "You could wait, ask for fewer GPUs with `up --gpus`, or give up with `down`, which ends every node."
    return (*sentences, choices)


def _waiting_cost(ledger: Sequence[Mapping[str, Any]]) -> str:
    """What the nodes that are there have cost while they served nobody, as a sentence, where that is known."""
    costs = [unserved["usd"] for entry in ledger if (unserved := entry.get("unserved")) and unserved["usd"]]
    cost = f"{sum(costs):.2f}"
    return "" if cost == "0.00" else f" Nodes that are there have cost {cost} USD while they served nobody."


def _holding(deployment: Mapping[str, Any], document: Mapping[str, Any], now: float) -> tuple[str, int, int, float]:
    """What it holds, as a sentence; its GPUs placed, its nodes, and the GPU hours of these so far."""
    placed = int(deployment["gpus"]["placed"])
    ids = {node for replica in deployment["replicas"] for node in replica["nodes"]}
    nodes = [node for node in document["cluster"]["nodes"] if node["id"] in ids and node["state"] != "dead"]
    hours = sum(node["gpus"] * max(0.0, now - node["since"]) for node in nodes if node["since"]) / 3600
    free = [n for n in document["cluster"]["nodes"] if n["gpus"] and n["id"] not in ids and n["state"] == "joined"]
    beside = (
        f" {counted(len(free), 'GPU node')} beside {'is' if len(free) == 1 else 'are'} there and hold" if free else ""
    )
    beside += f"{'s' if len(free) == 1 else ''} nothing of it, which costs as much." if free else ""
    if not nodes:
        return f"It holds no GPU.{beside}", placed, 0, 0.0
    types = ", ".join(f"{n} x {type_}" for type_, n in sorted(Counter(node["type"] for node in nodes).items()))
    sentence = (
        f"It holds {counted(placed, 'GPU')} on {counted(len(nodes), 'node')} ({types}), {hours:.1f} GPU hours so far;"
        f" what an hour costs is in your cloud's price list.{beside}"
    )
    return sentence, placed, len(nodes), round(hours, 3)
