"""Binds the RNN to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import RNN


class DygraphModel(ClickModel):
    title = "RNN"
    colour = "#17a2a2"
    marker = "*"

    def create_model(self, config, schema):
        return RNN(**self.net_arguments(config, schema, "cell", "read_out"))
