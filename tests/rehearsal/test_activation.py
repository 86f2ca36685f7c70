"""The vLLM plugin takes part only where a rehearsal was asked for and no real accelerator is."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from elastic_deploy.rehearsal import REHEARSAL_VARIABLE, platform_plugin
from elastic_deploy.rehearsal.activation import Facts, observe, refusal

PLATFORM = "elastic_deploy.rehearsal.platform.RehearsalPlatform"


def test_the_cpu_build_without_an_accelerator_may_rehearse() -> None:
    assert refusal(Facts(vllm_version="0.32.0+cpu", accelerators=())) is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(vllm_version=None, accelerators=()), "vLLM is not installed"),
        (Facts(vllm_version="0.32.0", accelerators=()), "(0.32.0) is not the CPU build"),
        (Facts(vllm_version="0.32.0+cpu", accelerators=("/dev/nvidia0",)), "a real accelerator (/dev/nvidia0)"),
        (Facts(vllm_version="0.32.0+cu130", accelerators=("/dev/nvidia0",)), "is not the CPU build"),
    ],
)
def test_every_other_machine_refuses_and_says_why(facts: Facts, reason: str) -> None:
    assert reason in (refusal(facts) or "")


@pytest.mark.parametrize("device", ["nvidia0", "nvidia12", "kfd", "neuron0", "accel0"])
def test_a_device_file_of_an_accelerator_is_seen(tmp_path: Path, device: str) -> None:
    (tmp_path / device).touch()
    assert observe(tmp_path).accelerators == (str(tmp_path / device),)


def test_other_device_files_are_no_accelerators(tmp_path: Path) -> None:
    for name in ("null", "nvidiactl", "nvidia-uvm", "dri", "accelerometer"):
        (tmp_path / name).touch()
    assert observe(tmp_path).accelerators == ()


def test_the_installed_vllm_is_known_to_be_the_cpu_build() -> None:
    assert "cpu" in (observe().vllm_version or "")


@pytest.mark.parametrize("value", [None, "", "0", "true"])
def test_the_plugin_leaves_the_choice_to_vllm_unless_asked(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(REHEARSAL_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(REHEARSAL_VARIABLE, value)
    assert platform_plugin() is None


def test_the_plugin_names_the_platform_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    if observe().accelerators:
        pytest.skip("this machine has a real accelerator")
    monkeypatch.setenv(REHEARSAL_VARIABLE, "1")
    assert platform_plugin() == PLATFORM


def test_vllm_finds_the_plugin() -> None:
    (found,) = entry_points(group="vllm.platform_plugins", name="elastic_deploy_rehearsal")
    assert found.load() is platform_plugin


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    """Every vLLM process on every machine loads it, rehearsal or not."""
    program = (
        "import sys; from elastic_deploy.rehearsal import platform_plugin; assert platform_plugin() is None; "
        "from elastic_deploy.rehearsal import activation, engine_arguments; activation.observe(); "
        "print({'torch', 'vllm', 'ray', 'numpy', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env={})
    assert (done.returncode, done.stdout.strip()) == (0, "set()"), done.stderr
