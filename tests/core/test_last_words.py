"""Why an engine ended, found in what vLLM 0.32 really wrote.

The logs in `engine_logs` are from real runs, shortened: paths are cut, and of long tracebacks the middle is left out.
"""

from pathlib import Path

import pytest

from elastic_deploy.core.last_words import LONGEST, last_words

LOGS = Path(__file__).parent / "engine_logs"

REAL = {
    "unknown_flag": "api_server.py: error: unrecognized arguments: --no-such-flag",
    "wrong_choice": "api_server.py: error: argument --dtype: invalid choice: 'float12' (choose from 'auto', 'bfloat16',"
    " 'float', 'float16', 'float32', 'half')",
    "missing_model": "OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/models/nowhere'. Use"
    " `repo_type` argument if needed.",
    "context_too_long": "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig: Value error,"
    " User-specified max_model_len (999999) is greater than the derived max_model_len",
    "no_weights": "RuntimeError: Cannot find any model weights with `/models/model-noweights`",
    "cut_weights": "safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete"
    " metadata, file not fully covered",
    "cache_too_small": "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
    "node_lost": "RayWorkerProc rank=[0] died unexpectedly, shutting down executor.",
}


def test_every_log_has_its_words_here() -> None:
    assert {path.stem for path in LOGS.iterdir()} == set(REAL)


@pytest.mark.parametrize(("name", "words"), REAL.items(), ids=REAL)
def test_the_cause_is_told_and_not_its_echo(name: str, words: str) -> None:
    assert last_words((LOGS / f"{name}.log").read_text()).startswith(words)


@pytest.mark.parametrize("name", ["node_lost", "cache_too_small", "no_weights", "cut_weights"])
def test_an_error_of_a_client_hours_before_is_not_why_it_ended(name: str) -> None:
    """An engine that could serve, unlike one that was refused its arguments, says when it ends."""
    before = (
        "(APIServer pid=7) ERROR 11-22 09:00:00 [serving.py:100] Error in preprocessing prompt inputs\n"
        "(APIServer pid=7) ERROR 11-22 09:00:00 [serving.py:100] ValueError: The prompt is longer than the context.\n"
    )
    log = (LOGS / f"{name}.log").read_text()
    assert last_words(before + log) == last_words(log)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("width", [400, 1500])
def test_a_tail_cut_anywhere_has_words(name: str, width: int) -> None:
    assert last_words((LOGS / f"{name}.log").read_text()[-width:])


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("\n  \n", ""),
        ("INFO starting\nIllegal instruction (core dumped)\n\n", "Illegal instruction (core dumped)"),
        ("(APIServer pid=7) INFO 11-22 18:00:00 [a.py:1] Application startup complete.\n", ""),
        ('up\nINFO:     127.0.0.1:55708 - "GET /metrics HTTP/1.1" 200 OK\n', ""),
        ("Exception: bare\n", "Exception: bare"),
        ("AssertionError\n", "AssertionError"),
        ("torch.OutOfMemoryError: CUDA out of memory.\nlater words\n", "torch.OutOfMemoryError: CUDA out of memory."),
        ("ValueError:\n  the words are here\n", "ValueError: the words are here"),
        ("ValueError:", "ValueError:"),
        ("\x1b[36m(EngineCore pid=1)\x1b[0;0m RuntimeError: in colour\n", "RuntimeError: in colour"),
        ("(RayWorkerProc pid=7, ip=10.0.0.2) ERROR 11-22 18:00:00 [a.py:1] OSError: far away\n", "OSError: far away"),
        ("ValueError: the cause\nasyncio.exceptions.CancelledError\nKeyboardInterrupt\n", "ValueError: the cause"),
        ("KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("WARNING: see OSError: [Errno 24] in the manual\nlast\n", "last"),
        (
            "ray.exceptions.RayTaskError(ValueError): ray::f() (pid=1)\nValueError: inside\n",
            "ValueError: inside",
        ),
        (
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n",
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        ),
        (
            "pydantic.ValidationError: 1 validation error for Config\nport\n  Input should be less [type=less]\n",
            "pydantic.ValidationError: 1 validation error for Config: port: Input should be less",
        ),
        ("ERROR 11-22 18:00:00 [a.py:1] The disk is full.\nbye\n", "The disk is full."),
    ],
)
def test_other_ends_are_told_as_well_as_can_be(log: str, words: str) -> None:
    assert last_words(log) == words


def test_last_words_are_short() -> None:
    assert len(last_words("ValueError: " + "x" * 10_000)) == LONGEST
