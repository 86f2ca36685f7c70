"""A stand-in engine that speaks vLLM's chunks, token ids included, with the real tokenizer of the shipped model.

What it generates is a script: whatever the prompt, the answer's tokens follow, and a prompt that already ends in some
of them is answered with the rest. It decodes as vLLM 0.32 does, with a decoder primed by the prompt, and hides stop
strings by vLLM's rule. So what a continued stream yields here is what it would yield there.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

import elastic_deploy
from elastic_deploy.gateway.sse import END, data_event

from .stand_in import StandIn, die

TOKENIZER = Tokenizer.from_file(str(Path(elastic_deploy.__file__).parent / "rehearsal" / "tiny" / "tokenizer.json"))
BEGIN, STOP, USER, ASSISTANT = 0, 1, 3, 4
CONTEXT = 2048


def encoded(text: str) -> list[int]:
    return list(TOKENIZER.encode(text, add_special_tokens=False).ids)


@dataclass
class Script:
    """One model, which several engines run.

    `breaks` says after how many tokens each generation breaks, in turn; when it is empty they end well. `per_chunk`
    tokens come in one chunk. `ending` is how an engine that breaks goes.
    """

    answer: str
    breaks: list[int] = field(default_factory=list)
    per_chunk: int = 1
    ending: str = "cut"
    prompt: list[int] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    finish_then_break: bool = False
    delta_key: str = "content"

    @property
    def tokens(self) -> list[int]:
        return [*encoded(self.answer), STOP]

    def rest(self, path: str, asked: dict[str, Any]) -> tuple[list[int], list[int]]:
        """The prompt's tokens, and those that follow."""
        if path.endswith("chat/completions"):
            self.prompt = [BEGIN, USER, *encoded(asked["messages"][-1]["content"]), STOP, ASSISTANT]
        elif isinstance(asked["prompt"], str):
            self.prompt = encoded(asked["prompt"])
        else:
            replayed: list[int] = asked["prompt"]
            assert replayed[: len(self.prompt)] == self.prompt
            done = replayed[len(self.prompt) :]
            assert self.tokens[: len(done)] == done
            return replayed, self.tokens[len(done) :]
        return self.prompt, self.tokens

    async def behave(self, engine: StandIn, request: web.Request) -> web.StreamResponse:
        """What an engine does with a request."""
        asked = json.loads(await request.text())
        self.paths.append(request.path)
        if request.path == "/detokenize":
            return web.json_response({"prompt": TOKENIZER.decode(asked["tokens"], skip_special_tokens=False)})
        if request.path == "/tokenize":
            return web.json_response({"count": 0, "max_model_len": CONTEXT, "tokens": []})
        self.asked.append(asked)
        limit = self.breaks.pop(0) if self.breaks else None
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        async for chunk in self._chunks(request.path, asked, str(engine.name), limit):
            await response.write(data_event(chunk))
            await asyncio.sleep(0)
        if limit is not None:
            return await self._break(engine, request, response)
        await response.write(END)
        return response

    async def _break(self, engine: StandIn, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        if self.ending == "cut":
            return await die(engine, request)
        if self.ending == "dead":
            await response.write(data_event({"error": {"message": "EngineCore encountered an issue.", "code": 500}}))
            await response.write(END)
        elif self.ending == "abort":
            choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "abort", "token_ids": []}
            await response.write(data_event({"id": "x", "choices": [choice]}) + END)
        return response

    async def _chunks(
        self, path: str, asked: dict[str, Any], engine: str, limit: int | None
    ) -> AsyncIterator[dict[str, Any]]:
        chat = path.endswith("chat/completions")
        prompt, rest = self.rest(path, asked)
        ids = bool(asked.get("return_token_ids"))
        kind = "chat.completion.chunk" if chat else "text_completion"
        common = {"id": f"of-{engine}", "object": kind, "created": hash(engine) % 1000, "model": asked["model"]}
        first = prompt if ids else None
        if chat:
            opening = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
            yield {**common, "choices": [opening | {"finish_reason": None}], "prompt_token_ids": first}
        count = 0
        for tokens, text, finish, reason in self._pieces(prompt, rest, asked):
            if limit is not None and count >= limit and not self.finish_then_break:
                return
            count += len(tokens)
            said: dict[str, Any] = {"delta": {self.delta_key: text}} if chat else {"text": text}
            choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish}
            choice |= {"token_ids": tokens if ids else None} | ({"stop_reason": reason} if finish or not chat else {})
            if not chat:
                choice["prompt_token_ids"] = first
            first = None
            yield {**common, "choices": [choice]}
        if self.finish_then_break and limit is not None:
            return
        if (asked.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": len(prompt), "total_tokens": len(prompt) + count, "completion_tokens": count}
            yield {**common, "choices": [], "usage": usage}

    def _pieces(
        self, prompt: Sequence[int], rest: Sequence[int], asked: dict[str, Any]
    ) -> list[tuple[list[int], str, str | None, Any]]:
        """Tokens, text, finish reason and stop reason of each chunk."""
        stops: list[str] = asked.get("stop") or []
        shown = bool(asked.get("include_stop_str_in_output"))
        hidden = 0 if shown or not stops else max(map(len, stops)) - 1
        most, least = asked.get("max_tokens") or CONTEXT, asked.get("min_tokens") or 0
        stream, text, sent = DecodeStream(ids=list(prompt), skip_special_tokens=True), "", 0
        pieces: list[tuple[list[int], str, str | None, Any]] = []
        pending: list[int] = []
        for number, token in enumerate(rest, 1):
            pending.append(token)
            old, finish, reason = len(text), None, None
            text += stream.step(TOKENIZER, token) or ""
            ends = [(text.find(s, max(0, old - len(s) + 1)) + len(s), s) for s in stops if s in text[max(0, old - 9) :]]
            if ends and number > least:
                end, reason = min(ends)
                text, finish = text[: end if shown else end - len(reason)], "stop"
            elif token == STOP:
                finish = "stop"
            elif number == most:
                finish = "length"
            if finish or len(pending) == self.per_chunk:
                end = len(text) if finish else max(sent, len(text) - hidden)
                pieces.append((pending, text[sent:end], finish, reason))
                pending, sent = [], end
            if finish:
                return pieces
        raise AssertionError("the script has no end")
