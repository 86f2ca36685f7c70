"""The rehearsal engine: real vLLM, built for CPUs, serving through Ray on nodes whose GPU is only a number.

vLLM itself calls `platform_plugin`, by the entry point in pyproject.toml, in every process that it starts on any
machine where elastic-deploy is installed. So importing this package imports nothing but `os`, and the plugin answers
at once wherever no rehearsal was asked for. It must not know about clusters, deployments or the supervisor.

How vLLM chooses (vllm/platforms/__init__.py, 0.32): it asks its own plugins and those of others. An answer from
outside beats vLLM's own, two from outside are an error, and where `VLLM_TARGET_DEVICE=cpu` is set nobody is asked,
so a rehearsal must leave that unset.
"""

import os

REHEARSAL_VARIABLE = "ELASTIC_DEPLOY_REHEARSAL"
"""Set to 1 in an engine's environment, this asks for the rehearsal engine."""


def platform_plugin() -> str | None:
    """The name of the platform class that vLLM shall use, or None to leave the choice to vLLM.

    A rehearsal that was asked for and cannot be had is said in the log, for vLLM alone would then only say that its
    platform does not support Ray.
    """
    if os.environ.get(REHEARSAL_VARIABLE) != "1":
        return None
    import logging

    from elastic_deploy.rehearsal.activation import observe, refusal

    reason = refusal(observe())
    if reason is not None:
        logging.getLogger(__name__).warning(reason)
        return None
    return "elastic_deploy.rehearsal.platform.RehearsalPlatform"
