"""What vLLM is told so that it serves on CPUs, quickly and on few cores: arguments, environment, the shipped model.

Called by `runtime` when it starts an engine, and by `cli` to find a model. Imports neither vllm, torch nor ray. It
must not know what else the engine is told: shape, names, ports and keys are the runtime's.
"""

from collections.abc import Sequence
from pathlib import Path

TINY_MODEL = "tiny"
"""The name under which users ask for the shipped model."""

_ARGUMENTS: tuple[tuple[str, str | None], ...] = (
    # bfloat16, which `auto` takes for most models, ends on processors with AMX in "Illegal instruction" (vLLM 0.32).
    ("dtype", "float32"),
    # Compiling takes minutes of a core and saves nothing in a rehearsal.
    ("enforce-eager", None),
    # Otherwise each worker takes most of the machine's memory, as if it had it alone, and warms up to measure it.
    # 64 MiB hold 16,384 tokens of the tiny model on one worker.
    ("kv-cache-memory-bytes", "64M"),
    # The model's own context where it fits into that memory, else what fits: vLLM would refuse to start.
    ("max-model-len", "auto"),
)
"""Name and value (None: a flag) of each argument."""


def model_path(name: str) -> str:
    """The directory of the shipped model for "tiny"; any other name unchanged, be it a path or a hub id."""
    return str(Path(__file__).parent / "tiny") if name == TINY_MODEL else name


def rehearsal_arguments(given: Sequence[str]) -> tuple[str, ...]:
    """vLLM arguments to put before `given`, the user's own, without those that the user settled.

    A user's argument counts in each spelling that vLLM takes: `--x y`, `--x=y`, `--an_x y`, `--no-x`.
    """
    settled = {_name(word) for word in given if word.startswith("--")}
    arguments: list[str] = []
    for name, value in _ARGUMENTS:
        if settled.isdisjoint((name, f"no-{name}")):
            arguments += [f"--{name}"] if value is None else [f"--{name}", value]
    return tuple(arguments)


def rehearsal_environment() -> dict[str, str]:
    """Environment variables for the engine's process; vLLM carries them to its workers on other nodes.

    Nothing here keeps a user's model from coming from the hub. `VLLM_TARGET_DEVICE` must stay unset: with it vLLM
    asks no platform plugin.
    """
    return {
        # With more, the threads of several workers on one machine wait for each other by spinning: a first request
        # then took 35 s on two cores.
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # vLLM's samplers are compiled on first use even under --enforce-eager: on a CPU, by a C++ compiler, in the
        # first request.
        "TORCHDYNAMO_DISABLE": "1",
        # A rehearsal tells nobody: vLLM would report each start to its makers.
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def _name(word: str) -> str:
    return word.removeprefix("--").split("=", 1)[0].replace("_", "-")
