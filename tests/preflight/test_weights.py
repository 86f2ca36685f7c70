"""The model's weights: where the nodes find them, whether they fit, and what `doctor` and `up` make of it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_deploy.cli import doctor as cli_doctor
from elastic_deploy.cli.main import run
from elastic_deploy.cluster.aws.preflight.deployment import before_launch
from elastic_deploy.cluster.aws.preflight.weights import fits, weights
from elastic_deploy.cluster.config import ClusterConfig, load_cluster
from elastic_deploy.cluster.model_hub import HubAnswer, ask_hub
from elastic_deploy.model.check import Verdict
from elastic_deploy.model.plan import NodeCount, Plan
from elastic_deploy.model.shape import Shape

TEMPLATES = Path(__file__).parents[2] / "cluster-templates"
GIB = 2**30
PASS, WARNING, FAILURE, UNKNOWN = Verdict.PASS, Verdict.WARNING, Verdict.FAILURE, Verdict.UNKNOWN


def cluster(tmp_path: Path, template: str, **changes: Any) -> Path:
    written = yaml.safe_load((TEMPLATES / template).read_text())
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({**written, **changes}))
    return path


def on_aws(tmp_path: Path, **mounts: str) -> ClusterConfig:
    return load_cluster(cluster(tmp_path, "aws-small.yaml", file_mounts=mounts))


def checkpoint(path: Path, size: int = GIB) -> Path:
    path.mkdir(parents=True)
    with (path / "model.safetensors").open("wb") as file:
        file.truncate(size)
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A hub on this machine: its answers by path, and under "asked" the headers that it was asked with."""
    answers: dict[str, Any] = {"asked": []}

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers["asked"].append((self.path, self.headers.get("Authorization")))
            status, body = answers.get(self.path.partition("?")[0], (404, {}))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    yield answers
    server.shutdown()
    thread.join(5)
    server.server_close()


def test_the_hub_tells_what_the_weights_weigh(hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"model-1.safetensors": 5, "model-2.safetensors": 6, "pytorch_model.bin": 100, "original/x.safetensors": 70}
    listed = [{"rfilename": name, "size": size} for name, size in files.items()]
    hub["/api/models/org/m"] = (200, {"siblings": listed})
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert ask_hub("org/m") == HubAnswer(200, 11)
    assert hub["asked"] == [("/api/models/org/m?blobs=true", "Bearer secret")]


def test_a_hub_that_says_no_or_nothing_raises_nothing(hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    hub["/api/models/org/gated"] = (401, {})
    hub["/api/models/org/page"] = (200, b"<html>a proxy's page</html>")
    hub["/api/models/org/bare"] = (200, {"siblings": "many"})
    assert ask_hub("org/gated") == HubAnswer(401)
    assert ask_hub("org/none") == HubAnswer(404)
    assert ask_hub("org/page").status == 0
    assert ask_hub("org/bare") == HubAnswer(200, None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "was not reached" in ask_hub("org/m").reason
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ask_hub("org/m").reason == "HF_HUB_OFFLINE is set"


@pytest.mark.parametrize(
    ("answer", "verdict", "said", "weight"),
    [
        (HubAnswer(200, 15 * GIB), PASS, "15.0 GiB", 15 * GIB),
        (HubAnswer(200), PASS, "gives org/m out", None),
        (HubAnswer(403), WARNING, "gated", None),
        (HubAnswer(404), FAILURE, "no model org/m", None),
        (HubAnswer(500), UNKNOWN, "HTTP 500", None),
        (HubAnswer(0, reason="no route"), UNKNOWN, "no route", None),
    ],
)
def test_what_the_hub_says_decides(
    tmp_path: Path, answer: HubAnswer, verdict: Verdict, said: str, weight: int | None
) -> None:
    found = weights(on_aws(tmp_path), "org/m", lambda _model: answer)
    assert (found.check.verdict, found.weight_bytes) == (verdict, weight)
    assert said in found.check.sentence


def test_a_directory_on_a_cloud_is_looked_for_below_what_is_mounted(tmp_path: Path) -> None:
    checkpoint(tmp_path / "mine" / "llama")
    (tmp_path / "mine" / "empty").mkdir()
    config = on_aws(tmp_path, **{"/models": str(tmp_path / "mine")})
    found = weights(config, "/models/llama")
    assert (found.check.verdict, found.weight_bytes) == (PASS, GIB)
    assert weights(config, "/models/none").check.verdict is FAILURE
    assert weights(config, "/models/empty").check.sentence == "/models/empty holds no weights."
    # What only the nodes have is nobody's fault, and what only this machine has is not theirs.
    assert weights(config, "/nvme/llama").check.verdict is UNKNOWN
    assert weights(config, str(tmp_path / "mine" / "llama")).check.verdict is WARNING
    assert weights(config, "tiny").check.verdict is PASS


def planned(gpus: int, node_type: str = "gpu") -> Plan:
    return Plan(shape=Shape(gpus, 1, 1), bundles=(), nodes=(NodeCount(node_type, gpus, ""),), why=())


@pytest.mark.parametrize(
    ("weight", "memory", "gpus", "verdict", "said"),
    [
        (15 * GIB, 24 * GIB, 1, PASS, "15.0 GiB of weights on 1 GPU of 24.0 GiB"),
        (20 * GIB, 24 * GIB, 1, WARNING, "too little for the KV cache"),
        (140 * GIB, 24 * GIB, 4, WARNING, "do not fit"),
        (140 * GIB, 24 * GIB, 9, PASS, "9 GPUs"),
        (140 * GIB, None, 9, UNKNOWN, "Whether the weights fit"),
    ],
)
def test_weights_are_held_against_a_replicas_gpus(
    weight: int, memory: int | None, gpus: int, verdict: Verdict, said: str
) -> None:
    (check,) = fits(planned(gpus), {"gpu": memory}, weight)
    assert check.verdict is verdict
    assert said in check.sentence
    assert fits(planned(gpus), {"gpu": memory}, None) == ()


def test_up_is_warned_of_weights_that_do_not_fit(tmp_path: Path) -> None:
    checkpoint(tmp_path / "mine" / "large", 100 * GIB)
    config = on_aws(tmp_path, **{"/models": str(tmp_path / "mine")})
    name = next(each.name for each in config.capacity.node_types if each.gpus)
    checks = before_launch(config, "/models/large", planned(2, name))
    assert [(each.name, each.verdict) for each in checks] == [("model", PASS), ("memory", WARNING)]


def doctor(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> tuple[int, dict[str, str]]:
    capsys.readouterr()
    code = run(["doctor", str(path), "-o", "json", *words])
    out = capsys.readouterr().out
    return code, {each["name"]: each["verdict"] for each in json.loads(out)["checks"]}


def test_doctor_on_nodes_of_this_machine(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: dict[str, Any]
) -> None:
    monkeypatch.setenv("ELASTIC_DEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cli_doctor, "running_checks", lambda _config: ())
    path = cluster(tmp_path, "local.yaml")
    assert doctor(capsys, path, "--model", str(checkpoint(tmp_path / "m")), "--gpus", "2")[1]["model"] == "pass"
    code, checks = doctor(capsys, path, "--model", str(tmp_path / "none"), "--gpus", "2")
    assert (code, checks["model"]) == (7, "failure")
    assert doctor(capsys, path, "--model", "org/none")[0] == 7
    hub["/api/models/org/m"] = (200, {"siblings": [{"rfilename": "a.safetensors", "size": GIB}]})
    code, checks = doctor(capsys, path, "--model", "org/m", "--gpus", "1")
    # The nodes of this machine have no GPU of a known size.
    assert (code, checks["model"], checks["memory"], checks["engine"]) == (0, "pass", "unknown", "pass")
    code, checks = doctor(capsys, path, "--model", "tiny", "--gpus", "100")
    assert (code, checks["room"]) == (4, "failure")


def test_doctor_says_of_machines_that_already_run_that_there_is_nothing_to_launch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["doctor", str(TEMPLATES / "onprem-ssh.yaml")]) == 3
    err = capsys.readouterr().err
    assert "machines that already run" in err
    assert "`ray up`" in err
