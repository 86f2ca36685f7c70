"""The chunks of vLLM's streams, as values: what one says, and how one kind becomes the other. Pure; for `telling`.

Read in vLLM 0.32: `chat_completion/serving.py` and `completion/serving.py`, the two stream generators.
"""

from collections.abc import Mapping
from typing import Any

from elastic_deploy.gateway.coverage import CHAT

Chunk = dict[str, Any]

_TOKENS = ("prompt_token_ids", "token_ids")


def is_opening(choice: Mapping[str, Any]) -> bool:
    """Whether it is the one that names the role before anything is said."""
    delta = choice.get("delta")
    if not isinstance(delta, dict) or not delta.get("role") or choice.get("finish_reason"):
        return False
    return not any(value for name, value in delta.items() if name != "role")


def is_parsed(choice: Mapping[str, Any]) -> bool:
    """Whether a parser stands between the tokens and the client: it tells reasoning or a call, or keeps text back."""
    delta = choice.get("delta")
    return isinstance(delta, dict) and not (delta.keys() <= {"role", "content"} and "content" in delta)


def says_nothing(choice: Mapping[str, Any]) -> bool:
    """Whether a parser kept all of it back: it is sent only because token ids were asked for."""
    return choice.get("delta") == {} and not choice.get("finish_reason")


def is_said(choice: Mapping[str, Any]) -> bool:
    """Whether the client learns something of the answer by it."""
    delta = choice.get("delta")
    return bool(choice.get("finish_reason") or choice.get("text")) or (isinstance(delta, dict) and any(delta.values()))


def text_of(choice: Mapping[str, Any]) -> str:
    """What it adds to the answer."""
    delta = choice.get("delta")
    text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
    return text if isinstance(text, str) else ""


def prompt_tokens(chunk: Mapping[str, Any]) -> list[int] | None:
    """The prompt's tokens, which come once: beside the choices of a chat, within the choice of a completion."""
    for holder in (chunk, *chunk["choices"]):
        tokens = holder.get("prompt_token_ids")
        if isinstance(tokens, list):
            return tokens
    return None


def hide_tokens(chunk: Chunk) -> None:
    """Make it what a client gets that did not ask for token ids: there they are null."""
    for holder in (chunk, *chunk["choices"]):
        for name in _TOKENS:
            if holder.get(name) is not None:
                holder[name] = None


def spoken(path: str, choice: Mapping[str, Any], text: str) -> Chunk:
    """A completion's choice with `text` for its own, in the form that clients of `path` know."""
    if path != CHAT:
        return {**choice, "text": text}
    chat = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": choice.get("finish_reason")}
    if choice.get("finish_reason"):
        chat["stop_reason"] = choice.get("stop_reason")
    return {**chat, "token_ids": None}


def kind(path: str) -> str:
    """The `object` of a chunk for clients of `path`."""
    return "chat.completion.chunk" if path == CHAT else "text_completion"


def usage(prompt: int, answer: int) -> dict[str, int]:
    """How many tokens there are."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + answer, "completion_tokens": answer}
