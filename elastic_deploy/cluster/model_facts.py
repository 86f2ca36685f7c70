"""What a checkpoint's directory tells of its model: the size of its weights, its heads and layers.

Called by `up` and `plan` for a model that lies on this machine. Loads nothing and imports neither vLLM nor
transformers: it reads `config.json` and the sizes of the weight files. What it cannot find is None, never a guess; what
is wrong with a checkpoint is vLLM's to say.
"""

import json
from pathlib import Path
from typing import Any

from elastic_deploy.model.shape import ModelFacts

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
"""Weight files in vLLM's order of preference: of several formats of the same weights it loads the first."""


def model_facts(directory: Path) -> ModelFacts:
    """The facts of the checkpoint in `directory`; all None if there is none."""
    config = _json(directory / "config.json")
    text = config.get("text_config")
    # Models that also see or hear describe their language part in a section of its own.
    section = text if isinstance(text, dict) else config
    return ModelFacts(
        weight_bytes=_weight_bytes(directory),
        attention_heads=_count(section, "num_attention_heads", "n_head"),
        key_value_heads=_count(section, "num_key_value_heads"),
        layers=_count(section, "num_hidden_layers", "n_layer"),
    )


def _weight_bytes(directory: Path) -> int | None:
    for pattern in _WEIGHTS:
        sizes = [path.stat().st_size for path in directory.glob(pattern) if path.is_file()]
        if sizes:
            return sum(sizes)
    return None


def _count(section: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = section.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
