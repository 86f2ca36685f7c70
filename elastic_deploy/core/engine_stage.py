"""How far an engine's start is: read from the lines that vLLM logs on its way, and told when it has come further.

Pure; asked by `runtime.engine_stages` in each of vLLM's processes, and by `core.ledger`. The lines are those of vLLM
0.32 (`tests/core/test_engine_stage.py` names the files). Another version may word them otherwise: then nothing is known
of the stage, and nothing said.
"""

import re

from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.names import EngineName
from elastic_deploy.model.snapshot import EngineStage, EngineState, Snapshot

Stages = tuple[tuple[EngineName, EngineStage], ...]

_WEIGHTS = ("Starting to load model ", "Loading model from scratch...")
"""A worker begins with its part of the weights: with the first of them the stage begins. The second is the newer model
runner's, which vLLM takes on GPUs unless told otherwise."""

_ENGINE = re.compile(r"Using \S+ KV cache layout\.|\S+( \+ host)? KV cache size: |init engine \(")
"""The engine core says each of these only after all workers have their weights: it has waited for every one of them,
and goes on to the memory for the cache, to compiling and to warming up."""


def stage_told(line: str) -> EngineStage | None:
    """The stage that begins with a line of vLLM's; None where it tells of none."""
    if line.startswith(_WEIGHTS):
        return EngineStage.WEIGHTS
    return EngineStage.ENGINE if _ENGINE.match(line) else None


_WORDS = {
    EngineStage.WEIGHTS: ("engine.weights", "loads its weights"),
    EngineStage.ENGINE: ("engine.warming", "has its weights, and is made ready"),
}


def stage_news(before: Stages, snapshot: Snapshot) -> tuple[Stages, list[EventDraft]]:
    """How far the starts of the engines that run have come, and an event for each that has come further."""
    if snapshot.engines.value is None:
        return before, []
    told = dict(before)
    found = {e.name: e.stage for e in snapshot.engines.value if e.stage is not None and e.state is EngineState.RUNNING}
    events = [_event(name, stage) for name, stage in found.items() if told.get(name) is not stage]
    return tuple(sorted(found.items())), events


def _event(name: EngineName, stage: EngineStage) -> EventDraft:
    kind, words = _WORDS[stage]
    message = f"{name} {words}."
    return EventDraft(kind, message, name.deployment, name.replica, subject=str(name), because=str(name))
