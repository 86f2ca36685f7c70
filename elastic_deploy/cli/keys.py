"""Where a deployment's API key lies on the user's machine, 0600. Used by `up` and `status`; never printed."""

from pathlib import Path
from typing import Any

from elastic_deploy.cluster.teardown import KEYS
from elastic_deploy.model.home import cluster_dir, write_private


def key_path(cluster: str, deployment: str) -> Path:
    """The file that holds the key (it need not exist)."""
    return cluster_dir(cluster) / KEYS / deployment


def keep_key(cluster: str, deployment: str, key: str) -> Path:
    """Write the key down, and return where."""
    path = key_path(cluster, deployment)
    write_private(path, f"{key}\n")
    return path


def with_key_file(cluster: str, deployment: dict[str, Any]) -> dict[str, Any]:
    """A deployment of a status document that names its key's file, if that is on this machine."""
    path = key_path(cluster, deployment["name"])
    return {**deployment, "api_key_file": str(path) if path.exists() else ""}


def with_key_files(document: dict[str, Any]) -> dict[str, Any]:
    """A status document that names the key files which are on this machine."""
    cluster = document["cluster"]["name"]
    return {**document, "deployments": [with_key_file(cluster, each) for each in document["deployments"]]}
