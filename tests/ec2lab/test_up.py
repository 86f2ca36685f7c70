"""The whole job on EC2: a generated cluster, real hosts, real SSH, real vLLM over two of them, and nothing left.

The tests follow one deployment from `up` to `down`, each going on from where the one before it left off.
"""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic_deploy.cluster.aws.policy import role_name
from tests.ec2lab.account import generate, prepare_account
from tests.ec2lab.asking import until
from tests.ec2lab.lab import CREDENTIALS, Lab, Timing
from tests.ec2lab.user import ENGINE, User

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.usefixtures("able"), pytest.mark.timeout(900)]

CLUSTER = "it"
GPU_TYPE = "g6.xlarge"
SHAPE = ("--gpus", "2", "--tensor-parallel-size", "2")
SEARCH = Path(__file__).with_name("secrets_search.py")


@pytest.fixture(scope="module")
def user(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A laptop before the first `up`, with an account made ready and a generated cluster YAML."""
    assert able is None
    with Lab(Timing(), tmp_path_factory.mktemp("logs")) as lab:
        prepare_account(lab, CLUSTER)
        path = generate(lab, CLUSTER, "--zones", "a", "--instance-type", GPU_TYPE, "--nodes", "2")
        yield User(lab, lab.home, path, CLUSTER)


def gpu_instances(lab: Lab) -> set[str]:
    """The GPU instances that the API lists as running."""
    return {one["InstanceId"] for one in lab.instances("running") if one["InstanceType"] == GPU_TYPE}


def test_doctor_finds_the_account_in_order(user: User) -> None:
    done = user.run("doctor", user.path, "--model", "tiny", "--gpus", "2")
    assert done.returncode == 0, done.stdout
    # The lab's IAM simulates no policy, and doctor says so.
    not_passed = [
        line.split(":")[0] for line in done.stdout.splitlines() if line.split(" ")[0] in ("WARN", "FAIL", "UNKNOWN")
    ]
    assert [" ".join(line.split()) for line in not_passed] == ["UNKNOWN rights"]
    print(f"doctor: {done.seconds:.0f} s")


def test_a_generated_cluster_serves_over_two_hosts(user: User) -> None:
    done = user.up(*SHAPE)
    assert done.returncode == 0, done.stderr[-4000:]
    print(f"up: {done.seconds:.0f} s")
    document = user.status()
    (replica,) = document["deployments"][0]["replicas"]
    assert set(replica["nodes"]) == gpu_instances(user.lab)
    (way,) = [entry["steps"] for entry in document["ledger"] if entry["what"] == "replica"]
    told = [step["step"] for step in way]
    assert told == ["gathering", "clearing", "starting", "weights", "engine", "ready"], "also by the worker's host"
    assert len(replica["nodes"]) == 2
    assert user.ask()
    # Again with the same arguments, nothing changes.
    began = time.monotonic()
    assert "nothing to change" in user.up(*SHAPE).check().stderr
    print(f"up again: {time.monotonic() - began:.0f} s")


def test_no_secret_can_be_seen(user: User) -> None:
    """Of no user of a host, by no list of its processes, in no log, journal or YAML: neither there nor here."""
    lab = user.lab
    token = (user.home / ".elastic-deploy" / CLUSTER / "ray-token").read_text()
    secrets = [token, user.key, CREDENTIALS["AWS_SECRET_ACCESS_KEY"]]
    (head,) = (one for one in lab.instances("running") if one["InstanceType"] != GPU_TYPE)
    keys = lab.run_on(
        head["InstanceId"], ["sh", "-c", "cat ~/.elastic-deploy/head/keys/* ~/.elastic-deploy/head/*key*"]
    )
    assert keys.stdout.strip(), "the search must know the engines' keys as well"
    secrets += [word for word in keys.stdout.replace('"', " ").split() if len(word) > 30]
    told = ",".join(secret[::-1] for secret in secrets)
    script = ["python3", str(SEARCH), told]
    for instance in lab.hosts():
        own = ["/tmp/ray", "/root/.elastic-deploy", "/root/ray_bootstrap_config.yaml", "/root/.profile", "/var/log"]
        done = lab.run_on(instance, [*script, *own], 200)
        assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    done = lab.run([*script, str(user.home)], 200)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    # The search finds what there is to be found.
    (user.home / "leak.log").write_text(f"said {token} to everybody")
    assert "leak.log" in lab.run([*script, str(user.home)], 200).stdout
    (user.home / "leak.log").unlink()


def test_doctor_looks_at_every_node_that_runs(user: User) -> None:
    done = user.run("doctor", user.path, "-o", "json", limit=300)
    checks = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    failed = [each for each in checks.values() if each["verdict"] == "failure"]
    assert (done.returncode, failed) == (0, [])
    for name in ("nodes", "network", "host names", "clocks", "versions", "gpus"):
        assert checks[name]["verdict"] == "pass", checks[name]


def test_another_machine_with_the_same_yaml_and_key_attaches(user: User) -> None:
    home = user.home / "another"
    shutil.copytree(user.home / ".ssh", home / ".ssh")
    other = User(user.lab, home, user.path, CLUSTER)
    done = other.up(*SHAPE)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "nothing to change" in done.stderr
    assert other.key == user.key
    assert not (home / ".elastic-deploy" / CLUSTER / "ray-token").exists()
    assert other.ask() == user.ask()


def test_the_endpoint_is_held_open_on_the_laptop(user: User) -> None:
    held = user.lab.start(["elastic-deploy", "tunnel", user.path, "--port", "8123"], {"HOME": str(user.home)})
    until(lambda: "http://localhost:8123/v1" in held.output()[0] or held.ended, 60)
    header = user.home / "header"
    header.write_text(f"Authorization: Bearer {user.key}\n")
    models = ["curl", "-sS", "-m", "20", "-H", f"@{header}", "http://localhost:8123/v1/models"]
    assert '"tiny"' in user.lab.run(models).check().stdout
    header.unlink()
    held.signal(signal.SIGINT)
    done = held.wait(30)
    assert (done.returncode, "The tunnel is closed." in done.stderr) == (0, True)
    assert user.lab.run(models).returncode


def test_an_instance_that_is_terminated_is_replaced(user: User) -> None:
    before = gpu_instances(user.lab)
    text = user.ask()
    lost = sorted(before)[0]
    user.lab.client("ec2").terminate_instances(InstanceIds=[lost])
    until(lambda: any(event["kind"] == "recovered" for event in user.events()), ENGINE, every=5.0)
    after = gpu_instances(user.lab)
    assert lost not in after
    assert len(after & before) == 1
    assert len(after) == 2
    assert user.ask() == text
    (recovery,) = user.status()["deployments"][0]["recoveries"]
    assert lost in recovery["cause"]
    print(f"recovered in {recovery['seconds']:.0f} s")


def test_down_leaves_nothing_but_what_is_shared(user: User) -> None:
    done = user.run("down", user.path, "--yes", limit=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert user.lab.instances() == []
    until(lambda: not user.lab.hosts())
    assert user.lab.client("iam").get_instance_profile(InstanceProfileName=role_name(CLUSTER))
    assert not (user.home / ".elastic-deploy" / CLUSTER / "keys").exists()
    print(f"down: {done.seconds:.0f} s")
