"""What the gateway writes of its load, and what the supervisor reads of it."""

import json
import os
import time
from pathlib import Path
from typing import Any

from elastic_deploy.gateway.demand import Demand
from elastic_deploy.gateway.hold import WaitingRoom
from elastic_deploy.gateway.settings import HoldLimits
from elastic_deploy.gateway.table import RoutingTable
from elastic_deploy.model.action import RouteEntry
from elastic_deploy.runtime.load_files import read_loads

TABLE = RoutingTable((RouteEntry("tiny", "chat", (), ""),))


def room() -> WaitingRoom:
    return WaitingRoom(HoldLimits())


def announce(directory: Path, pid: int) -> None:
    (directory / "gateway.json").write_text(json.dumps({"pid": pid}))


def write(directory: Path, pid: int, age: float = 0.0, **told: Any) -> None:
    part = {"running": 0, "waiting": 0, "quiet_for": 100.0, "last_request_ago": None, **told}
    (directory / "load").mkdir(exist_ok=True)
    document = {"at": time.time() - age, "deployments": {"chat": part}}
    (directory / "load" / f"{pid}.json").write_text(json.dumps(document))


def test_what_a_gateway_tells_is_read(tmp_path: Path) -> None:
    announce(tmp_path, os.getpid())
    demand = Demand(tmp_path)
    with demand.one_more("chat"):
        demand.tell(TABLE, room())
    [load] = read_loads(tmp_path)
    assert (load.deployment, load.running, load.waiting, load.quiet_for) == ("chat", 1, 0, 0.0)
    assert load.last_request_ago is not None
    assert load.last_request_ago < 5
    demand.withdraw()
    assert read_loads(tmp_path) == ()


def test_quiet_is_no_longer_than_since_the_last_request_ended(tmp_path: Path) -> None:
    demand = Demand(tmp_path)
    with demand.one_more("chat"):
        pass
    now = time.monotonic() + 50
    told = demand.document(TABLE, room(), now)["deployments"]["chat"]
    assert 49 < told["quiet_for"] < 52
    assert Demand(tmp_path).document(TABLE, room(), now)["deployments"]["chat"]["last_request_ago"] is None


def test_gateways_that_follow_each_other_are_summed(tmp_path: Path) -> None:
    announce(tmp_path, 11)
    write(tmp_path, 10, running=2, quiet_for=0.0, last_request_ago=30.0)
    write(tmp_path, 11, waiting=1, quiet_for=20.0, last_request_ago=3.0)
    [load] = read_loads(tmp_path)
    assert (load.running, load.waiting, load.quiet_for, load.last_request_ago) == (2, 1, 0.0, 3.0)


def test_nothing_is_known_where_the_present_gateway_says_nothing(tmp_path: Path) -> None:
    assert read_loads(tmp_path) == ()
    announce(tmp_path, 11)
    write(tmp_path, 10)
    assert read_loads(tmp_path) == (), "only the former one has told"
    write(tmp_path, 11, age=30.0)
    assert read_loads(tmp_path) == (), "what it told is old"
    write(tmp_path, 11)
    (tmp_path / "load" / "11.json").write_text("{")
    assert read_loads(tmp_path) == ()
