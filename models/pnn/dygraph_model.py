"""Binds the PNN net to the tools."""

from models.pnn.net import PNN
from paddleinterest.nets.click_model import ClickModel


class DygraphModel(ClickModel):
    def create_model(self, config, schema):
        return PNN(**self.net_arguments(config, schema, "product"))
