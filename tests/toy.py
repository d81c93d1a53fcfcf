"""A small schema with every kind of field, and tensors: what the tests of all nets share."""

import paddle

from paddleinterest.data.schema import Field, Schema

SCHEMA = Schema(
    "toy",
    "",
    "",
    0,
    "seconds",
    [
        Field("item", "item", "category", 40),
        Field("category", "item", "category", 9),
        Field("price", "item", "dense"),
        Field("age", "user", "category", 5),
        Field("hour", "context", "category", 6),
    ],
    {},
)
FIELDS = [f for f in SCHEMA.fields if f.kind == "category"]
OF_ACTIVATION = {
    "relu": [],
    "prelu": ["slope"],
    "dice": ["dice.alpha"],
}  # parameters that an activation brings
OF_USER = (
    "history_",
    "user_",
    "context_",
    "target_time",
)  # keys of a batch that all candidates of a request share


def tensor(x, **kw):
    return paddle.to_tensor(x, **kw)


def tensors(batch):
    return {k: paddle.to_tensor(v) for k, v in batch.items()}


def leaf(x):
    return paddle.to_tensor(x, stop_gradient=False)


def random_weights(layer, rng, scale=0.7):
    for t in layer.state_dict().values():
        t.set_value(rng.normal(0, scale, t.shape).astype(t.numpy().dtype))
    return layer
