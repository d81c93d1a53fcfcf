"""An export bundle, opened: Paddle Inference behind raw ids. Needs no model code, only the bundle's directory."""
import os

import numpy as np
import paddle.inference as paddle_infer
import yaml

from datasets.schema import InputError, Schema
from tools.utils.request import RequestEncoder

PROGRAMS = ("model.json", "model.pdmodel")  # Paddle 3 writes the first, Paddle 2 the second


class Bundle:
    """Scores arrays or requests.

    Args:
        directory: what tools/to_static.py wrote.  threads: CPU threads.  onednn: use oneDNN kernels.

    Example:
        >>> bundle = Bundle("output/din/complete_journey/export")                       # doctest: +SKIP
        >>> bundle.rank({"history": ["995242"], "candidates": ["1082185", "995242"]})   # doctest: +SKIP
    """

    def __init__(self, directory, threads=1, onednn=False, use_gpu=False):
        self.schema = Schema.load(directory)
        try:
            with open(os.path.join(directory, "signature.yaml"), encoding="utf-8") as f:
                self.signature = yaml.safe_load(f)
            self.inputs = self.signature["inputs"]
            self.encoder = RequestEncoder(directory, self.schema, self.signature["history_cap"])
        except (OSError, yaml.YAMLError, KeyError, TypeError) as e:
            raise InputError(f"{directory} is not an export bundle: {' '.join(str(e).split())}; "
                             "make one with tools/to_static.py") from None
        self.predictor = _predictor(directory, threads, onednn, use_gpu)
        self.handles = {n: self.predictor.get_input_handle(n) for n in self.predictor.get_input_names()}
        self.output = self.predictor.get_output_handle(self.predictor.get_output_names()[0])

    def score(self, arrays):
        """Click probabilities, float32 [B], of a batch as the reader gives it; columns it does not read are ignored."""
        for name, handle in self.handles.items():
            handle.copy_from_cpu(np.ascontiguousarray(arrays[name], self.inputs[name]["dtype"]))
        self.predictor.run()
        return self.output.copy_to_cpu().reshape(-1)

    def rank(self, request):
        """Candidates of one request (tools/utils/request.py), best first, with scores."""
        arrays, ids, known, unknown_history = self.encoder.encode(request)
        score = self.score(arrays)
        best_first = np.argsort(-score, kind="stable")
        ranked = [{"rank": place + 1, "item": ids[k], "score": float(score[k]), "known": bool(known[k])}
                  for place, k in enumerate(best_first)]
        return {"user": request.get("user"), "candidates": ranked, "unknown_history": unknown_history}


def _predictor(directory, threads, onednn, use_gpu):
    program = next((p for p in PROGRAMS if os.path.isfile(os.path.join(directory, p))), None)
    if program is None:
        raise InputError(f"{directory} holds no program ({' or '.join(PROGRAMS)}); make it with tools/to_static.py")
    config = paddle_infer.Config(os.path.join(directory, program), os.path.join(directory, "model.pdiparams"))
    if use_gpu:
        config.enable_use_gpu(256, 0)
    else:
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(threads)
        if onednn:
            config.enable_mkldnn()
        elif hasattr(config, "disable_mkldnn"):  # Paddle 3 turns it on by itself
            config.disable_mkldnn()
    config.disable_glog_info()  # and no enable_memory_optim: with Paddle 3 programs its pass fails
    try:
        return paddle_infer.create_predictor(config)
    except (RuntimeError, ValueError) as e:
        raise InputError(f"{directory}/{program} cannot be loaded by this Paddle: {' '.join(str(e).split())[-200:]}") from None
