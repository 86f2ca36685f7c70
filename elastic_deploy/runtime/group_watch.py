"""Wakes the supervisor the moment that Ray has placed a group, which a look a second would notice half a second late.

Called by the supervisor with what it has just seen. It decides nothing: what is true is read again by the next look.
"""

import asyncio
from collections.abc import Callable, Iterable

from ray._raylet import PlacementGroupID
from ray.util.placement_group import PlacementGroup

from elastic_deploy.model.snapshot import GroupSeen, GroupState


class GroupWatch:
    """One wait for each group that is not whole. All methods belong to the supervisor's event loop."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._waits: dict[str, asyncio.Future[object]] = {}

    def follow(self, groups: Iterable[GroupSeen]) -> None:
        """Wait for those of `groups` that are not placed, and for no others."""
        unplaced = {g.id for g in groups if g.state not in (GroupState.CREATED, GroupState.REMOVED)}
        for group_id in self._waits.keys() - unplaced:
            self._waits.pop(group_id).cancel()
        for group_id in unplaced - self._waits.keys():
            ready = PlacementGroup(PlacementGroupID(bytes.fromhex(group_id))).ready()
            wait = asyncio.wrap_future(ready.future())
            wait.add_done_callback(self._done)
            self._waits[group_id] = wait

    def _done(self, wait: "asyncio.Future[object]") -> None:
        if not wait.cancelled():
            wait.exception()  # a group that was removed meanwhile: the next look tells
            self._changed()
