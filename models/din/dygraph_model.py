"""Binds the DIN net to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import DIN


class DygraphModel(ClickModel):
    title = "DIN"
    colour = "#0072b2"
    marker = "s"
    reads_events = True

    def create_model(self, config, schema):
        return DIN(
            **self.net_arguments(
                config, schema, "attention_units", "attention_softmax", "score", "history_sum"
            )
        )
