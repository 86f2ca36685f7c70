"""Looks at the files of this machine that a launch uses: the private key, and the sources of `file_mounts`."""

import subprocess
from pathlib import Path

from elastic_deploy.cluster.aws.preflight.facts import NOT_ASKED, FileFact, Unknown
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.ray_token import lacks_token, token_path

_BITS = 0o777
_LIMIT_S = 10.0


def file_fact(written: str) -> FileFact:
    """Whether the file is there, and its permissions."""
    try:
        return FileFact(True, Path(written).expanduser().stat().st_mode & _BITS)
    except OSError:
        return FileFact(False)


def mounts(config: ClusterConfig) -> dict[str, FileFact]:
    """The sources of `file_mounts`, as they are written, but for a token that `up` is going to make."""
    written = [str(each) for each in (config.raw.get("file_mounts") or {}).values()]
    made = token_path(config.name) if lacks_token(config) else None
    return {each: file_fact(each) for each in written if Path(each).expanduser().absolute() != made}


def public_key(private_key: str) -> str | Unknown:
    """The public half of a private key, its kind and body as `ssh-keygen -y` prints them."""
    if not private_key:
        return NOT_ASKED
    path = str(Path(private_key).expanduser())
    try:
        # With an empty passphrase: one that has another is refused at once, rather than asked for.
        done = subprocess.run(
            ["ssh-keygen", "-y", "-P", "", "-f", path], capture_output=True, text=True, timeout=_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Unknown(f"ssh-keygen could not be run ({error})")
    if done.returncode:
        return Unknown(f"ssh-keygen cannot read {private_key} ({' '.join(done.stderr.split())[-200:]})")
    return without_comment(done.stdout)


def without_comment(line: str) -> str:
    """Kind and body of a public key in OpenSSH's format."""
    return " ".join(line.split()[:2])
