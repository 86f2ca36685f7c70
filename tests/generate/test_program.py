"""The command line of `generate`: what is refused and how, what is written where, and what is left alone."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.model.errors import InvalidConfigError

from .conftest import REGION, Generate, MotoAccount

OFFLINE = f"aws --offline --region {REGION}"
REFUSED = [
    ("spot twice", "aws --offline --spot --spot-fallback", 2, "contradict each other"),
    ("two ways to name nodes", "aws --offline --gpu L4 --instance-type g6.xlarge", 2, "both say which nodes"),
    ("EFA over two zones", "aws --offline --instance-type p5.48xlarge --efa --zones a,b", 2, "one zone"),
    ("a placement group over two zones", "aws --offline --placement-group x --zones a,b", 2, "--placement-group needs"),
    ("EFA in two subnets", "aws --offline --instance-type p5.48xlarge --efa --subnets s,t", 2, "one subnet"),
    ("EFA and mixed zones", "aws --offline --instance-type p5.48xlarge --efa --mix-zones", 2, "--mix-zones"),
    ("a key without its name", "aws --offline --private-key k.pem", 2, "--private-key needs --key-name"),
    ("subnets that fit no zones", "aws --offline --zones a,b --subnets s,t,u", 2, "one subnet for each zone"),
    ("no range", "aws --offline --ssh-from everywhere", 2, "is no address range"),
    ("the whole world", "aws --offline --ssh-from 0.0.0.0/0", 2, "the whole world"),
    ("a zone twice", f"{OFFLINE} --zones a,us-west-2a", 2, "names a zone twice"),
    ("another number of GPUs", "aws --offline --instance-type g6.xlarge --gpus-per-node 4", 2, "g6.xlarge has 1"),
    ("no nodes", "aws --offline --nodes 0", 2, "--nodes"),
    ("an empty zone", "aws --offline --zones a,,b", 2, "empty place"),
    ("an unknown provider", "gcp", 2, "No such command"),
    ("a type without GPUs", "aws --offline --instance-type m5.large", 3, "m5.large has no GPU: name a type"),
    ("a part of a GPU", "aws --offline --instance-type g6f.large", 3, "a part of one"),
    ("no such GPU", "aws --offline --gpu X1", 3, "the kinds are A100,"),
    ("no such number of GPUs", "aws --offline --gpu H100 --gpus-per-node 3", 3, "they have 1, 8"),
    ("a type not known offline", "aws --offline --instance-type p9.48xlarge", 3, "add --gpus-per-node"),
    ("EFA where there is none", "aws --offline --gpu L4 --efa", 3, "g6.2xlarge does not support EFA"),
    ("no region", "aws --offline --region Oregon", 3, "is no AWS region"),
    ("a zone of another region", f"{OFFLINE} --zones us-east-1a", 3, "is not in us-west-2"),
    ("no name", "aws --offline --cluster-name a/b", 3, "cannot name a cluster"),
    ("a name too long for its role", f"aws --offline --cluster-name {'a' * 50}", 3, "1 to 49"),
    ("a machine alone", "onprem --hosts one", 2, "needs two at least"),
    ("a machine twice", "onprem --hosts one,two,two", 2, "names a machine twice"),
    ("no machines", "onprem", 2, "--hosts"),
    ("no name for local nodes", "local --cluster-name ../x", 3, "cannot name a cluster"),
]


@pytest.mark.parametrize(("words", "code", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_wrong_is_one_sentence_and_writes_nothing(
    words: str, code: int, said: str, generate: Generate, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "it.yaml"
    output.parent.mkdir()
    written = generate(*words.split(), *(["--output", str(output)] if words != "gcp" else []))
    assert (written.code, written.out) == (code, "")
    assert written.err.startswith("Error: ")
    assert written.err.count("\n") == 1
    assert said in written.err
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--zones", "e"], "The zone us-west-2e does not offer g6.2xlarge: us-west-2"),
        (["--instance-type", "m5.large"], "m5.large has no GPU"),
        (["--instance-type", "p6-b300.48xlarge", "--region", "eu-west-3"], "eu-west-3 does not offer p6-b300.48xlarge"),
    ],
)
def test_what_ec2_does_not_offer_is_exit_3(
    words: list[str], said: str, generate: Generate, account: MotoAccount
) -> None:
    assert account.vpc
    region = [] if "--region" in words else ["--region", REGION]
    written = generate("aws", *region, *words)
    assert (written.code, written.out) == (3, "")
    assert said in written.err


def test_a_file_is_not_written_over_without_force(generate: Generate, tmp_path: Path) -> None:
    output = tmp_path / "it.yaml"
    output.write_text("mine")
    words = ("local", "--output", str(output))
    refused = generate(*words)
    assert refused.code == 2
    assert "exists, and is left as it is" in refused.err
    assert output.read_text() == "mine"
    assert generate(*words, "--force").code == 0
    assert load_cluster(output).name == "elastic-local"
    assert list(tmp_path.glob(".it*")) == []


def test_a_directory_that_is_not_there_is_a_sentence(generate: Generate, tmp_path: Path) -> None:
    written = generate("local", "--output", str(tmp_path / "none" / "it.yaml"))
    assert written.code == 2
    assert "cannot be written (No such file or directory)" in written.err


def test_file_and_stdout_are_the_same_and_the_questions_go_to_stderr(generate: Generate, tmp_path: Path) -> None:
    output = tmp_path / "it.yaml"
    printed, written = generate("aws", "--offline"), generate("aws", "--offline", "--output", str(output))
    assert written.out == ""
    assert output.read_text() == printed.out
    asked = printed.err.splitlines()
    assert asked[0] == "To be filled in, marked TODO(you) in the file:"
    assert len(asked) - 1 == printed.out.count("TODO(you): ")
    assert str(output) in written.err


def test_a_type_that_nobody_knows_is_written_with_its_number_of_gpus(generate: Generate, tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    words = ("--instance-type", "p9.48xlarge", "--gpus-per-node", "16", "--output", str(path))
    assert generate("aws", "--offline", *words).code == 0
    (gpu,) = [each for each in load_cluster(path).capacity.node_types if not each.is_head]
    assert gpu.gpus == 16


def test_local_clusters_have_the_size_that_was_asked(generate: Generate, tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    words = ("--cluster-name", "it", "--nodes", "7", "--gpus-per-node", "3", "--output", str(path))
    assert generate("local", *words).code == 0
    loaded = load_cluster(path)
    (gpu,) = [each for each in loaded.capacity.node_types if not each.is_head]
    assert (loaded.name, loaded.capacity.max_workers, gpu.max_workers, gpu.gpus) == ("it", 7, 7, 3)
    assert gpu.resources["CPU"] == 4


def test_machines_that_run_are_for_ray_alone(generate: Generate, tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    assert generate("onprem", "--hosts", "h,w1,w2", "--output", str(path)).code == 0
    raw = yaml.safe_load(path.read_text())
    assert raw["provider"] == {"type": "local", "head_ip": "h", "worker_ips": ["w1", "w2"]}
    with pytest.raises(InvalidConfigError, match="launches none"):
        load_cluster(path)


@pytest.mark.parametrize("words", [["--help"], ["aws", "--help"], ["aws", "--offline"], ["local"]])
def test_nobody_pays_for_boto3_and_ray_who_asks_nothing(words: list[str]) -> None:
    program = (
        "import sys; from elastic_deploy.cli.main import run; code = run(['generate', *sys.argv[1:]]);"
        " print(*({'boto3', 'ray', 'aiohttp', 'vllm'} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.splitlines()[-1] == ""
