"""The supervisor is woken when Ray has placed a group, and not before; against a small Ray of a process of its own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

PROGRAM = """
import asyncio, os
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from elastic_deploy.runtime import ray_tables
from elastic_deploy.runtime.group_watch import GroupWatch
from elastic_deploy.runtime.observe import group_seen

ray.init(num_cpus=1, num_gpus=2, include_dashboard=False, log_to_driver=False)


def groups():
    return [seen for seen in map(group_seen, ray_tables.groups()) if seen]


async def main():
    woken = asyncio.Event()
    watch = GroupWatch(woken.set)
    first = placement_group([{"GPU": 1}] * 2, name="group/a/r0", lifetime="detached")
    await asyncio.to_thread(first.wait, 30)
    second = placement_group([{"GPU": 1}] * 2, name="group/b/r0", lifetime="detached")
    never = placement_group([{"GPU": 1}] * 9, name="group/c/r0", lifetime="detached")
    watch.follow(groups())
    await asyncio.sleep(1.5)
    print("early" if woken.is_set() else "quiet", flush=True)
    remove_placement_group(first)
    await asyncio.wait_for(woken.wait(), 30)
    print("woken", flush=True)
    watch.follow(groups())
    remove_placement_group(never)
    await asyncio.sleep(0.5)
    watch.follow(groups())
    print("calm", flush=True)


asyncio.run(main())
ray.shutdown()
"""


def test_it_wakes_when_a_group_is_placed_and_only_then() -> None:
    with tempfile.TemporaryDirectory(prefix="ed-watch-") as directory:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {"HOME": directory, "RAY_TMPDIR": directory, "RAY_AUTH_MODE": "disabled"}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, env=environment
        )
    assert done.stdout.split() == ["quiet", "woken", "calm"], done.stderr
    assert "Traceback" not in done.stderr
