"""Asks the hub what it holds of a model: whether it is given out to us, and what its weights weigh.

Called by `doctor`, and by nothing that has to be quick: the nodes ask the hub themselves when they load. The hub's
address and the token are those that its own library takes: HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME.
"""

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENDPOINT = "https://huggingface.co"
_WITHIN_S = 4.0
_MOST_BYTES = 8 << 20
_SUFFIXES = (".safetensors", ".bin", ".pt")
"""Endings of weight files in vLLM's order of preference: of several formats it loads the first."""


@dataclass(frozen=True, slots=True)
class HubAnswer:
    """What the hub says. `status` is HTTP's, 0 where it was not reached, and `reason` says why then.

    `weight_bytes` is None where it does not say.
    """

    status: int
    weight_bytes: int | None = None
    reason: str = ""


def ask_hub(model: str) -> HubAnswer:
    """The hub's answer on `model`, within seconds. Raises nothing: a hub that is not reached is an answer too."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return HubAnswer(0, reason="HF_HUB_OFFLINE is set")
    where = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    request = urllib.request.Request(f"{where}/api/models/{model}?blobs=true")
    if token := _token():
        # Not handed on where the hub sends us elsewhere.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_WITHIN_S) as answer:
            return HubAnswer(200, _weight_bytes(json.loads(answer.read(_MOST_BYTES))))
    except urllib.error.HTTPError as error:
        return HubAnswer(error.code)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return HubAnswer(0, reason=f"{where} was not reached ({reason})")


def _token() -> str:
    written = os.environ.get("HF_TOKEN", "")
    if written:
        return written.strip()
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    try:
        return Path(os.environ.get("HF_TOKEN_PATH", f"{home}/token")).expanduser().read_text().strip()
    except (OSError, ValueError):
        return ""


def _weight_bytes(told: Any) -> int | None:
    files = told.get("siblings") if isinstance(told, dict) else None
    if not isinstance(files, list):
        return None
    sizes: dict[str, int] = {
        str(each.get("rfilename")): each["size"]
        for each in files
        if isinstance(each, dict) and isinstance(each.get("size"), int)
    }
    for suffix in _SUFFIXES:
        # Below a directory lie other formats of the same weights (`original/`, `onnx/`).
        weights = [size for name, size in sizes.items() if name.endswith(suffix) and "/" not in name]
        if weights:
            return sum(weights)
    return None
