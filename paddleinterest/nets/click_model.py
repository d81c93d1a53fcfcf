"""What the tools call on every model. models/<name>/dygraph_model.py names the net; the rest is the
same for all.

The method names are PaddleRec's: create_model, create_feeds, create_optimizer, train_forward,
infer_forward, create_metrics; and input_spec for the export.
"""

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from paddleinterest.core import distributed, memory
from paddleinterest.core.errors import InputError
from paddleinterest.core.metrics import click_metrics
from paddleinterest.core.settings import nearest
from paddleinterest.nets.regularization import MiniBatchAwareRegularization


class ClickModel:
    """Binds a net to the tools. A subclass gives `create_model`; DIEN also adds to the loss.

    Attributes:
        title: the model's name in tables and pictures; "" = the folder's name.
        colour: of its lines in pictures, "#rrggbb"; "" = one of the spare colours.
        marker: Matplotlib marker of its points; "" = a spare one.
    """

    title: str = ""
    colour: str = ""
    marker: str = ""

    COMMON = (
        "embedding_size",
        "embedding_std",
        "sparse",
        "tower",
        "activation",
        "dropout",
        "item_bias",
    )

    def net_arguments(self, config, schema, *own):
        """Keyword arguments of the net: the fields, and the hyper_parameters named in COMMON and
        `own`."""
        h, names = config.hyper_parameters, (*self.COMMON, *own)
        known = [declared.attribute for declared in h.declared().values()]
        for name in names:
            if name not in known:
                raise InputError(
                    f"{config.model}/dygraph_model.py asks for the setting {name}, which is not"
                    f" declared in settings.py beside it{nearest(name, known)}"
                )
        fields = [f for f in schema.fields if f.kind == "category"]
        return dict(
            fields=fields,
            dense=len(schema.dense_fields),
            **{name: getattr(h, name) for name in names},
        )

    def create_model(self, config, schema):
        raise NotImplementedError

    def needs_times(self, config, schema):
        """Whether the net reads history_time and target_time."""
        return False

    def needs_negatives(self, config):
        """Kind of the negatives (paddleinterest/data/negatives.py) that training reads, "" for
        none."""
        return ""

    def create_regularization(self, config, counts):
        """Regularisation of the rows in the batch, or None where λ is 0. counts() → {field:
        occurrences in train, [rows]}."""
        h = config.hyper_parameters
        if not h.regularization:
            return None
        found = counts()
        if h.regularization_kind == "l2":
            found = {name: np.ones_like(c) for name, c in found.items()}
        return MiniBatchAwareRegularization(found, h.regularization)

    def create_optimizer(self, net, config):
        """Adam (lazy where tables are sparse: moments of rows that do not occur stay), SGD or
        Adagrad."""
        h, o = config.hyper_parameters, config.hyper_parameters.optimizer
        if o.clip_norm and config.runner.shard_tables and distributed.process_count() > 1:
            raise InputError(
                "clip_norm needs the norm of the whole gradient, which no process has with"
                " runner.shard_tables; leave out one of them"
            )
        moments = {"adam": 2, "adagrad": 1, "sgd": 0}[o.class_]
        memory.check(4 * moments * sum(p.size for p in net.parameters()), f"{o.class_}'s moments")
        clip = paddle.nn.ClipGradByGlobalNorm(o.clip_norm) if o.clip_norm else None
        common = dict(learning_rate=o.learning_rate, parameters=net.parameters(), grad_clip=clip)
        if o.class_ == "adam":
            adam = paddle.optimizer.Adam(lazy_mode=h.sparse, **common)
            if h.sparse and paddle.device.get_device() == "cpu":
                _start_powers(adam, net)
            return adam
        return {"sgd": paddle.optimizer.SGD, "adagrad": paddle.optimizer.Adagrad}[o.class_](
            **common
        )

    def create_feeds(self, batch):
        """A reader's batch as tensors; the user, known only for metrics, stays behind."""
        return {k: paddle.to_tensor(v) for k, v in batch.items() if k != "user"}

    def train_forward(self, net, feeds, regularization=None):
        """Returns the loss to minimise, the logits [B], and the loss's parts by name (scalars, for
        the log): ``loss``, that of the clicks, ``regularization`` where there is one, and what a
        subclass adds.

        Of several processes each has its part of these, and their sum is that of the whole batch.
        """
        logit = net(feeds)
        target = self.click_loss(logit, feeds["label"], feeds.get("weight"))
        if regularization is None:
            return target, logit, {"loss": target}
        penalty = regularization(net.embeddings, feeds)
        return target + penalty, logit, {"loss": target, "regularization": penalty}

    def click_loss(self, logit, label, weight=None):
        """Mean log loss of the batch, from logits [B] and labels [B], and weights [B] if there are
        several negatives for a positive; this process's part of it."""
        if logit.shape != label.shape:
            raise InputError(
                f"the net gives logits {list(logit.shape)} for {len(label)} rows, must be [B], one"
                " a row"
            )
        if weight is None:
            return distributed.part(F.binary_cross_entropy_with_logits(logit, label), len(label))
        total = float(weight.sum())  # as many as stored samples, up to rounding
        loss = F.binary_cross_entropy_with_logits(logit, label, weight=weight, reduction="sum")
        return distributed.part(loss / total, round(total))

    def infer_forward(self, net, feeds):
        """Click probabilities, [B]."""
        return F.sigmoid(net(feeds))

    def create_metrics(self):
        """A function (user [N], label [N], probability [N]) → {auc, gauc, logloss, pcoc}."""
        return click_metrics

    def input_spec(self, config, schema):
        """The net's inputs at request time, {name: InputSpec}: history and target, times where it
        reads them, never labels."""
        spec: dict[str, Any] = {}
        for f in schema.item_fields:
            spec[f"history_{f.name}"] = ([None, None], "int64")
            spec[f"target_{f.name}"] = ([None], "int64")
        for of in ("user", "context"):
            spec.update({f"{of}_{f.name}": ([None], "int64") for f in schema.categories(of)})
        if schema.dense_fields:
            spec["dense"] = ([None, len(schema.dense_fields)], "float32")
        if self.needs_times(config, schema):
            spec.update(history_time=([None, None], "int64"), target_time=([None], "int64"))
        return {
            name: paddle.static.InputSpec(shape, dtype, name)
            for name, (shape, dtype) in spec.items()
        }


def _start_powers(adam, net):
    """Let Adam divide by 1 − βᵗ on sparse tables too.

    Paddle's CPU kernel for sparse gradients multiplies the stored power of β before it reads it,
    all its other kernels after: the first steps of a table divide by 1 − βᵗ⁺¹ and are up to a
    quarter shorter. So its powers start at 1, not β.
    """
    sparse = {
        layer.weight.name
        for layer in net.sublayers()
        if isinstance(layer, paddle.nn.Embedding) and layer._sparse
    }
    state = {}
    for p in net.parameters():
        for k, beta in ((1, 0.9), (2, 0.999)):
            state[f"{p.name}_moment{k}_0"] = paddle.zeros(p.shape)
            state[f"{p.name}_beta{k}_pow_acc_0"] = paddle.full(
                [1], 1.0 if p.name in sparse else beta
            )
    adam.set_state_dict(state)
