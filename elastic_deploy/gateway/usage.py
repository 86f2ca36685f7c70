"""How many tokens an answer says that it has. Pure; used by `relay` for whole answers and by `telling` for streams."""

import json
from collections.abc import Mapping
from typing import Any

_KEY = b'"usage":'
"""As it stands in JSON. No text of a model can hold it: its quotes would be escaped."""
_LONGEST = 4096
"""Bytes in which a usage ends; vLLM's take some hundreds."""
_DECODER = json.JSONDecoder()


def of_usage(usage: Any) -> tuple[int, int] | None:
    """The tokens of prompt and answer in a `usage` of vLLM's, None if it is none. Embeddings have no answer."""
    if not isinstance(usage, Mapping):
        return None
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    answer = usage.get("completion_tokens", usage.get("output_tokens", 0))
    return (prompt, answer) if type(prompt) is int and type(answer) is int else None


def of_answer(body: bytes) -> tuple[int, int] | None:
    """The same in a whole answer, of which only this part is read: an embedding would take milliseconds."""
    found = body.rfind(_KEY)
    if found < 0:
        return None
    begin = found + len(_KEY)
    try:
        usage, _ = _DECODER.raw_decode(body[begin : begin + _LONGEST].decode("utf-8", "replace").lstrip())
    except (ValueError, RecursionError):
        return None
    return of_usage(usage)
