"""Binds the FM net to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import FM


class DygraphModel(ClickModel):
    title = "FM"
    colour = "#8c564b"
    marker = "H"
    reads_events = True

    COMMON = ("embedding_size", "embedding_std", "sparse", "list_pooling")

    def create_model(self, config, schema):
        return FM(**self.net_arguments(config, schema))
