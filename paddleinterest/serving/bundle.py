"""An export bundle, opened: Paddle Inference behind raw ids. Needs no model code, only the bundle's
directory."""

import dataclasses
import os
import warnings

import numpy as np
import yaml

warnings.filterwarnings(
    "ignore", message="No ccache found"
)  # which Paddle says at import; nothing is compiled here
import paddle.inference as paddle_infer

from paddleinterest.core import yaml_text
from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.schema import Schema, of_one_user
from paddleinterest.serving.request import RequestEncoder

SUFFIXES = (".json", ".pdmodel")  # Paddle 3 writes the first, Paddle 2 the second
CANDIDATES = 4096  # scored at once


class Bundle:
    """Scores rows or requests.

    Args:
        directory: what tools/to_static.py wrote.  threads: CPU threads.  onednn: use oneDNN
            kernels.

    Example:
        >>> bundle = Bundle("output/din/complete_journey/export")                       # doctest: +SKIP
        >>> bundle.rank({"history": ["995242"], "candidates": ["1082185", "995242"]})   # doctest: +SKIP
    """

    def __init__(self, directory, threads=1, onednn=False, use_gpu=False):
        if not os.path.isfile(os.path.join(directory, "schema.yaml")):
            raise InputError(
                f"{directory} is not an export bundle (schema.yaml does not exist"
                f" there){nearest_path(directory)}; tools/to_static.py writes one, by default to"
                " output/<model>/<name>/export"
            )
        self.directory, self.schema = directory, Schema.load(directory)
        _check_whole(directory, self.schema)
        try:
            self.signature = yaml_text.read(os.path.join(directory, "signature.yaml"))
            _check_signature(self.signature)
            needs_times = any(
                "history_time" in facts["inputs"] for facts in self.signature["programs"].values()
            )
            self.encoder = RequestEncoder(
                directory, self.schema, self.signature["history_cap"], needs_times
            )
            self.programs = {
                name: Program(
                    directory, name, self.schema.files, facts["inputs"], threads, onednn, use_gpu
                )
                for name, facts in self.signature["programs"].items()
            }
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as e:
            raise InputError(
                f"{directory} is not an export bundle: {' '.join(str(e).split())}; "
                "make one with tools/to_static.py"
            ) from None

    def check_data(self, directory):
        """InputError unless a prepared dataset has this bundle's fields and vocabularies: index 7
        must mean the same in both."""
        theirs = Schema.load(directory)
        own, other = (
            {f.name: dataclasses.asdict(f) for f in schema.fields}
            for schema in (self.schema, theirs)
        )
        different = [
            f"field {name}" for name in {**own, **other} if own.get(name) != other.get(name)
        ]
        if not different and list(own) != list(other):
            different = ["the order of its fields"]
        for name, facts in self.schema.files.items():
            if (
                not different
                and name.startswith(("items.", "users.", "vocab/"))
                and theirs.files.get(name) != facts
            ):
                a, b = (
                    read_parquet(os.path.join(d, name)).to_pandas()
                    for d in (directory, self.directory)
                )
                if not a.equals(
                    b
                ):  # another version of pyarrow may have written the same with other bytes
                    different = [name]
        if different:
            raise InputError(
                f"{directory} is not the dataset that the bundle was trained on; these differ:"
                f" {', '.join(different)}"
            )

    def score(self, arrays):
        """Click probabilities, float32 [B], of a batch as the reader gives it; columns it does not
        read are ignored."""
        return self.programs["model"](arrays)[0].reshape(-1)

    def rank(self, request):
        """Candidates of one request (paddleinterest/serving/request.py), best first, with
        scores."""
        encoded, score, _ = self._ranked(request)
        best_first = np.argsort(-score, kind="stable")
        ranked = [
            {
                "rank": place + 1,
                "item": encoded.candidates[k],
                "score": float(score[k]),
                "known": bool(encoded.known[k]),
            }
            for place, k in enumerate(best_first)
        ]
        return {
            "user": request.get("user"),
            "known_user": encoded.known_user,
            "candidates": ranked,
            "unknown_history": encoded.unknown_history,
            "unknown_values": encoded.unknown_values,
        }

    def answer(self, requests):
        """A request's `rank`, or {"answers": […]} of a list of them; an InputError says which."""
        if not isinstance(requests, list):
            return self.rank(requests)
        answers = []
        for k, request in enumerate(requests):
            try:
                answers.append(self.rank(request))
            except InputError as e:
                raise InputError(f"number {k + 1} of {len(requests)}: {e}") from None
        return {"answers": answers}

    def attention(self, request):
        """Scores [N] and attention weights [N, T] of a request's candidates over its history, in
        their own order."""
        _, score, weight = self._ranked(request)
        return score, weight

    def _ranked(self, request):
        encoded = self.encoder.encode(request)
        parts = [self.programs["rank"](arrays) for arrays in self._cut(encoded)]
        score = np.concatenate([score.reshape(-1) for score, _ in parts])
        if not np.isfinite(score).all():
            raise InputError(
                "request: the scores are not finite; a number in it is far outside what"
                " training saw"
            )
        return encoded, score, np.concatenate([weight for _, weight in parts])

    @staticmethod
    def _cut(encoded):
        """The arrays of a request, at most CANDIDATES of its candidates at a time: however many
        there are, memory suffices."""
        n = len(encoded.candidates)
        for lo in range(0, n, CANDIDATES):
            yield {
                name: a if of_one_user(name) else a[lo : lo + CANDIDATES]
                for name, a in encoded.arrays.items()
            }


def _check_whole(directory, schema):
    """InputError unless the files are those that to_static.py wrote, all of them, before any is
    opened."""
    if (
        not schema.sealed
        or not {"signature.yaml", "items.parquet", "users.parquet", "model.pdiparams"}
        <= schema.files.keys()
    ):
        raise InputError(
            f"{directory} is not an export bundle, or one of an older version: its schema.yaml"
            " lacks checksums; make it with tools/to_static.py"
        )
    schema.verify(directory)


def _check_signature(signature):
    """ValueError unless signature.yaml says what to_static.py writes."""
    fine = (
        isinstance(signature["model"], str)
        and type(signature["history_cap"]) is int
        and signature["history_cap"] >= 1
        and isinstance(signature["origin"]["data_dir"], str)
        and signature["programs"].keys() == {"model", "rank"}
    )
    for program in signature["programs"].values():
        fine = fine and all(
            facts["dtype"] in ("int64", "float32") for facts in program["inputs"].values()
        )
    if not fine:
        raise ValueError("its signature.yaml is not what to_static.py writes")


class Program:
    """One inference program of a bundle: a dict of arrays in, a list of arrays out.

    Args:
        files: those of the bundle that its schema lists. What else lies in the directory is never
            opened.
    """

    def __init__(self, directory, name, files, inputs, threads, onednn, use_gpu):
        program = next((f"{name}{s}" for s in SUFFIXES if f"{name}{s}" in files), None)
        if program is None:
            raise InputError(
                f"{directory} holds no program {name} ({' or '.join(name + s for s in SUFFIXES)}); "
                "make it with tools/to_static.py"
            )
        weights = (
            f"{name}.pdiparams" if f"{name}.pdiparams" in files else "model.pdiparams"
        )  # which the programs share
        config = paddle_infer.Config(
            os.path.join(directory, program), os.path.join(directory, weights)
        )
        if use_gpu:
            config.enable_use_gpu(256, 0)
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads)
            if onednn:
                config.enable_mkldnn()
            elif hasattr(config, "disable_mkldnn"):  # Paddle 3 turns it on by itself
                config.disable_mkldnn()
        # and no enable_memory_optim: with Paddle 3 programs its pass fails
        config.disable_glog_info()
        try:
            self.predictor = paddle_infer.create_predictor(config)
        except (RuntimeError, ValueError) as e:
            raise InputError(
                f"{directory}/{program} cannot be loaded by this Paddle: "
                f"{' '.join(str(e).split())[-200:]}"
            ) from None
        self.dtypes = {k: v["dtype"] for k, v in inputs.items()}
        self.inputs = {
            k: self.predictor.get_input_handle(k) for k in self.predictor.get_input_names()
        }
        self.outputs = [
            self.predictor.get_output_handle(k) for k in self.predictor.get_output_names()
        ]

    def __call__(self, arrays):
        for name, handle in self.inputs.items():
            handle.copy_from_cpu(np.ascontiguousarray(arrays[name], self.dtypes[name]))
        self.predictor.run()
        return [handle.copy_to_cpu() for handle in self.outputs]
