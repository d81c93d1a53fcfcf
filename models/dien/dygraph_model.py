"""Binds the DIEN net to the tools."""
import paddle.nn.functional as F

from models.dien.net import DIEN
from models.dygraph import ClickModel

OWN = ("hidden_size", "evolution", "attention", "attention_units", "auxiliary")


class DygraphModel(ClickModel):
    def create_model(self, config, schema):
        return DIEN(**self.net_arguments(config, schema, *OWN))
