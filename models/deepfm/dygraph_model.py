"""Binds the DeepFM net to the tools."""
from paddleinterest.nets.click_model import ClickModel
from models.deepfm.net import DeepFM


class DygraphModel(ClickModel):
    def create_model(self, config, schema):
        return DeepFM(**self.net_arguments(config, schema))
