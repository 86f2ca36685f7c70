"""The Ray token of a cluster whose YAML mounts it on the nodes: made before the first launch, never shown.

`generate` writes such YAMLs. With RAY_AUTH_MODE=token Ray refuses whoever does not have the token; `ray up` carries
none by itself.
"""

import secrets
from pathlib import Path

from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.model.home import cluster_dir, write_private

TOKEN = "ray-token"
"""Its file below the cluster's directory."""


def token_path(cluster_name: str) -> Path:
    """Where the cluster's token lies on this machine, if it has one."""
    return cluster_dir(cluster_name) / TOKEN


def mounts_token(config: ClusterConfig) -> bool:
    """Whether the YAML carries the token from where we keep it to the nodes."""
    mounted = (config.raw.get("file_mounts") or {}).values()
    return token_path(config.name) in [Path(str(source)).expanduser().absolute() for source in mounted]


def lacks_token(config: ClusterConfig) -> bool:
    """Whether the YAML mounts a token that is not on this machine."""
    return mounts_token(config) and not token_path(config.name).exists()


def make_token(config: ClusterConfig) -> bool:
    """Make the token where the YAML wants one and none is there; whether one was made."""
    if not lacks_token(config):
        return False
    write_private(token_path(config.name), secrets.token_hex(32))
    return True
