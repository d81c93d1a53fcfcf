"""The device that Paddle computes on, and the other processes of the run."""

from paddleinterest.core import distributed
from paddleinterest.core.errors import InputError
from paddleinterest.core.settings import Runner


def connect(runner: Runner) -> None:
    """Set Paddle's device and connect this process to the others. Calling it again has no effect.
    Imports Paddle: call environment.set_up first.

    Raises:
        InputError: there is no such device, or the others cannot be reached.
    """
    import paddle

    if runner.use_gpu and not paddle.device.is_compiled_with_cuda():
        raise InputError(
            "runner.use_gpu=true needs paddlepaddle-gpu (requirements-gpu.txt); this Paddle has no"
            " CUDA"
        )
    paddle.set_device(f"gpu:{distributed.gpu_number()}" if runner.use_gpu else "cpu")
    distributed.start(runner.use_gpu, 60 * runner.wait_minutes)
    distributed.split_from(runner.shard_tables)
