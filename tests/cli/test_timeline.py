"""`timeline`: well-formed whatever the journal says, its bars where the times are, and nothing in it runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from elastic_deploy.cli.timeline_picture import STEPS, html, svg
from elastic_deploy.cluster.records import journal_path
from elastic_deploy.core.timeline import Timeline, latest_life, timeline_of
from elastic_deploy.model.home import private_dir
from tests.cli.conftest import CLUSTER, Finished, Script

SPOT = Path(__file__).parents[1] / "core" / "journals" / "spot.jsonl"
EVENTS = [json.loads(line) for line in SPOT.read_text().splitlines()]
HOSTILE = """"><script>alert('&')</script>\x00\x1b]]>\ud800 --> <!-- 🦙 </svg>"""
LEFT = 250
SVG = "{http://www.w3.org/2000/svg}"


def drawn(timeline: Timeline | None, title: str = "Cluster") -> ElementTree.Element:
    assert timeline is not None
    return ElementTree.fromstring(svg(timeline, title))


def rows(picture: ElementTree.Element) -> dict[str, ElementTree.Element]:
    return {row.attrib["data-row"]: row for row in picture.iter(f"{SVG}g") if "data-row" in row.attrib}


def drawn_steps(row: ElementTree.Element) -> list[str]:
    return [g.attrib["data-step"] for g in row.iter(f"{SVG}g") if "data-step" in g.attrib]


def test_a_deployment_s_phases_and_what_was_decided_over_it_have_a_row() -> None:
    def told(number: int, kind: str, **data: Any) -> dict[str, Any]:
        event = {"id": f"{number:06d}", "time": 100.0 * number, "kind": kind, "deployment": "chat", "message": kind}
        return event | {"replica": None, "node": None, "subject": ""} | data

    events = [
        told(1, "phase", to="waiting"),
        told(2, "pool.chosen"),
        told(3, "deployment.lowered"),
        told(4, "phase", to="degraded"),
        told(5, "deployment.raised"),
        told(6, "phase", to="ready"),
    ]
    timeline = timeline_of(events, now=700.0)
    assert timeline is not None
    (row,) = [row for row in timeline.rows if row.kind == "deployment"]
    bars = [(bar.step, bar.start, bar.end, bar.open_ended) for bar in row.bars]
    assert bars == [("waiting", 100, 400, False), ("degraded", 400, 600, False), ("ready", 600, 700, True)]
    assert [mark.kind for mark in row.marks] == ["pool.chosen", "deployment.lowered", "deployment.raised"]
    assert drawn_steps(rows(drawn(timeline))["chat"]) == ["waiting", "degraded", "ready"]


def test_each_bar_stands_where_its_times_are() -> None:
    picture = drawn(timeline_of(EVENTS))
    start, end = float(picture.attrib["data-from"]), float(picture.attrib["data-to"])
    assert (start, end) == (EVENTS[0]["time"], EVENTS[-1]["time"])
    seen = []
    for bar in (g for g in picture.iter(f"{SVG}g") if "data-step" in g.attrib):
        box = bar.find(f"{SVG}rect")
        assert box is not None
        since, until = float(bar.attrib["data-from"]), float(bar.attrib["data-to"])
        scale = (1280 - 24 - LEFT) / (end - start)
        assert float(box.attrib["x"]) == pytest.approx(LEFT + (since - start) * scale, abs=0.02)
        assert float(box.attrib["width"]) == pytest.approx(max(1.5, (until - since) * scale), abs=0.03)
        seen.append(bar.attrib["data-step"])
    assert set(seen) <= set(STEPS)
    replica = list(drawn_steps(rows(picture)["tiny/r0"]))
    assert replica[:4] == ["gathering", "clearing", "starting", "ready"]


def test_a_row_for_each_replica_and_node_with_what_befell_it() -> None:
    found = rows(drawn(timeline_of(EVENTS)))
    assert list(found) == ["cloud", "tiny", "tiny/r0", "tiny/r1", "gpu-4d5ba6a7fe62", "gpu-1108c720f46b"]
    marks = {name: [g.attrib["data-mark"] for g in row.iter(f"{SVG}g") if "data-mark" in g.attrib]
             for name, row in found.items()}  # fmt: skip
    assert marks["tiny/r1"] == ["recovered"]
    assert marks["gpu-4d5ba6a7fe62"] == ["node.notice", "node.lost"]


def hostile_events() -> list[dict[str, Any]]:
    told = [{**e, "message": HOSTILE, "node": e["node"] and HOSTILE, "node_type": HOSTILE} for e in EVENTS]
    return [{**e, "deployment": HOSTILE, "replica": e["replica"] and HOSTILE} if e["deployment"] else e for e in told]


def test_hostile_words_stay_words() -> None:
    timeline = timeline_of(hostile_events())
    picture = drawn(timeline, HOSTILE)
    assert timeline is not None
    tags = {element.tag.removeprefix(SVG) for element in picture.iter()}
    assert tags == {"svg", "title", "style", "rect", "text", "tspan", "line", "path", "g"}
    assert any("<script>" in name for name in rows(picture)), "the words are there, as words"
    page = html(timeline, HOSTILE)
    assert "<script" not in page
    page.encode()


def test_what_lasts_lasts_until_now_and_a_cluster_that_is_gone_ended_with_its_journal() -> None:
    serving = EVENTS[:13]
    now = serving[-1]["time"] + 100
    running, gone = timeline_of(serving, now), timeline_of(serving)
    assert running is not None
    assert gone is not None
    last = [row.bars[-1] for row in running.rows if row.label == "tiny/r0"]
    assert [(bar.step, bar.end, bar.open_ended) for bar in last] == [("ready", now, True)]
    assert gone.end == serving[-1]["time"]


def test_only_the_last_of_it_and_only_the_latest_life() -> None:
    last = timeline_of(EVENTS, last=60)
    assert last is not None
    assert last.end - last.start == 60
    assert all(last.start <= bar.start <= bar.end <= last.end for row in last.rows for bar in row.bars)
    again = [{**event, "time": event["time"] + 90_000} for event in EVENTS]
    assert latest_life([*EVENTS, *again]) == again
    assert timeline_of([]) is None


@pytest.mark.parametrize("seconds", [0, 0.5, 59, 3601, 90_000, 40 * 86400, 4000 * 86400])
def test_the_axis_has_some_times_and_never_too_many(seconds: float) -> None:
    picture = drawn(Timeline(1_000_000.25, 1_000_000.25 + seconds, ()))
    assert len(list(picture.iter(f"{SVG}line"))) <= 11
    assert len(list(picture.iter(f"{SVG}line"))) >= (2 if seconds >= 59 else 0)


def test_a_cluster_that_is_gone_is_drawn_from_the_local_copy(
    cli: Callable[..., Finished], cluster_yaml: Path, home: Path, tmp_path: Path
) -> None:
    done = cli("timeline", cluster_yaml, "-o", tmp_path / "t.svg")
    assert (done.code, (tmp_path / "t.svg").exists()) == (7, False)
    assert "no journal" in done.err
    path = journal_path(CLUSTER)
    assert path.is_relative_to(home)
    private_dir(path.parent)
    path.write_text(SPOT.read_text() + '{"id": 3}\nnot json\n')
    assert cli("timeline", cluster_yaml, "-o", tmp_path / "t.svg").code == 0
    assert "tiny/r1" in rows(ElementTree.parse(tmp_path / "t.svg").getroot())
    assert cli("timeline", cluster_yaml, "-o", tmp_path / "t.html", "--last", "1m").code == 0
    page = (tmp_path / "t.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "http" not in page.replace("http://www.w3.org/2000/svg", ""), "nothing is fetched"
    refused = cli("timeline", cluster_yaml, "-o", tmp_path / "t.png")
    assert (refused.code, ".svg or .html" in refused.err) == (2, True)


def test_a_cluster_that_runs_is_drawn_from_its_head(
    cli: Callable[..., Finished], cluster_yaml: Path, head: Script, tmp_path: Path
) -> None:
    head.answer("events", [{"ok": event} for event in EVENTS])
    assert cli("timeline", cluster_yaml, "-o", tmp_path / "t.svg").code == 0
    assert len(rows(ElementTree.parse(tmp_path / "t.svg").getroot())) == 6
    nowhere = cli("timeline", cluster_yaml, "-o", tmp_path / "no" / "t.svg")
    assert (nowhere.code, "cannot be written" in nowhere.err) == (2, True)
