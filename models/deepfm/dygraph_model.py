"""Binds the DeepFM net to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import DeepFM


class DygraphModel(ClickModel):
    title = "DeepFM"
    colour = "#e69f00"
    marker = "^"
    reads_events = True

    def create_model(self, config, schema):
        return DeepFM(**self.net_arguments(config, schema, "fm"))
