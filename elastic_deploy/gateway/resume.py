"""How a stream that broke goes on: what the next engine is asked, and what it must be asked before.

Called by `forward`, with an engine that can take over. The gateway has no tokenizer; the engine has. It is asked only
where it must be: most cuts fall after a token that is known to end a character.

A cut must not fall into a character: vLLM 0.32 primes its decoder with the prompt, and where that ends in a part of a
character, the first text to come out is the whole prompt's.
"""

import json
from typing import Any

from elastic_deploy.gateway.ask import Ask
from elastic_deploy.gateway.refusal import RefusalError, stream_broke
from elastic_deploy.gateway.replay import UNDECODED
from elastic_deploy.gateway.telling import Telling
from elastic_deploy.gateway.upstream import EngineBrokeError, Engines, engine_errors
from elastic_deploy.model.action import Backend

MOST_ASKED = 64
"""Tokens that an engine is asked about one by one."""
MOST_DROPPED = 8
"""Tokens at the end of which the text may be incomplete; a character has 4 bytes, and each may be a token."""


class Asker:
    """One engine that may take over, and how to ask it something about tokens."""

    def __init__(self, engines: Engines, backend: Backend, key: str, model: str, request_id: str) -> None:
        self._engines = engines
        self._backend = backend
        self._key = key
        self._model = model
        self._id = request_id

    async def decode(self, tokens: list[int]) -> str:
        """The text of `tokens`. Raises EngineTroubleError, or RefusalError where the engine will not say."""
        return str(await self._answer("/detokenize", {"tokens": tokens}, "prompt"))

    async def longest(self) -> int:
        """The model's context in tokens. Raises as `decode` does."""
        return int(await self._answer("/tokenize", {"prompt": ""}, "max_model_len"))

    async def _answer(self, path: str, body: dict[str, Any], name: str) -> Any:
        ask = Ask(path, self._model, False, json.dumps({"model": self._model, **body}).encode())
        async with self._engines.ask(self._backend, ask, self._key, self._id) as answer:
            with engine_errors():
                said = await answer.read()
        if answer.status >= 500:
            raise EngineBrokeError(f"{path} answered {answer.status}")
        try:
            return json.loads(said)[name]
        except (ValueError, KeyError, TypeError):
            why = f"the next engine answered {answer.status} at {path}"
            raise RefusalError(stream_broke(why)) from None


async def resume(telling: Telling, asker: Asker) -> Ask:
    """The request with which the engine goes on.

    Raises EngineTroubleError if it does not answer, RefusalError if the stream cannot be continued after all.
    """
    keep, held = telling.cut(), ""
    if keep is None:
        keep, held = await _cut(telling, asker)
    longest = 0 if telling.limited else await asker.longest()
    return telling.resumed(keep, held, longest)


async def _cut(telling: Telling, asker: Asker) -> tuple[int, str]:
    """How many of the answer's tokens to keep, and what of their text has not been told."""
    unsure = telling.unsure
    before, tokens, told, _ = unsure
    sure = telling.length - len(tokens)
    prefix = await asker.decode(before)
    hidden: frozenset[int] | None = None
    for keep in range(len(tokens), max(0, len(tokens) - MOST_DROPPED) - 1, -1):
        text = await _text(asker, before, tokens[:keep], prefix)
        if text is None:
            continue
        if not unsure.is_text(text):
            # The engine's decoder spells special tokens out, which the client was not shown.
            hidden = await _hidden(tokens, told, asker) if hidden is None else hidden
            text = await _text(asker, before, [token for token in tokens[:keep] if token not in hidden], prefix)
        if text is not None and unsure.is_text(text):
            return sure + keep, text[len(told) :]
    raise RefusalError(stream_broke("its text is not that of its tokens"))


async def _text(asker: Asker, before: list[int], tokens: list[int], prefix: str) -> str | None:
    """The text of tokens that follow others, None where it ends within a character."""
    text = await asker.decode(before + tokens)
    if text.endswith(UNDECODED) or not text.startswith(prefix):
        return None
    return text[len(prefix) :]


async def _hidden(tokens: list[int], told: str, asker: Asker) -> frozenset[int]:
    """Tokens that have a text of their own which is not in what was told: they were hidden, if anything was."""
    each = dict.fromkeys(tokens)
    if len(each) > MOST_ASKED:
        return frozenset()
    texts = {token: await asker.decode([token]) for token in each}
    return frozenset(token for token, text in texts.items() if UNDECODED not in text and text not in told)
