"""Binds the PNN net to the tools."""
from paddleinterest.nets.click_model import ClickModel
from models.pnn.net import PNN


class DygraphModel(ClickModel):
    def create_model(self, config, schema):
        return PNN(**self.net_arguments(config, schema, "product"))
