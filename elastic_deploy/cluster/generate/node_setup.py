"""The commands that make an Ubuntu machine a Ray node with the launcher's versions, and start Ray there.

Used for EC2 and for machines that already run. Every command may run again on the same machine and changes nothing
then. All that the nodes have of ours lies in ~/.elastic-deploy/node. Pure: builds commands, runs none.
"""

from elastic_deploy.cluster.generate.commented import Command, Note
from elastic_deploy.cluster.generate.release import LocalFiles, Release

NODE_DIR = "~/.elastic-deploy/node"
TOKEN = f"{NODE_DIR}/ray-token"
INSTANCE_STORE = "/opt/dlami/nvme"
"""Where AWS's deep-learning images mount the instance's own disks (`nvme_location` in the images' release notes)."""

_OLDEST_VLLM = "0.32"
"""As in pyproject.toml, for a launcher without vLLM."""

_HEALTH = (
    "RAY_health_check_initial_delay_ms=1000 RAY_health_check_period_ms=1000",
    "RAY_health_check_timeout_ms=10000 RAY_health_check_failure_threshold=3",
)


def file_mounts(files: LocalFiles, cluster_name: str, *, ours: bool = True) -> Note:
    """The files that every node gets: the cluster's Ray token.

    `ours`: `elastic-deploy up` launches the cluster, and makes the token; otherwise it is a question where none is.
    """
    by_hand = (
        f"  (umask 077; mkdir -p {files.token.rpartition('/')[0]}\n"
        f"  [ -e {files.token} ] || openssl rand -hex 32 > {files.token})"
    )
    asked = "" if ours or files.has_token else f"make the cluster's Ray token once:\n{by_hand}"
    made = (
        f" `elastic-deploy up` makes it, and brings itself to the nodes. For `ray up` alone, make it once:\n{by_hand}"
        if ours
        else ""
    )
    return Note(
        {TOKEN: Note(files.token, question=asked)},
        "What every node gets from this machine; the head hands it on to the others.\n"
        "The token: with RAY_AUTH_MODE=token Ray refuses whoever does not have it, and `ray up` carries none by itself."
        f" It is the secret of {cluster_name} alone; Ray's commands on the nodes find it.{made}\n"
        "Gated models: mount your Hugging Face token as well:\n"
        f"  {NODE_DIR}/hf-token: ~/.cache/huggingface/token",
    )


def setup_commands(release: Release, fast_disk: str | None) -> Note:
    """What head and workers need alike: the environment of every login shell, and a Python of our own."""
    where = (
        f"on the instance's own NVMe where it has one (the image mounts it at {fast_disk}): it reads several times as"
        " fast as EBS and costs nothing, and it is empty after every start"
        if fast_disk
        else "in ~/.cache: set DISK to the fastest local disk"
    )
    disk = ["set -e; mkdir -p ~/.elastic-deploy/node; DISK=$HOME/.cache;"]
    if fast_disk:
        disk += [
            f"if mountpoint -q {fast_disk}; then DISK={fast_disk}/elastic-deploy;",
            "sudo install -d -o $(id -u) -g $(id -g) $DISK; fi;",
        ]
    environment = Command(
        (
            *disk,
            "printf 'export %s\\n' VIRTUAL_ENV=$HOME/.elastic-deploy/node/venv",
            "PATH=$HOME/.elastic-deploy/node/venv/bin:$HOME/.local/bin:'$PATH'",
            "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.elastic-deploy/node/ray-token",
            "HF_HOME=$DISK/huggingface HF_TOKEN_PATH=$HOME/.elastic-deploy/node/hf-token VLLM_CACHE_ROOT=$DISK/vllm",
            "TORCH_HOME=$DISK/torch TORCHINDUCTOR_CACHE_DIR=$DISK/torchinductor TRITON_CACHE_DIR=$DISK/triton",
            "> ~/.elastic-deploy/node/profile.sh;",
            "grep -qs elastic-deploy/node/profile.sh ~/.profile",
            "|| echo '. ~/.elastic-deploy/node/profile.sh' >> ~/.profile",
        )
    )
    python = Command(
        (
            "set -e; command -v uv > /dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh;",
            f"uv venv --quiet --allow-existing --python {release.python} $VIRTUAL_ENV",
        )
    )
    return Note(
        [environment, python],
        "On every node, before Ray starts. The first command writes what every login shell shall know, also that of"
        f" `ray exec`: where Python and the token are, and that weights and caches lie {where}. The second makes a"
        f" Python {release.python}, the launcher's, since Ray wants the same on every node.",
    )


def head_setup_commands(release: Release, *, boto3: bool) -> Note:
    """Ray on the head. It needs no vLLM: that runs where the GPUs are."""
    cloud = ' "boto3>=1.35"' if boto3 else ""
    why = " boto3 is what its autoscaler speaks to EC2 with." if boto3 else ""
    return Note(
        [f'uv pip install --quiet "ray[default]=={release.ray}"{cloud}'],
        f"Ray {release.ray}, the launcher's.{why}",
    )


def worker_setup_commands(release: Release) -> Note:
    """Ray and vLLM where the GPUs are."""
    vllm = f"vllm=={release.vllm}" if release.vllm else f"vllm>={_OLDEST_VLLM}"
    return Note(
        [f'uv pip install --quiet --torch-backend=auto "{vllm}" "ray[default]=={release.ray}"'],
        "Ray and vLLM in one step, so that they agree on what they share; the PyTorch that fits the node's driver. An"
        " image that has all this already saves the minutes that it takes on each new node.",
        question=""
        if release.vllm
        else f"vLLM is not installed here, so its version is not known: write {vllm.replace('>=', '==')}.x",
    )


def head_start_commands() -> Note:
    """Start Ray with its autoscaler on the head."""
    start = Command(
        (
            "ulimit -n 65536; export RAY_worker_niceness=0",
            _HEALTH[0],
            _HEALTH[1],
            "RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S=60 AUTOSCALER_NODE_START_WAIT_S=300;",
            "ray start --head --port=6379 --object-manager-port=8076 --dashboard-host=127.0.0.1",
            "--autoscaling-config=~/ray_bootstrap_config.yaml --disable-usage-stats",
        )
    )
    return Note(
        ["ray stop", start],
        "What the settings do:\n"
        "  RAY_worker_niceness=0: at Ray's own 15 the engine yields to everything else on its node.\n"
        "  RAY_health_check_*: Ray asks every node each `period_ms`; `failure_threshold` failures in a row make it\n"
        "    dead. A killed node is dead after about 3 s, not 14; one that vanished from the network after 30 s. The\n"
        "    price: a node that freezes for that long is taken for dead, with everything on it.\n"
        "  RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S: of a launch that got some of its nodes the rest is\n"
        "    asked for again after a minute, not ten.\n"
        "  AUTOSCALER_NODE_START_WAIT_S: a node that SSH does not reach is tried three times for so long, and then\n"
        "    replaced; Ray's own 900 make that most of an hour.\n"
        "  --dashboard-host: the dashboard listens on the head alone; `ray dashboard` brings it here.",
    )


def worker_start_commands(*, efa: bool) -> Note:
    """Start Ray on a GPU node."""
    plugin = "/opt/amazon/ofi-nccl/lib"
    limits = f"ulimit -n 65536; ulimit -l unlimited; PLUGIN={plugin};" if efa else "ulimit -n 65536;"
    fabric = (
        "FI_PROVIDER=efa",
        "LD_LIBRARY_PATH=/opt/amazon/efa/lib:$PLUGIN:$PLUGIN/x86_64-linux-gnu:$LD_LIBRARY_PATH",
    )
    settings = (*_HEALTH, *(fabric if efa else ()))
    start = Command(
        (
            f"{limits} export RAY_worker_niceness=0",
            *settings[:-1],
            f"{settings[-1]};",
            "ray start --address=$RAY_HEAD_IP:6379 --object-manager-port=8076",
        )
    )
    comment = (
        "FI_PROVIDER and LD_LIBRARY_PATH let NCCL find EFA (the image has its library and AWS's plugin for NCCL); with"
        " NCCL_DEBUG=INFO an engine's log then says that it was taken. EFA registers memory, hence `ulimit -l`."
    )
    return Note(["ray stop", start], f"The same on the GPU nodes. {comment}" if efa else "The same on the GPU nodes.")
