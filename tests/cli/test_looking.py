"""`status`, `events` and `logs`: from a head, and from what is kept of a cluster that is gone."""

import json
from collections.abc import Callable
from pathlib import Path

from elastic_deploy.cli.key_files import keep_key
from elastic_deploy.cli.page import plain
from elastic_deploy.cli.render import status_page
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.head import find_head
from elastic_deploy.cluster.records import journal_path, keep_records, read_records
from tests.cli.conftest import CLUSTER, Finished, Script, deployment, error, event, ok, status

REPLICA = {
    "id": "r0",
    "phase": "ready",
    "generation": 2,
    "placement_group": {"id": "abc", "state": "CREATED"},
    "nodes": ["gpu-1", "gpu-2"],
}
RECOVERY = {"started_at": 1_000_000.0, "cause": "node gpu-0 was lost", "seconds": 48.5}

PAGE = """\
Cluster stand-in
  provider   local
  head       127.0.0.1:1
  asked for  2 x {GPU: 1}, sent 2m ago
  NODE    TYPE  STATE   GPUS  SINCE  DETAIL
  head-1  head  joined  0     2m     head

Deployment tiny
  phase     ready
  reason    tiny is ready, the script says.
  model     tiny
  endpoint  http://127.0.0.1:8499/v1
  GPUs      2 of 2 placed
  shape     tensor parallel 2 x pipeline parallel 1 x replicas 1
  REPLICA  PHASE  ENGINE  GROUP    NODES
  r0       ready  g2      CREATED  gpu-1 gpu-2
  RECOVERED   TOOK  CAUSE
  1m 12s ago  48s   node gpu-0 was lost"""


def test_the_page_of_a_cluster() -> None:
    (answer,) = status(deployment(replicas=[REPLICA], recoveries=[RECOVERY]))
    assert plain(status_page(answer["ok"], now=1_000_120.0)) == PAGE


def test_the_page_says_what_is_on_its_way_since_when_and_what_is_expected() -> None:
    (answer,) = status(deployment(phase="waiting"))
    document = answer["ok"]
    known = {"node_type": "gpu", "refused": None, "expected": None}
    document["ledger"] = [
        {**known, "id": "i-1", "step": "ssh", "since": 1_000_100.0,
         "expected": {"median": 30.0, "worst": 95.0, "times": 4}},
        {**known, "id": "", "step": "refused", "since": 1_000_060.0,
         "refused": {"at": 1_000_110.0, "code": "InsufficientInstanceCapacity", "message": "", "times": 6}},
        {**known, "id": "i-2", "step": "placed", "since": 1_000_000.0},
    ]  # fmt: skip
    page = plain(status_page(document, now=1_000_120.0))
    (start,) = (number for number, line in enumerate(page.splitlines()) if "ON ITS WAY" in line)
    assert page.splitlines()[start : start + 4] == [
        "  ON ITS WAY  STEP                                        SINCE  EXPECTED",
        "  i-1         ssh                                         20s    30s, at worst 1m 35s",
        "  gpu         refused (InsufficientInstanceCapacity, 6x)  1m     unknown",
        "",
    ]


def test_status_in_json_is_the_heads_document_with_the_key_file(
    cli: Callable[..., Finished], cluster_yaml: Path, head: Script
) -> None:
    head.answer("status", status(deployment(), deployment("other")))
    path = keep_key(CLUSTER, "tiny", "a-secret")
    done = cli("status", cluster_yaml, "-o", "json")
    document = json.loads(done.out)
    assert document["deployments"][0] == deployment(api_key_file=str(path))
    assert document["deployments"][1]["api_key_file"] == ""
    assert "a-secret" not in done.out
    assert done.err == ""


def test_status_of_a_cluster_that_does_not_run_is_exit_0_and_empty(
    cli: Callable[..., Finished], cluster_yaml: Path, home: Path
) -> None:
    done = cli("status", cluster_yaml, "-o", "json")
    assert done.code == 0
    assert json.loads(done.out) == {
        "cluster": {"name": CLUSTER, "provider": "local", "head_address": "", "nodes": []},
        "request": {"bundles": [], "sent_at": None},
        "deployments": [],
        "ledger": [],
    }
    assert f"elastic-deploy up {cluster_yaml}" in cli("status", cluster_yaml).out
    assert not home.exists()


def test_status_of_a_head_that_does_not_answer_is_exit_7(
    cli: Callable[..., Finished], cluster_yaml: Path, head: Script
) -> None:
    head.answer("status", [error(7, "The supervisor does not answer.")])
    done = cli("status", cluster_yaml)
    assert (done.code, done.err) == (7, "Error: The supervisor does not answer.\n")


def test_events_lists_the_journal_with_causes(cli: Callable[..., Finished], cluster_yaml: Path, head: Script) -> None:
    head.answer("events", [event(1, "A node is lost."), event(2, "tiny is recovering.", "tiny") | {}])
    done = cli("events", cluster_yaml)
    assert [line.split("  ", 1)[1] for line in done.out.splitlines()] == [
        "000001  test  A node is lost.",
        "000002  test  tiny is recovering.",
    ]
    only = cli("events", cluster_yaml, "--deployment", "tiny", "-o", "json")
    assert [each["id"] for each in json.loads(only.out)] == ["000002"]


def test_logs_passes_the_choice_on_and_prints_each_line_with_its_replica(
    cli: Callable[..., Finished], cluster_yaml: Path, head: Script
) -> None:
    head.answer("logs", [ok(replica="r0", engine="engine/tiny/r0/g1", line="INFO started")])
    done = cli("logs", cluster_yaml, "--replica", "r0", "--lines", 5)
    assert done.out == "r0  INFO started\n"
    assert head.calls[0]["payload"] == {"deployment": None, "replica": "r0", "follow": False, "lines": 5}
    assert json.loads(cli("logs", cluster_yaml, "-o", "json").out)[0]["line"] == "INFO started"


def test_records_are_kept_once_and_those_of_earlier_lives_stay(cluster_yaml: Path, head: Script) -> None:
    found = find_head(load_cluster(cluster_yaml))
    assert found is not None
    head.answer("logs", [ok(replica="r0", engine="engine/tiny/r0/g1", line="x")])
    head.answer("events", [event(1, "one"), event(2, "two")])
    keep_records(found)
    keep_records(found)
    assert [each["message"] for each in read_records(journal_path(CLUSTER))] == ["one", "two"]
    again = event(1, "one of another life")
    again["ok"]["time"] = 2_000_000.0
    head.answer("events", [again])
    keep_records(found)
    assert [each["message"] for each in read_records(journal_path(CLUSTER))] == ["one", "two", "one of another life"]


def test_events_and_logs_of_a_cluster_that_is_gone_are_read_from_what_was_kept(
    cli: Callable[..., Finished], cluster_yaml: Path, home: Path
) -> None:
    directory = home / CLUSTER
    (directory / "logs").mkdir(parents=True)
    (directory / "journal.jsonl").write_text(json.dumps(event(1, "It was.")["ok"]) + '\n{"id": "cut of')
    lines = [{"replica": "r0", "engine": f"engine/{name}/r0/g1", "line": name} for name in ("a", "b")]
    (directory / "logs" / "engines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    events = cli("events", cluster_yaml)
    assert (events.code, events.out.count("It was.")) == (0, 1)
    assert "does not run" in events.err
    assert cli("logs", cluster_yaml, "--deployment", "b").out == "r0  b\n"


def test_events_and_logs_of_a_cluster_that_never_was_are_empty_and_exit_0(
    cli: Callable[..., Finished], cluster_yaml: Path
) -> None:
    for command in ("events", "logs"):
        done = cli(command, cluster_yaml, "-o", "json")
        assert (done.code, json.loads(done.out)) == (0, [])


def test_down_of_a_cluster_that_does_not_run_has_nothing_to_do(
    cli: Callable[..., Finished], cluster_yaml: Path, home: Path
) -> None:
    done = cli("down", cluster_yaml)
    assert (done.code, done.err) == (0, f"Nothing to do: cluster {CLUSTER} does not run.\n")
    assert not home.exists()


def test_down_of_one_deployment_waits_until_it_is_gone_and_keeps_the_cluster(
    cli: Callable[..., Finished], cluster_yaml: Path, head: Script
) -> None:
    head.answer("stop", [ok(stopped=["tiny"], known=True)])
    head.answer("status", status(deployment(replicas=[REPLICA])), status(deployment(phase="stopped")))
    done = cli("down", cluster_yaml, "--deployment", "tiny")
    assert done.code == 0
    assert "tiny is stopped; cluster stand-in stays as it is." in done.err
    assert head.verbs() == ["stop", "status", "status"]
    head.answer("stop", [ok(stopped=[], known=True)])
    again = cli("down", cluster_yaml, "--deployment", "tiny")
    assert again.code == 0
    assert "Nothing to do" in again.err


def test_down_of_a_deployment_that_is_not_known_is_exit_2(
    cli: Callable[..., Finished], cluster_yaml: Path, head: Script
) -> None:
    head.answer("stop", [ok(stopped=[], known=False)])
    done = cli("down", cluster_yaml, "--deployment", "tinny")
    assert done.code == 2
    assert "no deployment tinny" in done.err
