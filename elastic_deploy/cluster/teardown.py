"""What stands of a cluster, and the proof that nothing does after it was taken down.

Called by `down`, and by `up` when it is given up. For nodes on this machine it looks at their processes and
directories; EC2 is asked by tag (`cluster.aws`), whatever Ray knows; for other clouds it takes Ray's word, which waits
until the provider lists none. Does not import Ray.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from elastic_deploy.cluster import launch
from elastic_deploy.cluster.aws import ending, remains, session, shared, tagged
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.local import processes, state
from elastic_deploy.cluster.orphan import end_orphans
from elastic_deploy.cluster.ray_token import token_path
from elastic_deploy.model.errors import RefusedError
from elastic_deploy.model.home import cluster_dir

KEYS = "keys"
"""The clients' keys, in the cluster's directory; they are worth nothing once it is gone."""


_PROOF_LIMIT_S = 10.0
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """What stands of a cluster, a sentence each. `anything`: whether there may be anything.

    `may_ask_head`: whether a head may be there and be asked. `not_asked`: why it may not, though one runs.
    """

    sentences: tuple[str, ...]
    anything: bool
    may_ask_head: bool = True
    not_asked: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """The nodes of this machine that a cluster has at one moment: their ids, marks and directories."""

    nodes: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    directories: tuple[Path, ...] = ()


def standing(config: ClusterConfig) -> Standing:
    """What stands now; of a cloud's cluster nothing is known without asking it."""
    found = state.read(config.name) if config.provider_kind == "local" else None
    if found is None:
        return Standing()
    nodes = sorted(found.nodes.values(), key=lambda node: (not node.is_head, node.created_at))
    return Standing(
        nodes=tuple(node.id for node in nodes),
        marks=tuple(node.mark for node in nodes),
        directories=(Path(found.temp_dir), state.state_dir(config.name) / "nodes"),
    )


def left_of(before: Standing) -> list[str]:
    """What is still there of `before`, in words for a person; empty is the proof that nothing is."""
    left = [
        f"process {process.pid} ({name})" for mark in before.marks for process, name in processes.find(mark).items()
    ]
    return left + [f"directory {path}" for path in before.directories if path.exists()]


def find(config: ClusterConfig) -> Found:
    """What stands now, wherever it is. Raises RefusedError where EC2 does not say."""
    if config.provider_kind == "local":
        nodes = standing(config).nodes
        stands = f"{'Node' if len(nodes) == 1 else 'Nodes'} {' and '.join(nodes)} of {config.name} run here."
        return Found((stands,) if nodes else (f"Nothing of cluster {config.name} stands.",), bool(nodes))
    if config.provider_kind != "aws":
        return Found((f"A head node of {config.name} may stand: {config.provider_type} was not asked.",), True)
    listed = tagged.look(config)
    runs = any(each.is_head and each.state == "running" for each in listed.instances)
    said = tuple(remains.sentences(listed, config.name, session.region_of(config)))
    if runs and not _has_key(config):
        why = f"Its head is not asked to stop what it serves: the SSH key of {config.name} is not on this machine."
        return Found(said, True, False, why)
    return Found(said, not listed.nothing, runs)


def may_be_launching(config: ClusterConfig) -> bool:
    """Whether a launch may be under way though nothing stands. One on this machine has made the cluster's directory."""
    return config.provider_kind != "local" or cluster_dir(config.name).exists()


def end(config: ClusterConfig, say: Callable[[str], None], anything: bool = True) -> bool:
    """End every node, and prove that nothing is left; whether anything had to be ended.

    With `anything` false nothing has been seen to stand: a launch may be under way all the same. Raises RefusedError,
    which names what is left.
    """
    if orphans := end_orphans(config):
        say(
            f"An earlier `up` of {config.name} was killed; its launcher ({orphans[0]}) was still at work, and is ended."
        )
    if config.provider_kind == "aws":
        return ending.end(config, say)
    if not anything and not find(config).anything:
        return False
    say("The nodes are being ended.")
    before = standing(config)
    launch.tear_down(config, say)
    deadline = time.monotonic() + _PROOF_LIMIT_S
    while (left := left_of(before)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if left:
        raise RefusedError(
            f"Of {config.name} there is still {', '.join(left[:5])}: run `down` again. The output of Ray's"
            f" launcher is in {launch.launch_log(config.name, 'down')}."
        )
    return True


def end_shared(config: ClusterConfig, say: Callable[[str], None]) -> None:
    """Remove what outlives a cluster on purpose and is its alone. Raises RefusedError, which names what is left."""
    if config.provider_kind == "aws":
        shared.remove_shared(config, say)
    elif config.provider_kind != "local":
        say(f"What {config.name} shares with other clusters in {config.provider_type} is not known here, and is kept.")


def how_known(config: ClusterConfig) -> str:
    """Who says that nothing of the cluster is left, to end a sentence with."""
    if config.provider_kind == "aws":
        return f", as EC2 in {session.region_of(config)} says of its tags"
    if config.provider_kind == "local":
        return ""
    return f", as Ray's launcher says: {config.provider_type} itself was not asked"


def down_in_words(config: ClusterConfig) -> str:
    """That it is down, and who says that nothing of it is left."""
    return f"Cluster {config.name} is down, and nothing of it is left but its logs and journal{how_known(config)}."


def _has_key(config: ClusterConfig) -> bool:
    """Whether the key with which Ray reaches the nodes is here.

    Where it is not, the head must not be looked for: Ray would refuse, or make a key pair in the account.
    """
    named = config.raw["auth"].get("ssh_private_key")
    if named:
        return Path(named).expanduser().exists()
    own = (config.raw["provider"].get("key_pair") or {}).get("key_name")
    pattern = f"{own}*.pem" if own else f"ray-autoscaler_*{session.region_of(config)}.pem"
    return any(Path("~/.ssh").expanduser().glob(pattern))


def forget_secrets(cluster_name: str) -> None:
    """Remove keys, Ray token and completed YAML of a cluster that is gone. Logs and the journal stay."""
    directory = cluster_dir(cluster_name)
    rmtree(directory / KEYS, ignore_errors=True)
    token_path(cluster_name).unlink(missing_ok=True)
    (directory / launch.LAUNCHED).unlink(missing_ok=True)
