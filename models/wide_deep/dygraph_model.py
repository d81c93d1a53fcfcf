"""Binds the Wide & Deep net to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import WideDeep


class DygraphModel(ClickModel):
    title = "Wide & Deep"
    colour = "#56b4e9"
    marker = "v"
    reads_events = True

    def create_model(self, config, schema):
        return WideDeep(**self.net_arguments(config, schema, "cross", "cross_pairs"))
