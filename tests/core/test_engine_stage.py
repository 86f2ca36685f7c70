"""How far an engine's start is: the lines of vLLM's that tell it, and what is made of them."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from elastic_deploy.core.engine_stage import stage_told
from elastic_deploy.core.explain import reason
from elastic_deploy.core.ledger import Ledger, advance
from elastic_deploy.core.steps import STARTING, tracks_of
from elastic_deploy.model.snapshot import EngineStage, EngineState, Reading

from .scenes import NOW, SPEC, deployment, engine, group, running, snapshot

WEIGHTS, ENGINE = EngineStage

LINES: dict[str, EngineStage | None] = {
    "Starting to load model /models/tiny...": WEIGHTS,
    "Loading model from scratch...": WEIGHTS,
    "Loading weights took 0.02 seconds": None,
    "Model loading took 3.52 GiB memory and 12.112358 seconds": None,
    "Using LBHNC KV cache layout.": ENGINE,
    "CPU KV cache size: 16,384 tokens, Maximum concurrency for 2,048 tokens per request: 8.00x": ENGINE,
    "GPU KV cache size: 310,672 tokens, Maximum concurrency for 8,192 tokens per request: 37.92x": ENGINE,
    "GPU + host KV cache size: 310,672 tokens, Maximum concurrency for 8,192 tokens per request: 37.92x": ENGINE,
    "init engine (profile, create kv cache, warmup model) took 0.46 s": ENGINE,
    "Using max model len 2048": None,
    "Using the existing placement group": None,
    "Initializing a V1 LLM engine (v0.32.0) with config: model='/models/tiny'": None,
}


@pytest.mark.parametrize("line", LINES)
def test_the_lines_that_tell_a_stage(line: str) -> None:
    assert stage_told(line) is LINES[line]


SOURCES = {
    "v1/worker/cpu_model_runner.py": "Starting to load model %s...",
    "v1/worker/gpu_model_runner.py": "Starting to load model %s...",
    "v1/worker/gpu/model_runner.py": "Loading model from scratch...",
    "v1/attention/backends/utils.py": "Using %s KV cache layout.",
    "v1/core/kv_cache_utils.py": "%s KV cache size: ",
    "v1/engine/core.py": "init engine (",
}


@pytest.mark.parametrize("file", SOURCES)
def test_the_lines_are_those_of_the_vllm_that_is_installed(file: str) -> None:
    """The runners for GPUs are in the build for CPUs too, though nothing can run them there."""
    found = find_spec("vllm")
    assert found is not None
    assert found.submodule_search_locations
    assert f'"{SOURCES[file]}' in (Path(found.submodule_search_locations[0]) / file).read_text()
    assert stage_told(SOURCES[file].replace("%s", "X")) is not None


def kinds(*stages: EngineStage | None) -> list[str]:
    """What is told of an engine that is seen in these stages, one after the other."""
    ledger, told = Ledger(), []
    for stage in stages:
        ledger, events = advance(ledger, snapshot((group(),), (engine(stage=stage),)))
        told += [event.kind for event in events if event.kind.startswith("engine.")]
    return told


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ((None, None), []),
        ((None, WEIGHTS, WEIGHTS, ENGINE, ENGINE), ["engine.weights", "engine.warming"]),
        ((None, ENGINE), ["engine.warming"]),
    ],
)
def test_each_stage_is_told_once(stages: tuple[EngineStage | None, ...], expected: list[str]) -> None:
    assert kinds(*stages) == expected


def test_the_next_engine_tells_its_own_and_what_is_not_seen_changes_nothing() -> None:
    ledger, _ = advance(Ledger(), snapshot((group(),), (engine(stage=ENGINE),)))
    unknown = replace(snapshot(), engines=Reading(NOW, error="no answer within 15 s"))
    assert advance(ledger, unknown)[0].stages == ledger.stages
    ended, events = advance(ledger, snapshot((group(),), (engine(state=EngineState.ENDED, stage=ENGINE),)))
    assert (ended.stages, [e for e in events if e.kind.startswith("engine.")]) == ((), [])
    _, events = advance(ended, snapshot((group(),), (engine(2, stage=WEIGHTS),)))
    assert [event.message for event in events] == ["engine/chat/r0/g2 loads its weights."]


def event(number: int, kind: str) -> dict[str, object]:
    return {
        "id": f"{number}",
        "time": float(number),
        "kind": kind,
        "deployment": "chat",
        "replica": "r0",
        "message": "",
    }


@pytest.mark.parametrize(
    ("told", "steps"),
    [
        (["starting", "weights", "warming", "ready"], [*STARTING, "ready"]),
        (["starting", "ready"], ["starting", "ready"]),
        (["starting", "warming", "ready"], ["starting", "engine", "ready"]),
        (["starting", "ready", "warming"], ["starting", "ready"]),
        (["starting", "weights", "failed", "weights"], ["starting", "weights", "pausing"]),
        (["warming"], []),
    ],
)
def test_the_steps_of_a_start(told: list[str], steps: list[str]) -> None:
    found = tracks_of(event(number, f"engine.{kind}") for number, kind in enumerate(told, start=1))
    assert [step.name for track in found for step in track.steps] == steps


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (None, "20s ago and has not generated yet"),
        (WEIGHTS, "20s ago and loads its weights"),
        (ENGINE, "20s ago and has its weights, but has not generated yet"),
    ],
)
def test_the_reason_says_how_far_it_is(stage: EngineStage | None, words: str) -> None:
    seen = snapshot((group(),), (engine(stage=stage),))
    assert words in reason(SPEC, deployment(running(), phase="starting"), seen, NOW)
