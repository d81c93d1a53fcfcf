"""A net's logits on a fixed batch, kept in its checkpoints.

What one reads in net.py is what trained: if net.py, or the library under it, is edited after
training, the same weights give other logits, and the checkpoint is refused.
"""

import numpy as np
import paddle

from paddleinterest.core.errors import InputError
from paddleinterest.core.settings import Settings
from paddleinterest.data.schema import Schema
from paddleinterest.nets.click_model import ClickModel
from paddleinterest.nets.example import example_batch

FREQUENT = 32  # ids below this have learnt the most; those of new values hardly move a logit
TOLERANCE = 1e-3  # of the largest logit; other machines and Paddle versions stay below 1e-4


def logits(
    model: ClickModel, net: paddle.nn.Layer, config: Settings, schema: Schema
) -> list[float]:
    """Logits of two small batches of random frequent ids, in evaluation.

    Of several processes all must call this, since they may share tables.
    """
    spec = model.input_spec(config, schema)
    was_training = net.training
    net.eval()
    found: list[float] = []
    with paddle.no_grad():
        for seed in (0, 1):
            batch = example_batch(schema, spec, seed=seed, ids_below=FREQUENT)
            feeds = {name: paddle.to_tensor(batch[name]) for name in spec}
            found += net(feeds).numpy().astype(np.float64).reshape(-1).tolist()
    if was_training:
        net.train()
    return found


def check(path: str, kept: list[float], now: list[float], folder: str) -> None:
    """Refuse the checkpoint at `path` if its weights do not give the logits that it keeps.

    Args:
        path: of the checkpoint, for the message.
        kept: the logits of the net that was trained; empty if an older version wrote the file.
        now: those of the net that is to be used.
        folder: of the model, for the message.

    Raises:
        InputError: they differ.
    """
    if not kept:
        return
    size = max(1e-3, float(np.abs(kept).max()))
    if len(kept) == len(now):
        difference = float(np.abs(np.subtract(kept, now)).max()) / size
        if difference <= TOLERANCE:
            return
        what = f"its logits of a fixed batch differ by {difference:.1%} of the largest"
    else:
        what = f"it gives {len(now)} logits for a fixed batch, not {len(kept)}"
    raise InputError(
        f"{path} was trained with another net than {folder} has now: {what}; was net.py or the"
        " library edited after training? Train again, or undo the edit"
    )
