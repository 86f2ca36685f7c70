"""What a streamed answer has told its client so far, and how it goes on at another engine. Pure.

`relay` hands it the whole events of an engine's stream and sends on what it returns; `resume` asks it for the request
to the next engine. It knows the chunks of vLLM 0.32 and nothing of connections.

Invariant: what `tell` has returned in all is the beginning of an answer that one undisturbed engine could have given,
with one id, one opening and one count of tokens, whichever engines its pieces come from.
"""

import io
import json
from array import array
from typing import Any, NamedTuple

from elastic_deploy.gateway import chunks, replay
from elastic_deploy.gateway.ask import Ask
from elastic_deploy.gateway.chunks import Chunk
from elastic_deploy.gateway.coverage import hides_stops, stop_strings
from elastic_deploy.gateway.sse import END, data_event
from elastic_deploy.gateway.stops import StopStrings
from elastic_deploy.gateway.usage import of_usage

_DATA = b"data: "
_IDENTITY = ("id", "created", "model")


class Unsure(NamedTuple):
    """An answer's last `tokens`, the tokens `before` them, and what was told of the text of the last.

    An engine keeps back as many as `held` characters while they may be the beginning of a stop string.
    """

    before: list[int]
    tokens: list[int]
    told: str
    held: int

    def is_text(self, text: str) -> bool:
        """Whether this may be what the tokens say."""
        return text.startswith(self.told) and len(text) - len(self.told) <= self.held


class Telling:
    """One streamed answer.

    `uncovered` says why it cannot be continued, None while it can. `said`: the client has seen something of it beyond
    its opening; until then it can be another answer. `ended`: its last event is told; with `stopped_here` the engine
    does not know it. `aborted`: the engine gave it up, because it is being ended itself. `failed`: it told of an error.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._tokens_are_ours = ask.uncovered is None
        self.uncovered = ask.uncovered
        self.said = False
        self.ended = False
        self.stopped_here = False
        self.aborted = False
        self.failed = False
        self._usage: Any = None
        self._identity: Chunk = {}
        self._opened: set[int] = set()
        self._finished = False
        self._usage_told = False
        self._text = io.StringIO()
        self._prompt = array("I")
        self._tokens = array("I")
        self._clean = (0, 0)
        """Tokens whose text is all told, and that end no character's bytes in the middle; and that text's length."""
        self._unclean = False
        """Whether text was told since of which that is not known."""
        self._parsed: dict[str, Any] | None = None
        self._stops: StopStrings | None = None
        """Set from the first cut on: then the chunks are those of a completion that replays."""

    def tell(self, events: bytes) -> bytes:
        """What the client is sent of whole `events`."""
        told: list[bytes] = []
        for event in events.split(b"\n\n"):
            if self.ended or self.aborted:
                break
            if event:
                told += self._event(event)
        return b"".join(told)

    def counted(self) -> tuple[int, int] | None:
        """The tokens of the prompt and of what is told, None where neither they nor a usage came with it."""
        if self._tokens_are_ours and self._prompt:
            return len(self._prompt), len(self._tokens)
        return of_usage(self._usage)

    @property
    def complete(self) -> bool:
        """Whether all tokens are told, so that only `closing` is missing."""
        return self._finished and self.uncovered is None

    def closing(self) -> bytes:
        """What is left to tell of a complete answer."""
        options = self._asked().get("stream_options")
        told = b""
        if isinstance(options, dict) and options.get("include_usage") and not self._usage_told:
            counted = chunks.usage(len(self._prompt), len(self._tokens))
            told = data_event(
                {**self._identity, "object": chunks.kind(self._ask.path), "choices": [], "usage": counted}
            )
        self.ended = True
        return told + END

    def stuck(self) -> str | None:
        """Why another engine cannot take over now, None if it can."""
        if not self.said:
            return None
        if self.uncovered is None and not self._prompt:
            self.uncovered = "the engine did not tell its tokens"
        return self.uncovered

    # What `resume` needs ---------------------------------------------------------------------------------------------

    def again(self) -> Ask:
        """The request as it was, for another engine: nothing was said yet."""
        self._prompt, self._tokens, self._clean, self._unclean = array("I"), array("I"), (0, 0), False
        self.aborted = False
        return self._ask

    def cut(self) -> int | None:
        """The tokens to keep, None if only a decoder can tell. Those after them have not been shown, and come anew."""
        return None if self._unclean or hides_stops(self._asked()) or self._stops else self._clean[0]

    @property
    def length(self) -> int:
        """The answer's tokens so far."""
        return len(self._tokens)

    @property
    def unsure(self) -> Unsure:
        """The part of the answer of which only a decoder can tell where it may be cut."""
        asked = self._asked()
        held = max(map(len, stop_strings(asked))) - 1 if hides_stops(asked) else 0
        tokens, length = (0, 0) if held or self._stops else self._clean
        before = (self._prompt[-replay.CONTEXT :] + self._tokens[:tokens])[-replay.CONTEXT :]
        return Unsure(before.tolist(), self._tokens[tokens:].tolist(), self._text.getvalue()[length:], held)

    @property
    def limited(self) -> bool:
        """Whether the request itself says how long the answer may be."""
        return replay.max_tokens(self._ask.path, self._asked()) is not None

    def resumed(self, keep: int, held: str, longest: int) -> Ask:
        """The request that goes on after `keep` tokens. `held` is text of theirs that was not told yet.

        `longest` is the model's context in tokens.
        """
        sent = self._text.getvalue()
        asked = self._asked()
        self.aborted = False
        self._tokens = self._tokens[:keep]
        shown = asked.get("include_stop_str_in_output") is True
        self._stops = StopStrings(stop_strings(asked), shown, sent, held)
        body = replay.completion(self._ask.path, asked, self._prompt, self._tokens, longest)
        return Ask(replay.PATH, self._ask.model, True, json.dumps(body).encode(), "application/json", None)

    # What an engine says ---------------------------------------------------------------------------------------------

    def _event(self, event: bytes) -> list[bytes]:
        data = event.removeprefix(_DATA)
        if data == b"[DONE]":
            self.ended = True
            return [END]
        try:
            chunk = json.loads(data)
        except ValueError:
            return [event, b"\n\n"]
        if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
            # An error of the engine's own is the client's to read; whether anything follows is the engine's matter.
            self.said = self.failed = True
            self.uncovered = "the engine told of an error"
            return [event, b"\n\n"]
        try:
            return self._chunk(chunk)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            # No chunk of vLLM's: the client may make something of it, and nobody can go on after it.
            self.said = True
            self.uncovered = "the engine told what is no chunk of an answer"
            return [event, b"\n\n"]

    def _chunk(self, chunk: Chunk) -> list[bytes]:
        if any(choice.get("finish_reason") == "abort" for choice in chunk["choices"]):
            self.aborted = True
            return []
        self._usage = chunk.get("usage") or self._usage
        self._identity = self._identity or {name: chunk[name] for name in _IDENTITY if name in chunk}
        chunk |= self._identity
        told = self._noted(chunk) if self._tokens_are_ours else self._passed(chunk)
        if told is None:
            return []
        return [data_event(told), self.closing()] if self.stopped_here else [data_event(told)]

    def _passed(self, chunk: Chunk) -> Chunk | None:
        """A chunk of a stream that cannot be continued, None if it is an opening for the second time."""
        return None if self._is_reopening(chunk) else chunk

    def _noted(self, chunk: Chunk) -> Chunk | None:
        """A chunk of a stream that can be, without its tokens."""
        if not chunk["choices"]:
            self._usage_told = True
            return self._recounted(chunk)
        (choice,) = chunk["choices"]
        self._prompt = self._prompt or array("I", chunks.prompt_tokens(chunk) or ())
        tokens = choice.get("token_ids") or []
        chunks.hide_tokens(chunk)
        self._tokens.extend(tokens)
        self._finished = bool(choice.get("finish_reason"))
        if self._stops:
            return self._continued(chunk, choice, self._stops)
        if chunks.is_parsed(choice):
            self.uncovered = "a parser of the engine's stands between its tokens and the text"
            if chunks.says_nothing(choice):
                return None
        if self._is_reopening(chunk):
            return None
        self._note_text(chunks.text_of(choice), len(tokens))
        return chunk

    def _note_text(self, text: str, tokens: int) -> None:
        self._text.write(text)
        if text and not tokens:
            self.uncovered = "the engine did not tell its tokens"
        elif tokens == 1 and text:
            # A single one that says something has said all, and so have those before.
            self._clean, self._unclean = (len(self._tokens), self._text.tell()), False
        elif text:
            self._unclean = True  # of several the last may have said nothing yet

    def _is_reopening(self, chunk: Chunk) -> bool:
        """Whether the client has had this opening already. Takes note of what is said."""
        for choice in chunk["choices"]:
            if not chunks.is_opening(choice):
                self.said = self.said or not self._tokens_are_ours or chunks.is_said(choice)
            elif choice.get("index", 0) in self._opened:
                return True
            else:
                self._opened.add(choice.get("index", 0))
        return False

    def _continued(self, chunk: Chunk, choice: Chunk, stops: StopStrings) -> Chunk:
        """A chunk of a completion that replays, as one of the stream that it continues."""
        may_stop = len(self._tokens) > replay.least_tokens(self._asked())
        text, stop = stops.feed(chunks.text_of(choice), self._finished, may_stop)
        if stop is not None:
            self.stopped_here = not self._finished
            self._finished = True
            choice |= {"finish_reason": "stop", "stop_reason": stop}
        self._text.write(text)
        chunk |= {"object": chunks.kind(self._ask.path), "choices": [chunks.spoken(self._ask.path, choice, text)]}
        return self._recounted(chunk)

    def _recounted(self, chunk: Chunk) -> Chunk:
        """With the count of the whole answer: a replay's own takes the answer's first part for prompt."""
        if self._stops is None:
            return chunk
        if chunk.get("usage"):
            chunk["usage"] = chunks.usage(len(self._prompt), len(self._tokens))
        chunk.pop("metrics", None)
        chunk["object"] = chunks.kind(self._ask.path)
        return chunk

    def _asked(self) -> dict[str, Any]:
        """Parsed when needed, which is seldom: thousands of streams would hold it beside the body."""
        if self._parsed is None:
            self._parsed = json.loads(self._ask.body)
        return self._parsed
