"""Names of clusters that `generate` accepts. Pure."""

import re

from elastic_deploy.model.errors import InvalidConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,48}")
"""A directory's name (as `cluster.config` wants), and short enough for a role: IAM's limit is 64, our prefix 15."""


def check_cluster_name(name: str) -> None:
    """Raise InvalidConfigError (exit 3) for a name that no cluster can have."""
    if not _NAME.fullmatch(name):
        raise InvalidConfigError(
            f"{name!r} cannot name a cluster: use 1 to 49 letters, digits, dots, dashes and underscores, the first a"
            " letter or digit."
        )
