"""A prompt's beginning as a chain of hashes, one a block: prompts that begin equally have equal first links.

Pure; asked by `ask` for what `affinity` remembers. Python's own hashes, which differ from process to process: nobody
outside can aim at one, and two prompts that meet in one by chance only share an engine.
"""

from array import array
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

BLOCK = 512
"""Characters of a block: about 128 tokens, eight of vLLM's own cache blocks. Less is computed again in no time."""
TOKENS = 128
"""The same where the prompt is token ids."""
MOST_BLOCKS = 64
"""Blocks of one prompt that count, 32 KiB: what is alike until there is served by few engines anyway."""
DEEPEST = 6
"""How deep what is spelled may be nested; a part of a message's content is at 4."""

_TOOLS = ("tools", "instructions")
"""Templates put these before the messages."""
_PROMPTS = ("messages", "prompt", "input")


def blocks(model: str, document: Mapping[str, Any]) -> tuple[int, ...]:
    """The chain for a request's body, the longest beginning last; () for a prompt shorter than a block."""
    prompt = next((document[name] for name in _PROMPTS if document.get(name)), None)
    if isinstance(prompt, list) and prompt and type(prompt[0]) in (list, str):
        # Several prompts: where the first goes the others go.
        prompt = prompt[0]
    if isinstance(prompt, list) and prompt and type(prompt[0]) is int:
        return _of_tokens(model, prompt)
    if isinstance(prompt, str) and not any(document.get(name) for name in _TOOLS):
        return _chain(model, prompt)
    return _chain(model, _spelled([*(document.get(name) for name in _TOOLS), prompt]))


def _chain(model: str, text: str) -> tuple[int, ...]:
    link, chain = hash(model), []
    for end in range(BLOCK, min(len(text), MOST_BLOCKS * BLOCK) + 1, BLOCK):
        link = hash((link, text[end - BLOCK : end]))
        chain.append(link)
    return tuple(chain)


def _of_tokens(model: str, tokens: list[Any]) -> tuple[int, ...]:
    link, chain = hash(model), []
    try:
        for end in range(TOKENS, min(len(tokens), MOST_BLOCKS * TOKENS) + 1, TOKENS):
            link = hash((link, array("q", tokens[end - TOKENS : end]).tobytes()))
            chain.append(link)
    except (TypeError, OverflowError):
        return ()  # No token ids: the engine will say so.
    return tuple(chain)


def _spelled(value: Any) -> str:
    """As much of `value`'s text as counts, in one order whatever the order of its keys was.

    A list that extends another is spelled with the other's text for its beginning.
    """
    room, parts = MOST_BLOCKS * BLOCK, []
    for part in _parts(value, 0):
        parts.append(part[:room])
        room -= len(part)
        if room <= 0:
            break
    return "".join(parts)


def _parts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        yield "\0"
    elif depth >= DEEPEST or not isinstance(value, (dict, list)):
        yield f"{value}\0" if not isinstance(value, (dict, list)) else "\0"
    elif isinstance(value, list):
        for each in islice(value, MOST_BLOCKS * BLOCK):
            yield from _parts(each, depth + 1)
    else:
        # Role before content: a template writes it so, and a longer message must not hide who speaks.
        for name in sorted(value, reverse=True) if len(value) <= BLOCK else ():
            yield name
            yield "\1"
            yield from _parts(value[name], depth + 1)
