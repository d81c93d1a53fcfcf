"""An export bundle, opened: Paddle Inference behind raw ids. Needs no model code, only the bundle's directory."""
import os

import numpy as np
import paddle.inference as paddle_infer
import yaml

from datasets.schema import InputError, Schema
from tools.utils.request import RequestEncoder

SUFFIXES = (".json", ".pdmodel")  # Paddle 3 writes the first, Paddle 2 the second


class Bundle:
    """Scores rows or requests.

    Args:
        directory: what tools/to_static.py wrote.  threads: CPU threads.  onednn: use oneDNN kernels.

    Example:
        >>> bundle = Bundle("output/din/complete_journey/export")                       # doctest: +SKIP
        >>> bundle.rank({"history": ["995242"], "candidates": ["1082185", "995242"]})   # doctest: +SKIP
    """

    def __init__(self, directory, threads=1, onednn=False, use_gpu=False):
        if not os.path.isfile(os.path.join(directory, "schema.yaml")):
            raise InputError(f"{directory} is not an export bundle (schema.yaml does not exist there); tools/to_static.py writes "
                             "one, by default to output/<model>/<name>/export")
        self.schema = Schema.load(directory)
        try:
            with open(os.path.join(directory, "signature.yaml"), encoding="utf-8") as f:
                self.signature = yaml.safe_load(f)
            self.encoder = RequestEncoder(directory, self.schema, self.signature["history_cap"])
            self.programs = {name: Program(directory, name, facts["inputs"], threads, onednn, use_gpu)
                             for name, facts in self.signature["programs"].items()}
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as e:
            raise InputError(f"{directory} is not an export bundle: {' '.join(str(e).split())}; "
                             "make one with tools/to_static.py") from None

    def score(self, arrays):
        """Click probabilities, float32 [B], of a batch as the reader gives it; columns it does not read are ignored."""
        return self.programs["model"](arrays)[0].reshape(-1)

    def rank(self, request):
        """Candidates of one request (tools/utils/request.py), best first, with scores."""
        encoded, score, _ = self._ranked(request)
        best_first = np.argsort(-score, kind="stable")
        ranked = [{"rank": place + 1, "item": encoded.candidates[k], "score": float(score[k]),
                   "known": bool(encoded.known[k])} for place, k in enumerate(best_first)]
        return {"user": request.get("user"), "candidates": ranked, "unknown_history": encoded.unknown_history}

    def attention(self, request):
        """Scores [N] and attention weights [N, T] of a request's candidates over its history, in their own order."""
        _, score, weight = self._ranked(request)
        return score, weight

    def _ranked(self, request):
        encoded = self.encoder.encode(request)
        score, weight = self.programs["rank"](encoded.arrays)
        if not np.isfinite(score).all():
            raise InputError("request: the scores are not finite; a number in it is far outside what training saw")
        return encoded, score.reshape(-1), weight


class Program:
    """One inference program of a bundle: a dict of arrays in, a list of arrays out."""

    def __init__(self, directory, name, inputs, threads, onednn, use_gpu):
        program = next((f"{name}{s}" for s in SUFFIXES if os.path.isfile(os.path.join(directory, f"{name}{s}"))), None)
        if program is None:
            raise InputError(f"{directory} holds no program {name} ({' or '.join(name + s for s in SUFFIXES)}); "
                             "make it with tools/to_static.py")
        own = os.path.join(directory, f"{name}.pdiparams")  # absent where the programs share the model's weights
        config = paddle_infer.Config(os.path.join(directory, program),
                                     own if os.path.isfile(own) else os.path.join(directory, "model.pdiparams"))
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
            self.predictor = paddle_infer.create_predictor(config)
        except (RuntimeError, ValueError) as e:
            raise InputError(f"{directory}/{program} cannot be loaded by this Paddle: "
                             f"{' '.join(str(e).split())[-200:]}") from None
        self.dtypes = {k: v["dtype"] for k, v in inputs.items()}
        self.inputs = {k: self.predictor.get_input_handle(k) for k in self.predictor.get_input_names()}
        self.outputs = [self.predictor.get_output_handle(k) for k in self.predictor.get_output_names()]

    def __call__(self, arrays):
        for name, handle in self.inputs.items():
            handle.copy_from_cpu(np.ascontiguousarray(arrays[name], self.dtypes[name]))
        self.predictor.run()
        return [handle.copy_to_cpu() for handle in self.outputs]
