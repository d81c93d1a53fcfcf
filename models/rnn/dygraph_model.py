"""Binds the RNN to the tools.

The loss is that of the clicks, plus λ times that on the next item if there is one.
"""

from paddleinterest.nets.next_item_model import NextItemModel

from .net import RNN


class DygraphModel(NextItemModel):
    title = "RNN"
    colour = "#17a2a2"
    marker = "*"
    reads_events = True

    def create_model(self, config, schema):
        self.next_item_weight = config.hyper_parameters.next_item_weight
        return RNN(**self.net_arguments(config, schema, "cell", "read_out", "next_item"))
