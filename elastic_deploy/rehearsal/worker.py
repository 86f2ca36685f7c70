"""The vLLM worker of a rehearsal: vLLM's CPU worker, ready for a later stage of a pipeline.

Made by vLLM in each Ray worker process, because `platform.py` names it. It mends one thing: in vLLM 0.32 the buffers
that hold a stage's input are made in the warm-up pass, which the CPU worker skips when it runs eagerly with a given
KV cache size, as a rehearsal does. The first request then fails with an `AssertionError` in
`sync_and_gather_intermediate_tensors`. No longer needed when pipeline parallel size 2 serves with `--worker-cls
vllm.v1.worker.cpu_worker.CPUWorker`.
"""

from typing import Any

from vllm.distributed import get_pp_group
from vllm.v1.worker.cpu_worker import CPUWorker


class RehearsalWorker(CPUWorker):  # type: ignore[misc]  # vllm is untyped to us
    """vLLM's CPU worker with the input buffers of its pipeline stage."""

    def load_model(self, **options: Any) -> None:
        """Load the weights of this stage, and make the buffers for what the stage before hands over."""
        super().load_model(**options)
        runner = self.model_runner
        if not get_pp_group().is_first_rank and runner.intermediate_tensors is None:
            runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens, dtype=runner.model_config.dtype, device=runner.device
            )
