"""Binds the CNN to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import CNN


class DygraphModel(ClickModel):
    title = "CNN"
    colour = "#a6761d"
    marker = "h"
    reads_events = True

    def create_model(self, config, schema):
        return CNN(**self.net_arguments(config, schema, "axis", "filters", "window"))
