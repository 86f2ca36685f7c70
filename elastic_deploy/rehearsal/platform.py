"""The vLLM platform of a rehearsal: vLLM's CPU platform, able to run its workers on Ray's bundles of GPUs.

vLLM loads it by name (see `elastic_deploy.rehearsal.platform_plugin`) in the API server, the engine core and every
worker. It must know nothing of clusters or deployments. It mends four things of vLLM 0.32:

- `ray_device_key` is empty on the CPU platform, and vLLM refuses Ray ("does not support ray"). Here it is GPU, the
  resource of the bundles, so that a rehearsal's placement group is the real deployment's. No longer needed when
  `vllm.platforms.cpu.CpuPlatform.ray_device_key` can be told to be GPU.
- The engine core process is told which Ray cluster it belongs to only where vLLM itself changes its start method to
  "spawn" (`_maybe_force_spawn`); the CPU platform has done so already. The engine core then starts a Ray of its own
  and fails with `KeyError: 'bundles'`. No longer needed when an engine starts without `_name_ray_cluster`.
- Collectives over several hosts: `communicator.py`.
- Pipeline parallelism without a warm-up: `worker.py`.
"""

import os
from typing import Any

from vllm.platforms.cpu import CpuPlatform
from vllm.ray.lazy_utils import is_in_ray_actor


class RehearsalPlatform(CpuPlatform):  # type: ignore[misc]  # vllm is untyped to us
    """CPU vLLM that takes a GPU bundle of Ray for one CPU worker."""

    ray_device_key: str = "GPU"

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        """The class that carries tensors between the workers of one engine."""
        return "elastic_deploy.rehearsal.communicator.RehearsalCommunicator"

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        """Choose our worker where the user chose none, let vLLM settle the rest, and name the Ray cluster."""
        parallel_config = vllm_config.parallel_config
        if parallel_config.worker_cls == "auto":
            parallel_config.worker_cls = "elastic_deploy.rehearsal.worker.RehearsalWorker"
        super().check_and_update_config(vllm_config)
        _name_ray_cluster()


def _name_ray_cluster() -> None:
    """Put the address of this actor's cluster where the engine core, a child of this process, will look for it."""
    if is_in_ray_actor():
        import ray

        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
