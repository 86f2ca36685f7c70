"""`elastic-deploy timeline`: who waited for what, when, as a picture; of a cluster that runs, or that is gone."""

import math
import time
from pathlib import Path
from typing import Any

import click

from elastic_deploy.cli.options import Duration, cluster_argument
from elastic_deploy.cli.terminal import note
from elastic_deploy.cli.timeline_picture import html, svg
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.head import find_head
from elastic_deploy.cluster.records import journal_path, read_records
from elastic_deploy.core.timeline import latest_life, timeline_of
from elastic_deploy.model.errors import RefusedError, UsageError

_KINDS = {".svg": svg, ".html": html, ".htm": html}


@click.command("timeline")
@cluster_argument
@click.option("-o", "--output", "target", required=True, metavar="FILE", help="What is written: an .html or an .svg.")
@click.option("--last", type=Duration(), metavar="TIME", help="Only so much before the end: 30m, 2h.  [default: all]")
@click.option("--all", "all_lives", is_flag=True, help="The cluster's earlier lives too, not its latest alone.")
def command(cluster: Path, target: str, last: float | None, all_lives: bool) -> None:
    """Draw who waited for what, when: a row for each replica and node, a bar for each of its steps.

    The picture is drawn from the journal, the head's or, after `down`, its local copy. It is one file, and nothing
    in it runs.
    """
    path = Path(target)
    draw = _KINDS.get(path.suffix.lower())
    if draw is None:
        raise UsageError(f"A timeline is written as .svg or .html, not as {target!r}: name such a file with -o.")
    config = load_cluster(cluster)
    head = find_head(config)
    if head is None:
        note(f"Cluster {config.name} does not run: this is the journal's copy in {journal_path(config.name)}.")
        events = list(read_records(journal_path(config.name)))
    else:
        events = list(head.stream("events", {"after": None, "follow": False}))
    events = [event for event in events if _is_event(event)]
    chosen = events if all_lives else latest_life(events)
    length = None if last is None or math.isinf(last) else last
    timeline = timeline_of(chosen, time.time() if head else None, length)
    if timeline is None:
        raise RefusedError(f"There is no journal of cluster {config.name}: nothing was deployed on it from here yet.")
    try:
        path.write_text(draw(timeline, f"Cluster {config.name}"), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): name another file.") from error
    note(f"The timeline is in {path}: {len(timeline.rows)} rows.")


def _is_event(event: dict[str, Any]) -> bool:
    """Whether a line of the local copy is an event; what a crash has spoilt is passed over."""
    return str(event.get("id", "")).isdecimal() and isinstance(event.get("time"), int | float) and "kind" in event
