"""A net that is edited after training is neither evaluated, exported nor trained further."""

import paddle
import paddle.nn.functional as F
import pytest
from helpers import settings_of
from runs import ran, settings_for

from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import Schema
from paddleinterest.serving.export import export
from paddleinterest.training import loading, probe
from paddleinterest.training.predict import score_checkpoint
from paddleinterest.training.trainer import train

REFUSED = "was trained with another net than .*logits of a fixed batch differ.*undo the edit"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny):
    """The folder of a run of DIN."""
    folder = tmp_path_factory.mktemp("runs")
    ran(tiny, folder, "runner.epochs=2")
    return folder


@pytest.fixture
def edited(monkeypatch):
    """DIN's attention weighs by a sigmoid, as a reader might try."""
    from models.din.net import InterestAttention

    def weigh(self, score, mask):
        return F.sigmoid(score) * mask

    monkeypatch.setattr(InterestAttention, "weigh", weigh)


def config_of(tiny, folder, *more):
    return settings_for(tiny, folder, "runner.epochs=2", *more)


@pytest.mark.slow
def test_what_was_trained_is_read(tmp_path, tiny, trained):
    config = config_of(tiny, trained)
    path = str(trained / "din" / "tiny" / "checkpoints" / "best.npz")
    score_checkpoint(config, tiny, path, "test")
    export(config, tiny, str(tmp_path / "bundle"))


def test_an_edited_net_is_refused(tmp_path, tiny, trained, edited):
    config = config_of(tiny, trained)
    path = str(trained / "din" / "tiny" / "checkpoints" / "best.npz")
    with pytest.raises(InputError, match=REFUSED):
        score_checkpoint(config, tiny, path, "test")
    with pytest.raises(InputError, match=REFUSED):
        export(config, tiny, str(tmp_path / "bundle"))
    with pytest.raises(InputError, match=REFUSED):
        train(config_of(tiny, trained, "runner.resume=true", "runner.epochs=3"), tiny)
    assert not (tmp_path / "bundle").exists()


def test_the_log_says_which_fast_form_is_not_used(tmp_path, tiny, edited):
    softmax = "hyper_parameters.attention_softmax=true"
    relu = "hyper_parameters.activation=relu"
    _, out, _ = ran(tiny, tmp_path, "runner.epochs=1", softmax, relu)
    with open(f"{out}/log.txt", encoding="utf-8") as f:
        log = f.read()
    assert "is not what its fast form native computes" in log
    assert log.index("fast form") < log.index("epoch  1")


@pytest.mark.parametrize("model", ["din", "dien", "bst", "rnn", "base"])
def test_the_logits_do_not_depend_on_the_mode(tiny, model):
    """And the net stays in the mode that it was in."""
    config = settings_of(model, f"runner.data_dir={tiny}")
    binding = loading.bind(config)
    schema = Schema.load(tiny)
    net = loading.create_net(binding, config, schema)
    net.train()
    first = probe.logits(binding, net, config, schema)
    assert net.training
    net.eval()
    paddle.seed(5)
    assert probe.logits(binding, net, config, schema) == first
    assert not net.training and len(first) == 16
