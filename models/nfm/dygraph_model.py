"""Binds the NFM net to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import NFM


class DygraphModel(ClickModel):
    title = "NFM"
    colour = "#bcbd22"
    marker = "d"
    reads_events = True

    def create_model(self, config, schema):
        return NFM(**self.net_arguments(config, schema, "linear"))
