"""Where and how a bundle's programs run."""

from dataclasses import dataclass

ENGINES = ("paddle", "onnx", "auto")


@dataclass(frozen=True)
class Device:
    """Where and how programs run.

    Attributes:
        threads: CPU threads of one call.
        onednn: use oneDNN kernels.
        use_gpu: run on the first GPU.
        engine: one of ENGINES.
    """

    threads: int = 1
    onednn: bool = False
    use_gpu: bool = False
    engine: str = "paddle"
