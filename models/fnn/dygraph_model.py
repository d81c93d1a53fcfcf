"""Binds the FNN to the tools."""

from paddleinterest.core.errors import InputError
from paddleinterest.nets.click_model import ClickModel

from .net import FNN


class DygraphModel(ClickModel):
    title = "FNN"
    colour = "#e7298a"
    marker = "<"
    reads_events = True

    def create_model(self, config, schema):
        return FNN(**self.net_arguments(config, schema))

    def create_optimizer(self, net, config):
        if config.hyper_parameters.freeze:
            if not config.runner.warm_start:
                raise InputError(
                    "hyper_parameters.freeze keeps the weights of an FM, but runner.warm_start"
                    " names none; set it to the checkpoint of an fm, or leave freeze out"
                )
            for p in net.of_fm():
                p.stop_gradient = True
        return super().create_optimizer(net, config)
