"""The base class of the models' bindings, whose methods the tools call.

models/<name>/dygraph_model.py names the net; the rest is the same for all.

The method names are PaddleRec's: create_model, create_feeds, create_optimizer, train_forward,
infer_forward, create_metrics; and input_spec for the export.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.core import distributed, memory
from paddleinterest.core.errors import InputError
from paddleinterest.core.metrics import Metrics, click_metrics
from paddleinterest.core.settings import Settings, nearest
from paddleinterest.data.schema import Field, Schema
from paddleinterest.nets.batch import Batch
from paddleinterest.nets.embeddings import FieldEmbeddings
from paddleinterest.nets.example import example_batch
from paddleinterest.nets.loss import LossTerm
from paddleinterest.nets.regularization import MiniBatchAwareRegularization


class ClickModel:
    """Binds a net to the tools. A subclass gives `create_model`; DIEN also adds to the loss.

    Attributes:
        title: the model's name in tables and pictures; "" = the folder's name.
        colour: of its lines in pictures, "#rrggbb"; "" = one of the spare colours.
        marker: Matplotlib marker of its points; "" = a spare one.
        reads_events: whether the net reads what an event has beside its item
            (`FieldEmbeddings.events`); if not, a dataset with event fields is refused.
    """

    title: str = ""
    colour: str = ""
    marker: str = ""
    reads_events: bool = False

    COMMON = (
        "embedding_size",
        "embedding_std",
        "sparse",
        "list_pooling",
        "tower",
        "activation",
        "dropout",
        "item_bias",
    )

    def net_arguments(self, config: Settings, schema: Schema, *own: str) -> dict[str, Any]:
        """Keyword arguments of the net: the fields, and the hyper_parameters named in COMMON and
        `own`."""
        h, names = config.hyper_parameters, (*self.COMMON, *own)
        known = [declared.attribute for declared in h.declared().values()]
        for name in names:
            if name not in known:
                raise InputError(
                    f"{config.model}/dygraph_model.py asks for the setting {name}, which is not"
                    f" declared in the settings.py of its folder{nearest(name, known)}"
                )
        return dict(
            fields=self.net_fields(config, schema),
            dense=len(schema.dense_fields),
            **{name: getattr(h, name) for name in names},
        )

    def net_fields(self, config: Settings, schema: Schema) -> list[Field]:
        """The fields that the net embeds: all but the dense columns, which `dense` counts."""
        events = [*schema.event_fields, *schema.event_dense]
        if events and not self.reads_events:
            listed = ", ".join(f.name for f in events)
            raise InputError(
                f"{config.model} does not read event fields, but {schema.name} has {listed}; let"
                f" its net read them (docs/own_model.md), or prepare the dataset without them"
            )
        vectors = read_vectors(config, schema)
        return [
            f
            for f in schema.fields
            if f.kind == "category" or f in vectors or f in schema.event_dense
        ]

    def create_model(self, config: Settings, schema: Schema) -> nn.Layer:
        """The net, with start weights. A subclass gives it."""
        raise NotImplementedError

    def needs_times(self, config: Settings, schema: Schema) -> bool:
        """True if the net reads history_time and target_time."""
        return False

    def needs_negatives(self, config: Settings) -> str:
        """Kind of the negatives (paddleinterest/data/negatives.py) that training reads, "" for
        none."""
        return ""

    def create_regularization(
        self, config: Settings, counts: Callable[[], dict[str, np.ndarray]]
    ) -> MiniBatchAwareRegularization | None:
        """Regularisation of the rows in the batch, or None where λ is 0. counts() → {field:
        occurrences in train, [rows]}."""
        h = config.hyper_parameters
        if not h.regularization:
            return None
        found = counts()
        if h.regularization_kind == "l2":
            found = {name: np.ones_like(c) for name, c in found.items()}
        return MiniBatchAwareRegularization(found, h.regularization)

    def create_optimizer(self, net: nn.Layer, config: Settings) -> paddle.optimizer.Optimizer:
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
        common: dict[str, Any] = dict(
            learning_rate=o.learning_rate, parameters=net.parameters(), grad_clip=clip
        )
        if o.class_ == "adam":
            adam = paddle.optimizer.Adam(lazy_mode=h.sparse, **common)
            if h.sparse and paddle.device.get_device() == "cpu":
                _start_powers(adam, net)
            return adam
        return {"sgd": paddle.optimizer.SGD, "adagrad": paddle.optimizer.Adagrad}[o.class_](
            **common
        )

    def create_feeds(self, batch: dict[str, np.ndarray]) -> Batch:
        """A reader's batch as tensors; the user, known only for metrics, stays behind."""
        return {k: paddle.to_tensor(v) for k, v in batch.items() if k != "user"}

    def train_forward(
        self,
        net: nn.Layer,
        feeds: Batch,
        regularization: MiniBatchAwareRegularization | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor, dict[str, paddle.Tensor]]:
        """The loss to minimise, the logits, and the loss's parts.

        Of several processes each has its part of the loss, and their sum is that of the whole
        batch.

        Args:
            net (nn.Layer): the net.
            feeds (Batch): tensors of a batch.
            regularization: what `create_regularization` returned.

        Returns:
            tuple: loss [], logits [B], and {name: []} for the log: ``loss``, that of the clicks,
            the terms of `forward_with_terms`, and ``regularization`` if there is one.
        """
        logit, terms = self.forward_with_terms(net, feeds)
        label = feeds["label"]
        _check_one_per_row("the net gives logits", logit, label)
        rows = self.click_loss(logit, label)  # [B]
        _check_one_per_row("click_loss gives", rows, label)
        mean, count = _weighted_mean(rows, feeds.get("weight"))
        total = distributed.share_of_mean(mean, count)
        parts = {"loss": total}
        for name, term in terms.items():
            of_term = len(label) if term.count is None else float(term.count)
            parts[name] = distributed.share_of_mean(term.mean, of_term)
            total = total + term.weight * parts[name]
        if regularization is not None:
            parts["regularization"] = regularization(_embeddings(net), feeds)
            total = total + parts["regularization"]
        return total, logit, parts

    def forward_with_terms(
        self, net: nn.Layer, feeds: Batch
    ) -> tuple[paddle.Tensor, dict[str, LossTerm]]:
        """Logits [B], and further terms of the loss by name.

        A subclass may add terms. It need not know of other processes.
        """
        return net(feeds), {}

    def click_loss(self, logit: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        """Log loss of each row, [B], from logits [B] and labels [B]."""
        return F.binary_cross_entropy_with_logits(logit, label, reduction="none")

    def example_batch(
        self, config: Settings, schema: Schema, seed: int = 0
    ) -> dict[str, np.ndarray]:
        """A small batch of random ids that the net can be run on."""
        spec = self.input_spec(config, schema)
        return example_batch(schema, spec, bool(self.needs_negatives(config)), seed)

    def infer_forward(self, net: nn.Layer, feeds: Batch) -> paddle.Tensor:
        """Click probabilities, [B]."""
        return F.sigmoid(net(feeds))

    def create_metrics(self) -> Callable[[np.ndarray, np.ndarray, np.ndarray], Metrics]:
        """A function (user [N], label [N], probability [N]) → {auc, gauc, logloss, pcoc}."""
        return click_metrics

    def input_spec(self, config: Settings, schema: Schema) -> dict[str, paddle.static.InputSpec]:
        """The net's inputs at request time, {name: InputSpec}: history and target, times where it
        reads them, never labels."""
        spec: dict[str, Any] = {}
        for f in schema.item_fields:
            spec[f"history_{f.name}"] = ([None, None], "int64")
            spec[f"target_{f.name}"] = ([None], "int64")
        for f in schema.multiple("item"):
            spec[f"history_{f.name}"] = ([None, None, None], "int64")
            spec[f"target_{f.name}"] = ([None, None], "int64")
        spec.update({f"user_{f.name}": ([None, None], "int64") for f in schema.multiple("user")})
        for f in read_vectors(config, schema):
            spec[f"history_vector_{f.name}"] = ([None, None, f.width], "float32")
            spec[f"target_vector_{f.name}"] = ([None, f.width], "float32")
        for of in ("user", "context"):
            spec.update({f"{of}_{f.name}": ([None], "int64") for f in schema.categories(of)})
        if self.reads_events:
            spec.update(_event_inputs(schema))
        if schema.dense_fields:
            spec["dense"] = ([None, len(schema.dense_fields)], "float32")
        if self.needs_times(config, schema):
            spec.update(history_time=([None, None], "int64"), target_time=([None], "int64"))
        return {
            name: paddle.static.InputSpec(shape, dtype, name)
            for name, (shape, dtype) in spec.items()
        }


def read_vectors(config: Settings, schema: Schema) -> list[Field]:
    """The vectors that are inputs of the net; none if they are the start of the item table."""
    return schema.vector_fields if config.hyper_parameters.vectors == "projected" else []


def _event_inputs(schema: Schema) -> dict[str, Any]:
    """{input: (shape, type)} of what the history's events have beside their items."""
    spec: dict[str, Any] = {}
    for f in schema.event_fields:
        spec[f"event_{f.name}"] = ([None, None], "int64")
    if schema.event_dense:
        spec["event_dense"] = ([None, None, len(schema.event_dense)], "float32")
    return spec


def _check_one_per_row(what: str, got: paddle.Tensor, label: paddle.Tensor) -> None:
    if list(got.shape) != list(label.shape):
        raise InputError(
            f"{what} {list(got.shape)} for {len(label)} rows, must be [B], one per row"
        )


def _weighted_mean(
    loss: paddle.Tensor, weight: paddle.Tensor | None
) -> tuple[paddle.Tensor, float]:
    """The mean loss [] and what these rows weigh together.

    Args:
        loss (Tensor): [B].
        weight (Tensor): [B], 1/k for each of k negatives of a positive; None = all weigh 1.
    """
    if weight is None:
        return loss.mean(), float(len(loss))
    total = float(weight.sum())
    return (loss * weight).sum() / total, total


def _embeddings(net: nn.Layer) -> FieldEmbeddings:
    """The tables that are regularised."""
    embeddings = getattr(net, "embeddings", None)
    if not isinstance(embeddings, FieldEmbeddings):
        raise InputError(
            f"hyper_parameters.regularization needs the tables of the net, but {type(net).__name__}"
            " has no attribute embeddings that is a FieldEmbeddings; set regularization to 0"
        )
    return embeddings


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
