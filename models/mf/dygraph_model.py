"""Binds the MF net to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import MF


class DygraphModel(ClickModel):
    title = "MF"
    colour = "#7f7f7f"
    marker = "$M$"

    COMMON = ("embedding_size", "embedding_std", "sparse", "list_pooling")

    def create_model(self, config, schema):
        return MF(**self.net_arguments(config, schema, "form", "ids_only"))
