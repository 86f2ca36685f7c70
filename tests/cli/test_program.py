"""The program as a whole: what it imports, its exit codes, and one sentence for everything that is wrong."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import CLUSTER, Finished, Script, command_line, status

HEAVY = ("ray", "boto3", "vllm", "torch", "aiohttp", "rich", "transformers")

MODULES_AFTER = """
import sys
from elastic_deploy.cli.main import run
code = run(sys.argv[1:])
print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""


def heavy_modules_after(*arguments: object) -> list[str]:
    program = MODULES_AFTER.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stderr.splitlines()[-1].split()


@pytest.mark.parametrize("command", ["", "up", "down", "keys", "tunnel", "doctor", "generate"])
def test_help_imports_nothing_heavy(command: str) -> None:
    assert heavy_modules_after(*command.split(), "--help") == []


def test_plan_imports_nothing_heavy(cluster_yaml: Path) -> None:
    assert heavy_modules_after("plan", cluster_yaml, "--model", "tiny", "--gpus", 2) == []


def test_status_of_a_running_cluster_imports_nothing_heavy(cluster_yaml: Path, head: Script) -> None:
    head.answer("status", status())
    assert heavy_modules_after("status", cluster_yaml) == []


def test_help_takes_under_a_third_of_a_second_of_cpu() -> None:
    before = os.times()
    subprocess.run(command_line("--help"), capture_output=True, timeout=60, check=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 0.3


UP = ("--model", "tiny", "--gpus", "2")

USAGE = [
    ("no command", []),
    ("an unknown command", ["launch"]),
    ("no cluster", ["up", *UP]),
    ("no model", ["up", "CLUSTER", "--gpus", "2"]),
    ("no GPUs", ["up", "CLUSTER", "--model", "tiny"]),
    ("GPUs that are no number", ["up", "CLUSTER", "--model", "tiny", "--gpus", "two"]),
    ("no GPUs at all", ["up", "CLUSTER", "--model", "tiny", "--gpus", "0"]),
    ("a wait that is no duration", ["up", "CLUSTER", *UP, "--wait-timeout", "soon"]),
    ("a wait of nothing", ["up", "CLUSTER", *UP, "--wait-timeout", "0"]),
    ("a port beyond all ports", ["up", "CLUSTER", *UP, "--port", "70000"]),
    ("an engine argument without --", ["up", "CLUSTER", *UP, "--max-model-len", "512"]),
    ("a rung without arguments", ["up", "CLUSTER", *UP, "--rung", "1"]),
    ("two rungs of one size", ["up", "CLUSTER", *UP, "--rung", "1: --seed 1", "--rung", "1: --seed 2"]),
    ("a word too many", ["up", "CLUSTER", "more", *UP]),
    ("an unknown output", ["status", "CLUSTER", "-o", "xml"]),
]


@pytest.mark.parametrize("arguments", [row[1] for row in USAGE], ids=[row[0] for row in USAGE])
def test_a_wrong_command_line_is_exit_2_and_one_sentence(
    arguments: list[str], cli: Callable[..., Finished], cluster_yaml: Path
) -> None:
    done = cli(*(str(cluster_yaml) if word == "CLUSTER" else word for word in arguments))
    assert done.code == 2
    assert "Traceback" not in done.err
    if arguments:
        assert done.out == ""
        assert len(done.err.splitlines()) == 1
        assert done.err.startswith("Error: ")


def changed(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text, f"the template has no {old!r}"
        return text.replace(old, new)

    return change


GPU_TYPE = "resources: {CPU: 2, GPU: 1, object_store_memory: 100000000}"

INVALID: list[tuple[str, Callable[[str], str], str]] = [
    ("broken", lambda _: "cluster_name: [", "YAML"),
    ("empty", lambda _: "", "empty"),
    ("a list", lambda _: "- cluster_name: x", "list"),
    ("a word", lambda _: "hello", "mapping"),
    ("an unknown key", changed("upscaling_speed", "upscaling_sped"), "upscaling_speed"),
    ("no GPU types", changed("GPU: 1,", ""), "GPU"),
    ("a GPU count that is a word", changed("GPU: 1,", "GPU: one,"), "GPU"),
    ("a GPU count that is negative", changed("GPU: 1,", "GPU: -1,"), "GPU"),
    ("a GPU count that is a fraction", changed("GPU: 1,", "GPU: 0.5,"), "GPU"),
    ("a cluster name that leads elsewhere", changed(f"cluster_name: {CLUSTER}", "cluster_name: ../x"), "cluster_name"),
]


@pytest.mark.parametrize(("change", "named"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
@pytest.mark.parametrize("command", ["up", "status"])
def test_a_wrong_cluster_yaml_is_exit_3_and_one_sentence_and_starts_nothing(
    command: str,
    change: Callable[[str], str],
    named: str,
    cli: Callable[..., Finished],
    cluster_yaml: Path,
    home: Path,
) -> None:
    cluster_yaml.write_text(change(cluster_yaml.read_text()))
    done = cli(command, cluster_yaml, *(UP if command == "up" else ()))
    assert done.code == 3
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert named in done.err
    assert "Traceback" not in done.err
    assert not home.exists()


@pytest.mark.parametrize("command", ["up", "plan", "status", "events", "logs", "keys", "down"])
def test_a_missing_or_unreadable_yaml_is_exit_3_for_every_command(
    command: str, cli: Callable[..., Finished], tmp_path: Path
) -> None:
    more = {"up": UP, "plan": UP, "keys": ("list",)}.get(command, ())
    missing = cli(command, tmp_path / "none.yaml", *more)
    assert (missing.code, len(missing.err.splitlines())) == (3, 1)
    directory = cli(command, tmp_path, *more)
    assert (directory.code, len(directory.err.splitlines())) == (3, 1)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00cluster")
    assert cli(command, binary, *more).code == 3


def test_a_model_path_that_is_missing_is_exit_3_and_starts_nothing(
    cli: Callable[..., Finished], cluster_yaml: Path, home: Path
) -> None:
    for model in ("/no/such/model", "./no-such-model", "~/no-such-model"):
        done = cli("up", cluster_yaml, "--model", model, "--gpus", 2)
        assert done.code == 3
        assert model in done.err
        assert len(done.err.splitlines()) == 1
    assert not home.exists()


def test_more_gpus_than_can_ever_be_is_exit_4_before_anything_starts(
    cli: Callable[..., Finished], cluster_yaml: Path, home: Path
) -> None:
    for command in ("up", "plan"):
        done = cli(command, cluster_yaml, "--model", "tiny", "--gpus", 5)
        assert done.code == 4
        assert len(done.err.splitlines()) == 1
    assert not home.exists()


def test_a_bug_is_exit_1_and_its_traceback_is_in_the_log_that_the_sentence_names(
    cli: Callable[..., Finished], cluster_yaml: Path, head: Script, home: Path
) -> None:
    assert head.calls == []
    (home / CLUSTER / "local" / "nodes.json").write_text("{ not ours")
    done = cli("status", cluster_yaml)
    assert done.code == 1
    assert "Traceback" not in done.err
    (log,) = (home / "logs").glob("crash-*.log")
    assert str(log) in done.err
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_reader_that_has_enough_is_no_error(cluster_yaml: Path, home: Path) -> None:
    journal = home / CLUSTER / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    line = '{"id": "000001", "time": 1.0, "kind": "k", "deployment": null, "cause": null, "message": "' + "x" * 99
    journal.write_text((line + '"}\n') * 5000)
    process = subprocess.Popen(
        command_line("events", cluster_yaml), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().endswith("x\n")
    process.stdout.close()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Broken" not in err
    assert "Traceback" not in err


def test_ctrl_c_in_the_middle_is_exit_130_and_one_word(cluster_yaml: Path, head: Script) -> None:
    head.answer("status", [{"sleep": 20}])
    process = subprocess.Popen(command_line("status", cluster_yaml), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not head.calls and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
