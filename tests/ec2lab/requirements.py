"""What a machine needs to carry a lab, and what to do where it is missing."""

import os
import shutil
import subprocess
from collections.abc import Mapping

PACKAGES = {
    "ip": "iproute2",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "rsync": "rsync",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "pivot_root": "util-linux",
}
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TRIAL = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]


def missing() -> list[str]:
    """A sentence for each thing that is not here; empty when a lab can start."""
    if os.geteuid() != 0:
        return ["The lab makes namespaces and mounts: it has to run as root."]
    absent = [name for name in PACKAGES if not shutil.which(name, path=SEARCHED)]
    if absent:
        packages = " ".join(sorted({PACKAGES[name] for name in absent}))
        return [f"There is no {', '.join(absent)} here: apt-get install {packages}"]
    layers = "lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w"
    script = f"mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w && mount -t overlay o -o {layers} /mnt"
    tried = subprocess.run([*TRIAL, script], capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode:
        return [f"This machine does not let us make namespaces with a file system of their own: {tried.stderr.strip()}"]
    return []


def absent_is_failure(environment: Mapping[str, str]) -> bool:
    """Whether a missing lab fails the tests (in CI, where the test command installs it) or only skips them."""
    return environment.get("CI", "").lower() not in ("", "0", "false")
