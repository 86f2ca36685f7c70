"""From the facts of a running cluster to its checks, and the two things that a node does to find them."""

import http.server
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from elastic_deploy.model.check import Check, Verdict
from elastic_deploy.runtime.node_checks import ports, wire
from elastic_deploy.runtime.node_checks.facts import Answer, ClusterFacts, Knock, Link, Listener, NodeFacts, Path
from elastic_deploy.runtime.node_checks.judge import judge

VERSIONS = {"ray": "2.60.0", "vllm": "0.32.0", "elastic-deploy": "0.4.0", "python": "3.11.2"}
HEAD = NodeFacts(
    node="i-head",
    host_name="head",
    resolved="10.0.0.1",
    versions=VERSIONS,
    driver="580.65",
    cuda="13.0",
    smi_gpus=1,
    ray_gpus=1,
    free_disk={"/cache": 100 << 30, "/tmp": 100 << 30},
    shared_memory=8 << 30,
    open_files=65536,
)
WORKER = replace(HEAD, node="i-worker", host_name="worker", resolved="10.0.0.2")
THIRD = replace(HEAD, node="i-third", host_name="third", resolved="10.0.0.3")
GCS = Listener("0.0.0.0", 6379, "gcs_server")
WELL = ClusterFacts(
    addresses={"i-head": "10.0.0.1", "i-worker": "10.0.0.2", "i-third": "10.0.0.3"},
    nodes=(HEAD, WORKER, THIRD),
    paths=(Path("i-head", "i-worker", "raylet", 4000), Path("i-worker", "i-head", "raylet", 4000)),
    links=tuple(Link("i-head", other, 0.0002, 3e9) for other in ("i-worker", "i-third", "i-fourth")),
    clocks={"i-worker": 0.01, "i-third": -0.02},
    knocks=(Knock("i-head", GCS, Answer.REFUSED, "gRPC UNAUTHENTICATED"),),
)


def checks_of(facts: ClusterFacts) -> dict[str, Check]:
    return {check.name: check for check in judge(facts)}


def test_a_well_cluster_passes_every_check() -> None:
    assert {check.name: check.sentence for check in judge(WELL) if check.verdict is not Verdict.PASS} == {}
    assert all(not check.mend for check in judge(WELL))


def nodes(worker: NodeFacts) -> ClusterFacts:
    return replace(WELL, nodes=(HEAD, worker, THIRD))


CUT = replace(WELL, paths=(Path("i-head", "i-worker", "ephemeral ports", 40001, "no answer within 3 s"),))
SLOW = replace(WELL, links=(*WELL.links, Link("i-third", "i-head", 0.0002, 0.9e9)))
UNEVEN = replace(WELL, links=(*WELL.links, Link("i-third", "i-head", 0.0002, 1.1e9)))


@pytest.mark.parametrize(
    ("facts", "name", "verdict", "words"),
    [
        (replace(WELL, dead={"i-9": "the raylet died"}), "nodes", Verdict.FAILURE, "i-9 is dead (the raylet died)"),
        (replace(WELL, silent={"i-9": "it did not start"}), "nodes", Verdict.FAILURE, "i-9 does not answer"),
        (CUT, "network", Verdict.FAILURE, "i-head does not reach i-worker's ephemeral ports on port 40001"),
        (nodes(replace(WORKER, resolved="127.0.1.1")), "host names", Verdict.FAILURE, "resolves to 127.0.1.1"),
        (nodes(replace(WORKER, resolved="")), "host names", Verdict.FAILURE, "resolves to nothing"),
        (SLOW, "links", Verdict.WARNING, "i-third to i-head carries 7.20 Gbit/s"),
        (UNEVEN, "links", Verdict.PASS, "24.00 Gbit/s"),
        (replace(WELL, clocks={"i-worker": -1.5}), "clocks", Verdict.WARNING, "i-worker's clock is 1.5 s behind"),
        (nodes(replace(WORKER, free_disk={"/c": 5 << 30})), "disk", Verdict.WARNING, "i-worker has 5.0 GiB free in /c"),
        (nodes(replace(WORKER, free_disk={"/c": 1 << 20})), "disk", Verdict.FAILURE, "i-worker has 0.0 GiB"),
        (nodes(replace(WORKER, driver="570.1")), "drivers", Verdict.FAILURE, "driver 570.1, CUDA 13.0 on i-worker"),
        (nodes(replace(WORKER, smi_gpus=0)), "gpus", Verdict.FAILURE, "i-worker has 1 GPUs as Ray believes and 0"),
        (nodes(replace(WORKER, smi_gpus=None)), "gpus", Verdict.FAILURE, "and none as nvidia-smi says"),
        (nodes(replace(WORKER, versions=VERSIONS | {"vllm": ""})), "versions", Verdict.FAILURE, "vllm absent on i-w"),
        (nodes(replace(WORKER, shared_memory=64 << 20)), "shared memory", Verdict.WARNING, "0.06 GiB in /dev/shm"),
        (nodes(replace(WORKER, open_files=1024)), "open files", Verdict.WARNING, "i-worker may open 1024 files"),
        (nodes(replace(WORKER, token_auth=False)), "strangers", Verdict.FAILURE, "is off on i-worker"),
        (
            replace(WELL, knocks=(Knock("i-head", GCS, Answer.OPEN, "gRPC CheckAlive"),)),
            "strangers",
            Verdict.FAILURE,
            "gcs_server on i-head port 6379",
        ),
        (
            replace(WELL, knocks=(Knock("i-head", GCS, Answer.UNSPOKEN, "neither HTTP nor gRPC"),)),
            "strangers",
            Verdict.UNKNOWN,
            "gcs_server on i-head port 6379",
        ),
        (
            replace(WELL, knocks=(Knock("i-head", GCS, Answer.METRICS, "metrics"),)),
            "strangers",
            Verdict.WARNING,
            "gcs_server on i-head port 6379",
        ),
        (replace(WELL, nodes=()), "strangers", Verdict.UNKNOWN, "No node answered"),
    ],
)
def test_one_fault_is_one_check(facts: ClusterFacts, name: str, verdict: Verdict, words: str) -> None:
    check = checks_of(facts)[name]
    assert (check.verdict, words in check.sentence) == (verdict, True), check.sentence
    assert bool(check.mend) is (verdict in (Verdict.WARNING, Verdict.FAILURE) or check.mend != "")


def test_no_driver_anywhere_is_a_rehearsal() -> None:
    bare = tuple(replace(node, smi_gpus=None, driver="", cuda="") for node in WELL.nodes)
    found = checks_of(replace(WELL, nodes=bare))
    assert found["drivers"].verdict is found["gpus"].verdict is Verdict.PASS
    assert "rehearsal" in found["drivers"].sentence


def test_nodes_that_share_an_address_need_no_name() -> None:
    here = tuple(replace(node, resolved="127.0.0.1") for node in WELL.nodes)
    shared = dict.fromkeys(WELL.addresses, "10.0.0.1")
    assert checks_of(replace(WELL, nodes=here, addresses=shared))["host names"].verdict is Verdict.PASS


def test_a_long_list_is_cut_and_counted() -> None:
    many = replace(WELL, silent={f"i-{number}": "gone" for number in range(9)})
    assert checks_of(many)["nodes"].sentence.endswith("; and 4 more.")


def test_a_listener_tells_the_time_and_counts_bytes_to_whoever_has_its_secret() -> None:
    listening = wire.Listening()
    try:
        took, ahead = wire.look_at_clock("127.0.0.1", listening.port, listening.secret)
        assert 0 < took < 5
        assert abs(ahead) < 5
        assert wire.stream("127.0.0.1", listening.port, listening.secret) > 0
        with pytest.raises((EOFError, OSError)):
            wire.look_at_clock("127.0.0.1", listening.port, bytes(16))
        assert wire.reach("127.0.0.1", listening.port) == ""
    finally:
        listening.close()
    assert wire.reach("127.0.0.1", listening.port) == "Connection refused"


@contextmanager
def web(status: int, kind: str = "application/json") -> Iterator[int]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("status", "answer"), [(401, Answer.REFUSED), (200, Answer.OPEN), (404, Answer.OPEN)])
def test_a_web_port_is_judged_by_its_status(status: int, answer: Answer) -> None:
    with web(status) as port:
        assert ports.knock("127.0.0.1", port) == (answer, f"HTTP {status}")


def test_an_exporter_of_metrics_is_told_apart() -> None:
    with web(200, "text/plain; version=1.0.0; charset=utf-8") as port:
        assert ports.knock("127.0.0.1", port) == (Answer.METRICS, "metrics")


def test_an_answer_in_pieces_is_read_to_the_end_of_its_head() -> None:
    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            for piece in (b"HTTP/1.0 200 OK\r\n", b"Content-Type: text/plain; version=0.0.4\r\n\r\n", b"a 1\n"):
                connection.sendall(piece)
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=[server], daemon=True).start()
        assert ports.knock("127.0.0.1", server.getsockname()[1]) == (Answer.METRICS, "metrics")


def test_a_port_that_speaks_nothing_known_is_said_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert ports.knock("127.0.0.1", mute.getsockname()[1])[0] is Answer.UNSPOKEN


def test_a_port_that_is_closed_by_now_was_not_reached() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert ports.knock("127.0.0.1", closed.getsockname()[1])[0] is Answer.UNREACHED


def test_ports_are_those_of_marked_processes_and_not_of_this_one_or_of_strangers() -> None:
    mark = f"mark-{secrets.token_hex(8)}"
    serve = "import socket, sys; s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); s.accept()"
    with socket.create_server(("", 0)) as mine:
        served = subprocess.Popen([sys.executable, "-c", serve, mark], stdout=subprocess.PIPE)
        try:
            assert served.stdout is not None
            port = int(served.stdout.readline())
            assert port in {each.port for each in ports.listeners((mark,))}
            assert port not in {each.port for each in ports.listeners(("another-mark",))}
            assert mine.getsockname()[1] not in {each.port for each in ports.listeners((mark, sys.executable))}
        finally:
            served.kill()
            served.communicate(timeout=10)
