"""What a timeline shows: a row for each deployment, replica and node, bars for its steps, marks for what befell it.

Pure, from a journal's events; drawn by `cli.timeline_picture`, which knows of pixels and colours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from elastic_deploy.core.steps import Kind, Mark, Track, tracks_of
from elastic_deploy.model.phase import Phase

_CLOUD = (
    "launch.failed",
    "launch.partial",
    "launch.elsewhere",
    "autoscaler.refused",
    "autoscaler.lost",
    "request",
    "lease.ended",
)
"""What is nobody's in particular: what was asked of the cloud, and what it refused."""

_DECIDED = ("deployment.", "rollout.", "pool.")
"""What was decided over a deployment: its shape, its scale, its version, and where it asks."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One step, from when to when, in seconds since the epoch. `open_ended`: it still lasts at the journal's end."""

    step: str
    start: float
    end: float
    open_ended: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A replica's, a node's, or the cloud's row. `label` names it, `detail` says more of it."""

    kind: str
    label: str
    detail: str
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Rows between two times."""

    start: float
    end: float
    rows: tuple[Row, ...]


def latest_life(events: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The events since the cluster was last launched: each time its journal counts from one again."""
    began = 0
    for place in range(1, len(events)):
        if int(events[place]["id"]) <= int(events[place - 1]["id"]):
            began = place
    return events[began:]


def timeline_of(
    events: Sequence[Mapping[str, Any]], now: float | None = None, last: float | None = None
) -> Timeline | None:
    """What a journal's events tell; None where they tell of no time.

    `now` is the time for a cluster that runs, None for one that is gone: it ended with its journal. With `last`, the
    so many seconds before the end alone.
    """
    if not events:
        return None
    end = max(float(events[-1]["time"]), now or 0.0)
    start = float(events[0]["time"]) if last is None else max(float(events[0]["time"]), end - last)
    tracks = sorted(tracks_of(events), key=lambda t: (t.kind is Kind.NODE, t.since))
    deployments = _deployments(events, end, running=now is not None)
    rows = [_cloud(events), *deployments, *(_row(track, end, running=now is not None) for track in tracks)]
    cut = [_cut(row, start, end) for row in rows]
    return Timeline(start, end, tuple(row for row in cut if row.bars or row.marks))


def _cloud(events: Iterable[Mapping[str, Any]]) -> Row:
    marks = [Mark(float(e["time"]), e["kind"], str(e["message"])) for e in events if e["kind"] in _CLOUD]
    return Row("cloud", "cloud", "asked, and refused", (), tuple(marks))


def _deployments(events: Iterable[Mapping[str, Any]], end: float, *, running: bool) -> list[Row]:
    """A row for each deployment: its phases, and what was decided over it."""
    phases: dict[str, list[tuple[float, str]]] = {}
    marks: dict[str, list[Mark]] = {}
    for event in events:
        name, kind, at = str(event.get("deployment") or ""), str(event["kind"]), float(event["time"])
        if name and kind == "phase" and event.get("to"):
            phases.setdefault(name, []).append((at, str(event["to"])))
        elif name and kind.startswith(_DECIDED):
            marks.setdefault(name, []).append(Mark(at, kind, str(event["message"])))
    rows = []
    for name, steps in phases.items():
        untils = [*(at for at, _ in steps[1:]), end]
        last = len(steps) - 1
        bars = [
            Bar(phase, at, until, open_ended=running and place == last and phase != Phase.STOPPED)
            for place, ((at, phase), until) in enumerate(zip(steps, untils, strict=True))
        ]
        rows.append(Row("deployment", name, "deployment", tuple(bars), tuple(marks.get(name, ()))))
    return rows


def _row(track: Track, end: float, *, running: bool) -> Row:
    bars = []
    for step in track.steps:
        lasts = step.until is None
        until = end if step.until is None else step.until
        if lasts and step.name == "ending":
            until, lasts = step.since, False  # when the last of it is gone, no event tells
        bars.append(Bar(step.name, step.since, until, open_ended=lasts and running))
    detail = " ".join(filter(None, [track.node_type, *(f"for {name}" for name in track.replicas)]))
    return Row(track.kind.value, track.name, detail, tuple(bars), track.marks)


def _cut(row: Row, start: float, end: float) -> Row:
    bars = [
        replace(bar, start=max(start, bar.start), end=min(end, bar.end))
        for bar in row.bars
        if bar.end >= start and bar.start <= end
    ]
    return replace(row, bars=tuple(bars), marks=tuple(mark for mark in row.marks if start <= mark.at <= end))
