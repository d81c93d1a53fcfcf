"""An exported program behind Paddle Inference."""

import os
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np

# Paddle says so at import; nothing is compiled here
warnings.filterwarnings("ignore", message="No ccache found")
import paddle.inference as paddle_infer  # noqa: E402

from paddleinterest.core.errors import InputError  # noqa: E402
from paddleinterest.serving.device import Device  # noqa: E402

SUFFIXES = (".json", ".pdmodel")  # Paddle 3 writes the first, Paddle 2 the second


class PaddleProgram:
    """One inference program of a bundle: a dict of arrays in, a list of arrays out.

    Args:
        directory: the bundle.
        name: ``model`` or ``rank``.
        files: names of the files that the bundle's schema lists. No other file is opened.
        inputs: {input: {dtype}} of the program's signature.
        device: where it runs.
    """

    def __init__(
        self,
        directory: str,
        name: str,
        files: Collection[str],
        inputs: dict[str, dict[str, Any]],
        device: Device,
    ) -> None:
        config = _config(directory, name, files, device)
        try:
            predictor = paddle_infer.create_predictor(config)
        except (RuntimeError, ValueError) as e:
            raise InputError(
                f"{directory}, program {name} cannot be loaded by this Paddle:"
                f" {' '.join(str(e).split())[-200:]}"
            ) from None
        dtypes = {key: facts["dtype"] for key, facts in inputs.items()}
        self._take(predictor, dtypes)

    def _take(self, predictor: Any, dtypes: dict[str, str]) -> None:
        self.predictor = predictor
        self.dtypes = dtypes
        self.inputs = {k: predictor.get_input_handle(k) for k in predictor.get_input_names()}
        self.outputs = [predictor.get_output_handle(k) for k in predictor.get_output_names()]

    def clone(self) -> "PaddleProgram":
        """The same program for another thread; weights are shared."""
        made = object.__new__(PaddleProgram)
        made._take(self.predictor.clone(), self.dtypes)
        return made

    def __call__(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        for name, handle in self.inputs.items():
            handle.copy_from_cpu(np.ascontiguousarray(arrays[name], self.dtypes[name]))
        self.predictor.run()
        return [handle.copy_to_cpu() for handle in self.outputs]


def _config(directory: str, name: str, files: Collection[str], device: Device) -> Any:
    """Paddle Inference's settings for a program."""
    program = next((f"{name}{s}" for s in SUFFIXES if f"{name}{s}" in files), None)
    if program is None:
        either = " or ".join(name + s for s in SUFFIXES)
        raise InputError(
            f"{directory} holds no program {name} ({either}); make it with tools/to_static.py"
        )
    # programs with the same weights share one file
    weights = f"{name}.pdiparams" if f"{name}.pdiparams" in files else "model.pdiparams"
    config = paddle_infer.Config(os.path.join(directory, program), os.path.join(directory, weights))
    if device.use_gpu:
        config.enable_use_gpu(256, 0)
    else:
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(device.threads)
        if device.onednn:
            config.enable_mkldnn()
        elif hasattr(config, "disable_mkldnn"):  # Paddle 3 turns it on by itself
            config.disable_mkldnn()
    # no enable_memory_optim: with programs of Paddle 3 its pass fails
    config.disable_glog_info()
    return config
