"""The sentences of Ray's that we read stand in its sources as we know them: a new Ray that changes one is noticed."""

import inspect
from types import ModuleType

import pytest
from ray.autoscaler._private import constants, log_timer, updater
from ray.autoscaler._private.aws import node_provider as aws
from ray.autoscaler.v2.instance_manager import common, node_provider, reconciler
from ray.autoscaler.v2.instance_manager.subscribers import threaded_ray_installer

from elastic_deploy.core.launches import SETUP_ATTEMPTS, SSH_LIMIT

SENTENCES = [
    (node_provider, '"Launching {} nodes of type {}."'),
    (node_provider, '"Launched {} nodes of type {}."'),
    (node_provider, '"Failed to launch {} nodes of type {}: {}"'),
    (aws, '"create_instances: Attempt failed with {}, retrying."'),
    (aws, '"Launched instance {}"'),
    (aws, '"Set tag {}={} on {}"'),
    (common, 'f"Update instance "'),
    (reconciler, "allocated unassigned cloud instance"),
    (threaded_ray_installer, "Ray installation failed on instance {instance.cloud_instance_id}: {e}"),
    (updater, '"NodeUpdater: {}: "'),
    (updater, '"Got remote shell"'),
    (updater, '"Initialization commands"'),
    (updater, '"Setup commands"'),
    (updater, '"Ray start commands"'),
    (updater, '"Error message: {}"'),
    (log_timer, "failed"),
]


@pytest.mark.parametrize(("module", "sentence"), SENTENCES, ids=[sentence for _, sentence in SENTENCES])
def test_a_sentence_that_we_read_is_still_written(module: ModuleType, sentence: str) -> None:
    assert sentence in inspect.getsource(module)


def test_what_we_say_of_rays_patience_is_so() -> None:
    attempts = inspect.signature(threaded_ray_installer.ThreadedRayInstaller).parameters["max_install_attempts"]
    assert attempts.default == SETUP_ATTEMPTS
    assert constants.AUTOSCALER_NODE_START_WAIT_S == SSH_LIMIT
