"""BST on FuxiCTR's own layers, as its wheel ships none, after the description of the one in its
repository.

History and target (fields side by side, one table a field for both), a learned position vector as
wide as a field next to them, one post-norm encoder block whose feed-forward part is as wide as the
model, the mean over the real positions, an MLP over target and mean.
"""

import math

import torch
from fuxictr.pytorch.layers import FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import nn


def waves(positions, width):
    """The position vectors' start: sines and cosines, [positions, width]."""
    angle = torch.arange(positions).float()[:, None] * torch.exp(
        torch.arange(0, width, 2) * (-math.log(1e4) / width)
    )
    return torch.stack([torch.sin(angle), torch.cos(angle)], -1).flatten(1)


class BST(BaseModel):
    def __init__(
        self,
        feature_map,
        fields,
        width,
        heads,
        positions,
        learning_rate,
        optimizer,
        loss,
        **settings,
    ):
        super().__init__(feature_map, model_id="BST", **settings)
        self.fields, self.heads = fields, heads
        items = width * len(fields)
        d = items + width
        self.tables = FeatureEmbeddingDict(feature_map, width)
        self.attend = nn.MultiheadAttention(d, heads, batch_first=True)
        self.inner, self.outer = nn.Linear(d, d), nn.Linear(d, d)
        self.norm_a, self.norm_b = nn.LayerNorm(d), nn.LayerNorm(d)
        self.top = MLP_Block(
            input_dim=items + d,
            output_dim=1,
            hidden_units=[200, 80],
            hidden_activations="ReLU",
            output_activation=self.output_activation,
        )
        self.position = nn.Parameter(waves(positions, width))
        self.compile(optimizer, loss, learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs):
        x = self.get_inputs(inputs)
        e = self.tables(x)
        target = torch.cat([e[name] for name in self.fields], -1)
        history = torch.cat([e[f"hist_{name}"] for name in self.fields], -1)
        h = torch.cat([history, target[:, None]], 1)
        h = torch.cat([h, self.position.expand(len(h), -1, -1)], -1)
        padded = nn.functional.pad(x["hist_item"] == 0, (0, 1), value=False)
        h = self.norm_a(h + self.attend(h, h, h, attn_mask=self.blocked(padded))[0])
        h = self.norm_b(h + self.outer(nn.functional.leaky_relu(self.inner(h))))
        real = (~padded).float().unsqueeze(-1)
        mean = (h * real).sum(1) / real.sum(1)
        return {"y_pred": self.top(torch.cat([target, mean], -1))}

    def blocked(self, padded):
        """The masked places, [B·heads, L, L]: padding, except by itself, so that no row is without
        anything."""
        n = padded.shape[1]
        mask = padded[:, None, :] & ~torch.eye(n, dtype=torch.bool, device=padded.device)
        return mask[:, None].expand(-1, self.heads, -1, -1).reshape(-1, n, n)
