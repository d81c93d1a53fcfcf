"""Binds the base net to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import Base


class DygraphModel(ClickModel):
    title = "base"
    colour = "#000000"
    marker = "o"
    reads_events = True

    def create_model(self, config, schema):
        return Base(**self.net_arguments(config, schema, "history"))
