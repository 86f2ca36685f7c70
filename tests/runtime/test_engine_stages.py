"""The listener in vLLM's processes: where it listens, what it publishes, and that it never harms the engine."""

import logging
from collections.abc import Iterator

import pytest

from elastic_deploy.model.names import ENGINE_MARK, EngineName
from elastic_deploy.model.snapshot import EngineStage
from elastic_deploy.runtime import engine_record
from elastic_deploy.runtime.engine_stages import StageListener, install

NAME = EngineName("chat", "r0", 3)


@pytest.fixture
def vllm() -> Iterator[logging.Logger]:
    """vLLM's logger, as it is before the plugin."""
    logger = logging.getLogger("vllm")
    before, level = list(logger.handlers), logger.level
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers[:] = before
    logger.setLevel(level)


def listeners(logger: logging.Logger) -> list[logging.Handler]:
    return [handler for handler in logger.handlers if isinstance(handler, StageListener)]


@pytest.mark.parametrize("mark", ["", "somebody's own"])
def test_an_engine_that_is_not_ours_is_left_alone(
    vllm: logging.Logger, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENGINE_MARK, mark)
    install()
    assert listeners(vllm) == []


def test_each_stage_is_published_once_and_a_failure_is_none_of_the_engines(
    vllm: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[tuple[EngineName, EngineStage]] = []

    def put(name: EngineName, stage: EngineStage) -> None:
        published.append((name, stage))
        raise ConnectionError("the control store is gone")

    monkeypatch.setattr(engine_record, "put_stage", put)
    monkeypatch.setenv(ENGINE_MARK, str(NAME))
    install()
    install()
    assert len(listeners(vllm)) == 1
    worker = logging.getLogger("vllm.v1.worker.gpu_model_runner")
    worker.info("Starting to load model %s...", "/models/tiny")
    worker.info("Starting to load model %s...", "/models/tiny")
    worker.info("Loading weights took %.2f seconds", 0.5)
    worker.info("init engine (profile, create kv cache, warmup model) took %.2f s", 0.4)
    assert published == [(NAME, EngineStage.WEIGHTS), (NAME, EngineStage.ENGINE)]
