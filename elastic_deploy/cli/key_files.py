"""Where the keys of deployments lie on the user's machine, 0600. Used by `up`, `status` and `keys`; never printed.

`<deployment>` holds the key that this machine uses, the one that `up` was handed or `rotate` made; `<deployment>.<id>`
holds one that `keys add` made for somebody else. No deployment's name has a dot in it.
"""

from pathlib import Path
from typing import Any

from elastic_deploy.cluster.teardown import KEYS
from elastic_deploy.model.client_keys import key_id
from elastic_deploy.model.home import cluster_dir, write_private


def key_path(cluster: str, deployment: str, added: str = "") -> Path:
    """The file that holds the key, or the one that was `added` under this id (it need not exist)."""
    return cluster_dir(cluster) / KEYS / (f"{deployment}.{added}" if added else deployment)


def keep_key(cluster: str, deployment: str, key: str, added: str = "") -> Path:
    """Write the key down, and return where."""
    path = key_path(cluster, deployment, added)
    write_private(path, f"{key}\n")
    return path


def kept_id(cluster: str, deployment: str, added: str = "") -> str:
    """The id of the key in its file, "" where there is none."""
    try:
        key = key_path(cluster, deployment, added).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return key_id(key) if key else ""


def with_key_file(cluster: str, deployment: dict[str, Any]) -> dict[str, Any]:
    """A deployment of a status document that names its key's file, if that is on this machine."""
    path = key_path(cluster, deployment["name"])
    return {**deployment, "api_key_file": str(path) if path.exists() else ""}


def with_key_files(document: dict[str, Any]) -> dict[str, Any]:
    """A status document that names the key files which are on this machine."""
    cluster = document["cluster"]["name"]
    return {**document, "deployments": [with_key_file(cluster, each) for each in document["deployments"]]}
