"""Binds the DIN net to the tools."""

from models.din.net import DIN
from paddleinterest.nets.click_model import ClickModel


class DygraphModel(ClickModel):
    title = "DIN"
    colour = "#0072b2"
    marker = "s"

    def create_model(self, config, schema):
        return DIN(**self.net_arguments(config, schema, "attention_units", "attention_softmax"))
