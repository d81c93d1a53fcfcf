"""Binds the Wide & Deep net to the tools."""
from paddleinterest.nets.click_model import ClickModel
from models.wide_deep.net import WideDeep


class DygraphModel(ClickModel):
    def create_model(self, config, schema):
        return WideDeep(**self.net_arguments(config, schema, "cross"))
