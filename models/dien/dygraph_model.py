"""Binds the DIEN net to the tools.

The loss is L_target + α·L_aux (DIEN, "Interest Extractor Layer").
"""

from paddleinterest.nets.click_model import ClickModel

from .net import DIEN


class DygraphModel(ClickModel):
    title = "DIEN"
    colour = "#d55e00"
    marker = "P"
    reads_events = True

    def create_model(self, config, schema):
        self.alpha = config.hyper_parameters.auxiliary_weight
        return DIEN(
            **self.net_arguments(
                config,
                schema,
                "hidden_size",
                "evolution",
                "attention",
                "attention_units",
                "auxiliary",
                "auxiliary_mean",
                "history_sum",
            )
        )

    def needs_negatives(self, config):
        h = config.hyper_parameters
        return h.auxiliary_negatives if h.auxiliary != "none" else ""

    def forward_with_terms(self, net, feeds):
        logit, auxiliary = net.forward_train(feeds)
        if auxiliary is None:
            return logit, {}
        auxiliary.weight = self.alpha
        return logit, {"auxiliary": auxiliary}
