"""Binds the AFM net to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import AFM


class DygraphModel(ClickModel):
    title = "AFM"
    colour = "#6a51a3"
    marker = "8"
    reads_events = True

    COMMON = ("embedding_size", "embedding_std", "sparse", "list_pooling")

    def create_model(self, config, schema):
        return AFM(**self.net_arguments(config, schema, "attention_size", "dropout"))
