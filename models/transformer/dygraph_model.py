"""Binds the transformer to the tools.

The loss is that of the clicks, plus λ times that on the next item if there is one.
"""

from paddleinterest.nets.next_item_model import NextItemModel

from .net import Transformer

OWN = (
    "form",
    "position",
    "position_buckets",
    "blocks",
    "heads",
    "feed_forward",
    "block_dropout",
    "output",
    "next_item",
)


class DygraphModel(NextItemModel):
    title = "Transformer"
    colour = "#b15928"
    marker = "p"
    reads_events = True

    def create_model(self, config, schema):
        self.next_item_weight = config.hyper_parameters.next_item_weight
        return Transformer(**self.net_arguments(config, schema, *OWN))
