"""Reads a cluster YAML: the file that `ray up` takes, checked far enough that `ray up` will take it too.

Called by every command that names a cluster, before anything is started. It does not import Ray, ask a cloud, or
change what it read.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic_deploy.cluster.capacity import read_capacity
from elastic_deploy.cluster.config_schema import check_schema, unknown_key
from elastic_deploy.cluster.settings import read_settings
from elastic_deploy.cluster.yaml_source import Source, read
from elastic_deploy.model.shape import Capacity
from elastic_deploy.planning.settings import Settings

LOCAL_PROVIDER = "elastic_deploy.cluster.local.provider.LocalNodeProvider"
"""`provider.module` of clusters whose nodes are processes on this machine."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""A cluster's name is a directory here, and part of tags and file names in clouds: 63 is the tightest limit of those
(a GCP label)."""

_PROVIDERS = ("aws", "gcp", "azure", "vsphere", "external")
"""The providers of ray 2.60 that launch nodes on demand from a YAML (`autoscaler/_private/providers.py`) and whose
defaults Ray ships."""

_NO_DEFAULTS = {
    "setup_commands": "[]",
    "head_setup_commands": "[]",
    "worker_setup_commands": "[]",
    "initialization_commands": "[]",
    "head_start_ray_commands": "[...]",
    "worker_start_ray_commands": "[...]",
    "file_mounts": "{}",
    "cluster_synced_files": "[]",
}
"""Keys without which `ray up` fails with a KeyError where the provider is external, and an example of each."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """A cluster YAML that has been checked.

    `raw` is what `ray up` would read, untouched. `provider_kind` is `local` for nodes that are processes on this
    machine, else Ray's provider type.
    """

    path: Path
    raw: dict[str, Any]
    name: str
    provider_type: str
    provider_kind: str
    capacity: Capacity
    settings: Settings


def load_cluster(path: Path) -> ClusterConfig:
    """Read and check the cluster YAML at `path`.

    Raises InvalidConfigError (exit 3), which names the file, the line, the key, the reason and the mend.
    """
    source = read(path)
    _require_launches(source)
    check_schema(source)
    name = _name(source)
    provider_type, provider_kind = _provider(source)
    return ClusterConfig(
        path=path,
        raw=source.raw,
        name=name,
        provider_type=provider_type,
        provider_kind=provider_kind,
        capacity=read_capacity(source, provider_type),
        settings=read_settings(source),
    )


def _name(source: Source) -> str:
    name = str(source.raw["cluster_name"])
    if not _NAME.fullmatch(name):
        raise source.error(
            ("cluster_name",),
            f"{name!r} cannot be a directory's name",
            "Use 1 to 63 letters, digits, dots, dashes and underscores, the first a letter or digit",
        )
    return name


def _require_launches(source: Source) -> None:
    # Before the schema, to which the other keys of such a file are unknown: they are not what is wrong with it.
    provider = source.raw.get("provider")
    if isinstance(provider, dict) and provider.get("type") == "local":
        raise source.error(
            ("provider", "type"),
            "local is Ray's own provider for machines that already run, and launches none",
            "Start those machines with `ray up` alone, as the header of cluster-templates/onprem-ssh.yaml says; for"
            " nodes as processes on this machine, take the provider block of cluster-templates/local.yaml",
        )


def _provider(source: Source) -> tuple[str, str]:
    provider = source.raw["provider"]
    kind = provider["type"]
    if kind not in _PROVIDERS:
        _, mend = unknown_key(kind, _PROVIDERS)
        raise source.error(("provider", "type"), f"{kind!r} is no provider that can launch nodes from here", mend)
    if kind == "aws" and not provider.get("region"):
        raise source.error(("provider",), "region is missing", "Write one, such as `region: us-west-2`")
    _docker(source)
    if kind != "external":
        return kind, kind
    module = provider.get("module")
    if not module:
        raise source.error(("provider",), "module is missing", "Name the provider's class: `module: package.Class`")
    for key, example in _NO_DEFAULTS.items():
        if key not in source.raw:
            raise source.error(
                (key,), "is missing, and Ray has no default for external providers", f"Write `{key}: {example}`"
            )
    return kind, "local" if module == LOCAL_PROVIDER else kind


def _docker(source: Source) -> None:
    docker = source.raw.get("docker") or {}
    image = docker.get("image") or (docker.get("head_image") and docker.get("worker_image"))
    if bool(docker.get("container_name")) != bool(image) and (image or docker.get("container_name")):
        raise source.error(("docker",), "Ray needs an image and a container_name, or neither", "Write both")
