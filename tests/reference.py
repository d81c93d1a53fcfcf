"""The formulas of paddleinterest/nets/layers.py, models/din and models/base once more, in NumPy
float64 and as literally as they read."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def dice(s, alpha, mean, variance, epsilon=1e-8):
    p = sigmoid((s - mean) / np.sqrt(variance + epsilon))
    return p * s + (1 - p) * alpha * s


def statistics(s, mask=None):
    """Mean and variance of each channel over the real positions, one channel at a time."""
    rows = s.reshape(-1, s.shape[-1])
    if mask is not None:
        rows = rows[mask.reshape(-1) == 1]
    return rows.mean(0), ((rows - rows.mean(0)) ** 2).mean(0)


def weights_of(net):
    """{name: float64 array} of a net's weights and buffers."""
    return {k: v.numpy().astype(np.float64) for k, v in net.state_dict().items()}


def activate(kind, w, prefix, s):
    """Evaluation form of paddleinterest.nets.layers.Activation, its values under `prefix` in
    `w`."""
    if kind == "relu":
        return np.where(s > 0, s, 0)
    if kind in ("leaky_relu", "rrelu"):
        return np.where(s > 0, s, {"leaky_relu": 0.01, "rrelu": 11 / 48}[kind] * s)
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-s))
    if kind == "prelu":
        return np.where(s > 0, s, w[f"{prefix}.slope"] * s)
    return dice(
        s, w[f"{prefix}.dice.alpha"], w[f"{prefix}.dice.mean"], w[f"{prefix}.dice.variance"]
    )


def mlp(kind, w, prefix, x):
    k = 0
    while f"{prefix}.hidden.{k}.weight" in w:
        x = activate(
            kind,
            w,
            f"{prefix}.activations.{k}",
            x @ w[f"{prefix}.hidden.{k}.weight"] + w[f"{prefix}.hidden.{k}.bias"],
        )
        k += 1
    return x @ w[f"{prefix}.out.weight"] + w[f"{prefix}.out.bias"]


def activation_unit(kind, w, prefix, history, target):
    """s_j = MLP([e_j; v; e_j − v; e_j∘v]) with the concatenation that the net avoids. [B, T, D],
    [B, D] → [B, T]."""
    v = np.repeat(target[:, None], history.shape[1], 1)
    x = np.concatenate([history, v, history - v, history * v], -1)
    k = 0
    while f"{prefix}.linears.{k}.weight" in w:
        x = activate(
            kind,
            w,
            f"{prefix}.activations.{k}",
            x @ w[f"{prefix}.linears.{k}.weight"] + w[f"{prefix}.linears.{k}.bias"],
        )
        k += 1
    return (x @ w[f"{prefix}.out.weight"])[..., 0] + w.get(f"{prefix}.out.bias", 0)


def attention_weights(score, mask, softmax, width):
    """Row by row over the real positions alone: softmax(s/√D) or s itself; 0 at padding."""
    weight = np.zeros_like(score)
    for row, real in enumerate(mask == 1):
        s = score[row, real]
        if softmax and len(s):
            s = np.exp(s / np.sqrt(width) - np.max(s / np.sqrt(width)))
            s = s / s.sum()
        weight[row, real] = s
    return weight


def embed(w, names, batch, of):
    return np.concatenate(
        [w[f"embeddings.tables.{n}.weight"][batch[f"{of}_{n}"]] for n in names], -1
    )


def logits(net, schema, batch, activation, attention=None):
    """Logits [B] and weights [B, T] of Base (attention None) or DIN (attention "sum" or "softmax"),
    in evaluation."""
    w, names = weights_of(net), [f.name for f in schema.item_fields]
    history, target = embed(w, names, batch, "history"), embed(w, names, batch, "target")
    mask = (batch["history_item"] != 0).astype(np.float64)
    weight = mask
    if attention:
        score = activation_unit(activation, w, "attention.unit", history, target)
        weight = attention_weights(score, mask, attention == "softmax", history.shape[-1])
    interest = (weight[..., None] * history).sum(1)
    side = [
        w[f"embeddings.tables.{f.name}.weight"][batch[f"{of}_{f.name}"]]
        for of in ("user", "context")
        for f in schema.categories(of)
    ]
    x = np.concatenate([interest, target, *side, batch["dense"].astype(np.float64)], -1)
    logit = mlp(activation, w, "tower.mlp", x)[:, 0]
    if "tower.item_bias.weight" in w:
        logit = logit + w["tower.item_bias.weight"][batch["target_item"], 0]
    return logit, weight


def check_gradients(function, tensors, rng, step=1e-6, tolerance=1e-6, directions=3):
    """Compare the gradients of a scalar `function()` with central differences along random
    directions.

    tensors: {name: Paddle tensor that `function` reads}; each is moved alone.
    """
    for t in tensors.values():
        t.clear_grad()
    function().backward()
    for name, t in tensors.items():
        assert t.grad is not None, f"{name} has no gradient"
        gradient, start = t.grad.numpy(), t.numpy()
        assert np.abs(gradient).max() > 0, f"the gradient of {name} is zero"
        for _ in range(directions):
            d = rng.normal(size=start.shape)
            values = []
            for sign in (1, -1):
                t.set_value((start + sign * step * d).astype(start.dtype))
                values.append(function().item())
            t.set_value(start)
            measured, claimed = (values[0] - values[1]) / (2 * step), float((gradient * d).sum())
            assert abs(measured - claimed) <= tolerance * max(1, abs(measured)), (
                f"{name}: {claimed} against {measured}"
            )
