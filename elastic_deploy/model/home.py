"""Where things lie on the user's machine: `~/.elastic-deploy/<cluster name>/`, moved by ELASTIC_DEPLOY_HOME.

Every file there that is a secret is 0600 and every directory 0700. Nothing here is read by `core` or `planning`.
"""

import os
from pathlib import Path


def home() -> Path:
    """The root of everything that elastic-deploy keeps on this machine (an absolute path; it need not exist)."""
    return Path(os.environ.get("ELASTIC_DEPLOY_HOME") or Path.home() / ".elastic-deploy").expanduser().absolute()


def cluster_dir(cluster_name: str) -> Path:
    """The directory of one cluster (it need not exist)."""
    return home() / cluster_name


def private_dir(path: Path) -> Path:
    """Make `path` and its parents, readable by this user alone, and return it."""
    for part in [*reversed(path.parents), path]:
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` so that at no moment anyone else could read it, or anyone read half of it.

    On disk when this returns: after a power cut there is the old text or the new one.
    """
    private_dir(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
