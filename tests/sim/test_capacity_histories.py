"""Days of scarce capacity with a hundred nodes: what must hold of every wait, and what waiting our way gains.

`scripts/bench-waiting` plays a thousand of the same histories; `ELASTIC_DEPLOY_CAPACITY_HISTORIES` sets how many there
are here (default 10: half a minute of one processor).
"""

import os
from functools import cache

import pytest

from elastic_deploy.core.decide import Decision

from .capacity_histories import HANG_ENDS, KINDS, history
from .long_play import LongPlay
from .outcomes import Outcome, Summary, outcome
from .policies import LADDER, PLAIN, POLICIES, POOLED, REFUSALS, fleet

pytestmark = pytest.mark.timeout(7200)
SEEDS = range(1, 1 + int(os.environ.get("ELASTIC_DEPLOY_CAPACITY_HISTORIES", "10")))
DAYS = 2.0


@cache
def played(seed: int, policy: str) -> Outcome:
    """A history under a policy, played once."""
    return outcome(seed, DAYS, policy)


def summary(policy: str) -> Summary:
    """All histories under a policy."""
    return Summary([played(seed, policy) for seed in SEEDS])


@pytest.mark.parametrize("policy", POLICIES)
def test_whatever_the_cloud_has_nothing_is_broken(policy: str) -> None:
    """The invariants; of ours also that pools rest, that what could serve does, and that nothing goes in circles."""
    assert summary(policy).broken == []


def test_serving_begins_no_later_than_by_waiting_for_the_first_pool() -> None:
    ours, plain = summary(POOLED), summary(PLAIN)
    assert ours.median <= plain.median
    assert ours.p90 < plain.p90 / 2


def test_less_is_burnt_in_parts_of_gangs_and_more_serves() -> None:
    ours, plain, refusals = summary(POOLED), summary(PLAIN), summary(REFUSALS)
    assert ours.usd_waiting < min(plain.usd_waiting, refusals.usd_waiting) / 2
    assert ours.gpus > max(plain.gpus, refusals.gpus)


def test_a_smaller_shape_serves_where_otherwise_nothing_would() -> None:
    ladder, ours = summary(LADDER), summary(POOLED)
    assert ladder.degraded > 0
    assert ladder.full + ladder.degraded >= ours.full


class Restless(LongPlay):
    """Also decides in the midst of every quiet time, as the supervisor does every second."""

    def passes(self, until: float) -> None:
        """Nothing may be done that was not announced, but by what the cloud refuses again."""
        now = self.world.now
        super().passes(until)
        if until - now > 2.0 and not self.world.machines.short:
            self.world.now = (now + until) // 2
            decision: Decision = self.decide()
            unannounced = [*decision.actions, *decision.why]
            self.broken += [f"{each} at {self.now:g} s, which nothing had announced" for each in unannounced]
            self.world.now = now


@pytest.mark.parametrize("policy", [POOLED, LADDER])
@pytest.mark.parametrize("seed", SEEDS[:4])
def test_between_the_times_it_asks_to_be_woken_at_there_is_nothing_to_do(seed: int, policy: str) -> None:
    """Which the jumping clock of all histories relies on."""
    assert Restless(history(seed, DAYS), fleet(policy)).run().broken == []


def test_a_seed_is_one_history_whatever_is_asked() -> None:
    one, other = history(5, DAYS), history(5, DAYS)
    assert one == other != history(6, DAYS)
    assert [pool.life(3, 1000.0) for pool in one.pools] == [pool.life(3, 1000.0) for pool in other.pools]


def test_histories_have_what_befalls_a_cluster() -> None:
    histories = [history(seed, DAYS) for seed in range(40)]
    pools = [pool for each in histories for pool in each.pools]
    assert any(pool.level(0.0) == 0 for pool in pools)
    assert any(pool.level(0.0) == pool.kind.slots for pool in pools)
    assert any(0 < level < 8 for pool in pools for level in pool.levels), "parts of gangs"
    lives = [pool.life(slot, 600.0) for pool in pools for slot in range(0, pool.kind.slots, 7)]
    assert any(life.hangs and life.dies == 600.0 + HANG_ENDS for life in lives)
    assert any(life.joins - 600.0 > 300.0 for life in lives if not life.hangs)
    assert any(life.dies < DAYS * 86400 for life in lives)
    spot = [pool.life(slot, 600.0) for pool in pools if pool.kind.spot for slot in (0, 59)]
    assert any(life.noticed < life.dies for life in spot)
    together = [
        at
        for each in histories
        for at in each.by_name["a-h100"].times
        if at > 0 and all(each.by_name[kind.name].level(at) == 0 for kind in KINDS if kind.zone == "a")
    ]
    assert together, "a zone's outage takes all of its pools"
