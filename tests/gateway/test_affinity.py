"""Prompts that begin equally go to the engine that saw their beginning, as long as load lets them."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_deploy.gateway.affinity import KEPT, Affinity
from elastic_deploy.gateway.ask import parse_ask
from elastic_deploy.gateway.balance import MARGIN, Load, choose
from elastic_deploy.gateway.prefix import BLOCK, MOST_BLOCKS, TOKENS, blocks
from elastic_deploy.gateway.settings import Settings
from elastic_deploy.model.action import Backend
from elastic_deploy.model.names import EngineName

from .stand_in import answer, engine, front, hang, route, run, write_routes

R0, R1, R2, R3 = (Backend(EngineName("tiny", f"r{n}", 1), f"http://127.0.0.1:{n}") for n in range(4))
ALL = (R0, R1, R2, R3)
TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "s" * BLOCK},
    {"role": "user", "content": "u" * BLOCK},
    {"role": "assistant", "content": [{"type": "text", "text": "a" * BLOCK}]},
    {"role": "user", "content": "v" * BLOCK},
]


def chat(*messages: dict[str, Any], **more: Any) -> tuple[int, ...]:
    return blocks("tiny", {"messages": list(messages), **more})


def test_a_longer_conversation_begins_with_the_chain_of_the_one_that_it_extends() -> None:
    for end in range(2, len(TURNS) + 1):
        shorter, longer = chat(*TURNS[: end - 1]), chat(*TURNS[:end])
        assert len(shorter) < len(longer)
        assert longer[: len(shorter)] == shorter


@pytest.mark.parametrize(
    ("document", "count"),
    [
        ({"prompt": "x" * (BLOCK - 1)}, 0),
        ({"prompt": "x" * BLOCK}, 1),
        ({"prompt": "é" * (3 * BLOCK + 7)}, 3),
        ({"prompt": ["x" * BLOCK, "y"]}, 1),
        ({"prompt": list(range(TOKENS - 1))}, 0),
        ({"prompt": list(range(2 * TOKENS))}, 2),
        ({"prompt": [list(range(2 * TOKENS)), [1]]}, 2),
        ({"prompt": [*range(2 * TOKENS), 2**70]}, 2),
        ({"prompt": [2**70] * TOKENS}, 0),
        ({"prompt": [1, *["x"] * TOKENS]}, 0),
        ({"prompt": "x" * (BLOCK * MOST_BLOCKS * 3)}, MOST_BLOCKS),
        ({"messages": [{"content": "x" * (BLOCK * MOST_BLOCKS * 3)}]}, MOST_BLOCKS),
        ({"input": "x" * BLOCK}, 1),
        ({"prompt": ""}, 0),
        ({"prompt": 7}, 0),
        ({"prompt": [None]}, 0),
        ({}, 0),
    ],
)
def test_a_prompt_has_as_many_links_as_whole_blocks(document: dict[str, Any], count: int) -> None:
    assert len(blocks("tiny", document)) == count


def test_what_prompts_differ_in_makes_other_links_from_there_on() -> None:
    one = chat(*TURNS)
    other = chat(*TURNS[:2], {"role": "user", "content": "a" * BLOCK}, TURNS[3])
    assert one[:2] == other[:2]
    assert not set(one[3:]) & set(other[3:])
    assert not set(one) & set(chat(*TURNS, tools=[{"type": "function", "function": {"name": "f"}}]))
    assert not set(one) & set(blocks("big", {"messages": TURNS}))
    assert not set(one) & set(chat({"role": "user", "content": TURNS[0]["content"]}, *TURNS[1:]))


def test_the_order_and_the_spelling_of_keys_make_no_difference() -> None:
    turned = [dict(reversed(list(turn.items()))) for turn in TURNS]
    plain, escaped = (
        json.dumps({"model": "m", "messages": TURNS}),
        json.dumps({"messages": turned, "model": "m"}, indent=2),
    )
    path = "/v1/chat/completions"
    assert parse_ask(path, plain.encode()).prefix == parse_ask(path, escaped.encode()).prefix != ()
    assert parse_ask("/tokenize", plain.encode()).prefix == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "input", "tools", "instructions"]), JSON))
def test_whatever_a_client_sends_has_a_chain(document: dict[str, Any]) -> None:
    assert len(blocks("tiny", document)) <= MOST_BLOCKS


def test_a_body_that_is_nested_too_deeply_has_one_as_well() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert blocks("m", {"messages": deep}) == ()


@pytest.mark.parametrize(
    ("outstanding", "favoured", "margin", "shunned", "avoid", "chosen"),
    [
        ({}, [R2], 0, [], [], R2),
        ({R2: 3}, [R2], 3, [], [], R2),
        ({R2: 4}, [R2], 3, [], [], R0),
        ({R0: 5, R1: 4, R2: 7, R3: 6}, [R2], 3, [], [], R2),
        ({R0: 5, R1: 4, R2: 8, R3: 6}, [R2], 3, [], [], R1),
        ({R1: 1, R2: 2}, [R1, R2], 3, [], [], R1),
        ({}, [R2], 3, [R2], [], R0),
        ({}, [R2], 3, [], [R2], R0),
        ({R2: 3}, [R2], 3, [R0, R1, R2, R3], [], R2),
        ({R0: 9, R1: 9, R3: 9}, [R0], 8, [], [], R2),
    ],
)
def test_a_favoured_engine_is_asked_while_it_is_within_the_margin(
    outstanding: dict[Backend, int],
    favoured: list[Backend],
    margin: int,
    shunned: list[Backend],
    avoid: list[Backend],
    chosen: Backend,
) -> None:
    work = {backend.engine: count for backend, count in outstanding.items()}
    names = [[backend.engine for backend in each] for each in (shunned, avoid, favoured)]
    assert choose(ALL, work, names[0], names[1], 0, names[2], margin) == chosen


SOME = st.lists(st.sampled_from([backend.engine for backend in ALL]), unique=True)


@given(
    backends=st.lists(st.sampled_from(ALL), unique=True),
    work=st.dictionaries(st.sampled_from([backend.engine for backend in ALL]), st.integers(0, 30)),
    shunned=SOME,
    avoid=SOME,
    favoured=SOME,
    turn=st.integers(0),
    margin=st.integers(0, MARGIN),
)
def test_no_choice_is_one_to_avoid_or_beyond_the_margin(
    backends: list[Backend],
    work: dict[EngineName, int],
    shunned: list[EngineName],
    avoid: list[EngineName],
    favoured: list[EngineName],
    turn: int,
    margin: int,
) -> None:
    chosen = choose(backends, work, shunned, avoid, turn, favoured, margin)
    fit = [backend.engine for backend in backends if backend.engine not in avoid]
    if chosen is None:
        assert not fit
        return
    assert chosen.engine in fit
    well = [name for name in fit if name not in shunned] or fit
    assert chosen.engine in well
    least = min(work.get(name, 0) for name in well)
    assert work.get(chosen.engine, 0) <= least + (margin if chosen.engine in favoured else 0)
    near = [name for name in well if name in favoured and work.get(name, 0) <= least + margin]
    assert chosen.engine in (near or well)


def test_a_conversation_stays_where_it_began_and_others_take_turns() -> None:
    load = Load()
    first = load.choose(ALL, (), 0.0, chat(*TURNS[:2]))
    for end in (3, 4):
        for _ in range(3):
            assert load.choose(ALL, (), 0.0, chat(*TURNS[:end])) == first
    assert {load.choose(ALL, (), 0.0, ()) for _ in ALL} == set(ALL)


@pytest.mark.parametrize(("known", "most"), [(4, MARGIN), (2, MARGIN // 2), (1, MARGIN // 4)])
def test_the_margin_is_in_proportion_to_what_is_known_of_the_prompt(known: int, most: int) -> None:
    prompt = blocks("tiny", {"prompt": "x" * BLOCK * 4})
    for work, chosen in ((most, R0), (most + 1, R1)):
        load = Load()
        load.choose((R0,), (), 0.0, prompt[:known])
        with ExitStack() as stack:
            for _ in range(work):
                stack.enter_context(load.one_more(R0.engine))
            assert load.choose((R0, R1), (), 0.0, prompt) == chosen


def test_load_spreads_a_prefix_to_the_next_engine_which_then_has_it_too() -> None:
    load, prompt = Load(), blocks("tiny", {"prompt": "x" * BLOCK})
    went: Counter[EngineName] = Counter()
    with ExitStack() as stack:
        for _ in range(4 * 20):
            chosen = load.choose(ALL, (), 0.0, prompt)
            assert chosen is not None
            stack.enter_context(load.one_more(chosen.engine))
            went[chosen.engine] += 1
            work = [went[backend.engine] for backend in ALL]
            assert max(work) - min(work) <= MARGIN + 1
    assert len(went) == len(ALL)


def test_an_engine_that_is_gone_from_the_table_is_forgotten() -> None:
    seen = Affinity()
    seen.note((1, 2), R0.engine)
    seen.note((1,), R1.engine)
    everyone = [backend.engine for backend in ALL]
    assert seen.favoured((1, 2, 3), everyone) == (2, [R0.engine])
    seen.keep(everyone[1:])
    assert seen.favoured((1, 2, 3), everyone) == (1, [R1.engine])
    seen.keep(everyone)
    assert seen.favoured((1, 2, 3), everyone) == (1, [R1.engine])


def test_memory_is_bounded_and_what_was_used_longest_ago_goes_first() -> None:
    seen = Affinity(most=10)
    for link in range(10):
        seen.note((link,), R0.engine)
    seen.note((0,), R0.engine)
    seen.note((10,), R0.engine)
    assert len(seen) == 10
    assert seen.favoured((0,), [R0.engine]) == (1, [R0.engine])
    assert seen.favoured((1,), [R0.engine]) == (0, ())
    for number in range(20):
        seen.note((0,), EngineName("tiny", f"r{number}", 2))
    assert len(seen.favoured((0,), [EngineName("tiny", f"r{n}", 2) for n in range(20)])[1]) == KEPT


def test_through_the_door_a_conversation_stays_until_its_engine_is_gone(tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            engines = [await stack.enter_async_context(engine(answer, f"r{n}")) for n in range(3)]
            table = route(*(each.backend for each in engines))
            async with front(Settings(tmp_path, port=0), table) as door:

                async def ask(*messages: dict[str, Any]) -> str:
                    async with door.post({"model": "tiny", "messages": messages}) as response:
                        return str((await response.json())["from"])

                homes = {await ask(*TURNS[:2]) for _ in range(6)}
                assert len(homes) == 1
                assert {await ask(*TURNS) for _ in range(6)} == homes
                assert len({await ask({"role": "user", "content": f"hello {n}"}) for n in range(6)}) == 3
                left = [each for each in engines if {str(each.name)} != homes]
                write_routes(tmp_path, route(*(each.backend for each in left)))
                await asyncio.sleep(0.5)
                assert len({await ask(*TURNS) for _ in range(6)} - homes) == 1

    run(story())


def test_through_the_door_affinity_yields_to_load(tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            busy, other = [await stack.enter_async_context(engine(hang, f"r{n}")) for n in range(2)]
            async with front(Settings(tmp_path, port=0), route(busy.backend, other.backend)) as door:
                ask = {"model": "tiny", "messages": TURNS}
                asking = [asyncio.ensure_future(door.post(ask).__aenter__()) for _ in range(MARGIN + 2)]
                while len(busy.seen) + len(other.seen) < MARGIN + 2:
                    await asyncio.sleep(0.05)
                assert sorted((len(busy.seen), len(other.seen))) == [1, MARGIN + 1]
                for each in asking:
                    each.cancel()

    run(story())
