"""Tells how far an engine's start is, from within: a plugin that vLLM loads in every process, on every node.

By the entry point in pyproject.toml, in whatever vLLM runs where elastic-deploy is installed; where it is no engine of
ours it does nothing. It listens to what vLLM logs in that process, since a worker's log is on the worker's node, and
publishes each stage once, for the observer.
"""

import logging
import os

from elastic_deploy.core.engine_stage import stage_told
from elastic_deploy.model.names import ENGINE_MARK, EngineName


def install() -> None:
    """Listen to vLLM's log in this process, if it is an engine's."""
    name = EngineName.parse(os.environ.get(ENGINE_MARK, ""))
    logger = logging.getLogger("vllm")
    # vLLM loads its plugins more than once in some processes.
    if name is not None and not any(isinstance(handler, StageListener) for handler in logger.handlers):
        logger.addHandler(StageListener(name))


class StageListener(logging.Handler):
    """Publishes each stage that is logged, once a process. What goes wrong here is no reason for an engine to fail."""

    def __init__(self, name: EngineName) -> None:
        super().__init__(logging.INFO)
        self._name = name
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Publish the stage that a record tells of, if it is new."""
        try:
            stage = stage_told(record.getMessage())
            if stage is not None and stage not in self._told:
                self._told.add(stage)
                # Not before: it imports Ray, which a process of vLLM's that logs this has imported itself.
                from elastic_deploy.runtime.engine_record import put_stage

                put_stage(self._name, stage)
        except Exception:
            logging.getLogger(__name__).debug("a stage could not be published", exc_info=True)
