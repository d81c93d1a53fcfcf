"""Binds the PNN net to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import PNN


class DygraphModel(ClickModel):
    title = "PNN"
    colour = "#009e73"
    marker = "D"
    reads_events = True

    def create_model(self, config, schema):
        return PNN(**self.net_arguments(config, schema, "product"))
