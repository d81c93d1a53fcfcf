"""Scores of a whole split."""

import os
from typing import Any

import numpy as np
import paddle
import pyarrow as pa
import pyarrow.parquet as pq

from paddleinterest.core import distributed
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import progress
from paddleinterest.core.settings import Settings
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.nets.click_model import ClickModel
from paddleinterest.training import loading


def score_checkpoint(
    config: Settings, data: str, path: str, split: str
) -> tuple[ClickModel, Reader, np.ndarray, dict[str, Any]]:
    """A checkpoint's net over a split of the dataset in `data`: (model, reader, probabilities
    [rows], the checkpoint's state)."""
    model = loading.bind(config)
    reader = split_reader(config, data, model, split)
    net, state = loading.trained_net(model, config, data, reader.schema, path)
    score = predict(model, net, reader, split)
    check_finite(score)
    return model, reader, score, state


def split_reader(config: Settings, data: str, model: ClickModel, split: str) -> Reader:
    """A split in file order, as the model reads it."""
    return Reader(
        data,
        split,
        config.runner.infer_batch_size,
        config.runner.history_cap,
        times=model.needs_times(config, Schema.load(data)),
        vectors=config.hyper_parameters.vectors != "start",
    )


def predict(
    model: ClickModel, net: paddle.nn.Layer, reader: Reader, what: str = "evaluating"
) -> np.ndarray:
    """Click probabilities of every row of the reader's split, float32 [rows], in file order.

    Rows are scored in order of history length, so that little is padded; no score depends on its
    batch mates. Several processes share the rows, and each gets all scores.
    """
    score = np.zeros(reader.rows, np.float32)
    order = np.argsort(reader.length, kind="stable")
    net.eval()
    with paddle.no_grad(), progress(reader.rows, what) as bar:
        together = reader.batch_size * distributed.process_count()
        for lo in range(0, reader.rows, together):
            rows = order[lo : lo + together][
                distributed.process_index() :: distributed.process_count()
            ]
            some = (
                rows if len(rows) else order[lo : lo + 1]
            )  # the others may look up this one's rows of a table
            score[rows] = model.infer_forward(net, model.create_feeds(reader.batch(some))).numpy()[
                : len(rows)
            ]
            bar.update(min(together, reader.rows - lo))
    return distributed.merge_filled(score)


def check_finite(score: np.ndarray) -> None:
    """Raise InputError if a score is not a number; its figures would look like any others."""
    if not np.isfinite(score).all():
        raise InputError(
            f"{int((~np.isfinite(score)).sum()):,} of {len(score):,} scores are not finite;"
            " try a smaller learning rate or clip_norm, and look for dense values far outside"
            " those of train"
        )


def write_predictions(path: str, reader: Reader, directory: str, score: np.ndarray) -> None:
    """Write user, item (raw ids; null where unknown), label, time and score of every row, in file
    order."""
    raw = {
        of: read_parquet(os.path.join(directory, f"{of}s.parquet"))[of] for of in ("user", "item")
    }
    table = pa.table(
        {
            "user": raw["user"].take(pa.array(reader.user)),
            "item": raw["item"].take(pa.array(reader.item)),
            "label": reader.label,
            "time": reader.time,
            "score": score,
        }
    )
    with whole_file(path) as made:
        pq.write_table(table, made, compression="zstd")
