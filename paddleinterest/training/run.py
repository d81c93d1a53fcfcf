"""A run on disk and the pieces that trainer, infer and to_static open alike: settings, dataset,
model, checkpoint.

output/<model>/<name>/   config.yaml  metrics.jsonl  result.json  log.txt  checkpoints/latest.npz
checkpoints/best.npz
"""

import importlib
import inspect
import os

from paddleinterest.core import distributed, memory, settings
from paddleinterest.core.atomic import remove_stale
from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.core.log import say

OF_TRAINING = (
    "optimizer.",
    "schedule.",
    "plateau.",
    "regularization",
    "dropout",
    "block_dropout",
    "sparse",
    "auxiliary_",
)  # how the hyper_parameters begin that a trained net does without


def add_arguments(parser):
    parser.add_argument(
        "-m",
        "--config_yaml",
        required=True,
        metavar="CONFIG",
        help="settings of a model, such as models/din/config.yaml",
    )
    parser.add_argument(
        "-o",
        "--override",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        action="extend",
        help=(
            "settings that win over the file, such as runner.epochs=3; configs/default.yaml and the"
            " model's config.yaml list them all"
        ),
    )


def directory(config):
    """Where this run lives."""
    runner = config["runner"]
    return os.path.join(
        runner["model_save_path"], config["model"], runner["name"] or dataset_name(config)
    )


def dataset_name(config):
    runner = config["runner"]
    if runner["data_dir"]:
        return os.path.basename(os.path.normpath(runner["data_dir"]))
    return str(settings.read_yaml(settings.from_root(runner["dataset"])).get("name", "dataset"))


def open_run(args):
    """Settings of a run that was trained: those it was trained with, and `-o` above them."""
    config = settings.load(args.config_yaml, args.override)
    trained = os.path.join(directory(config), "config.yaml")
    return settings.load(trained, args.override) if os.path.isfile(trained) else config


def checkpoint_path(config):
    """The checkpoint to evaluate or export; InputError where there is none."""
    path = config["runner"]["infer_load_path"] or os.path.join(
        directory(config), "checkpoints", "best.npz"
    )
    check_checkpoint(path)
    return path


def check_checkpoint(path):
    """InputError where no file is at `path`."""
    if not os.path.isfile(path):
        raise InputError(f"no checkpoint at {path}{nearest_path(path)}; tools/trainer.py makes one")


def check_predictions(path):
    """InputError unless `path` can be that of predictions: what stands there is replaced."""
    if not path.endswith(".parquet") or os.path.isdir(path):
        raise InputError(
            f"--out {path}: predictions are a Parquet file; give it a name that ends in .parquet"
        )


def data_directory(config):
    """Where the prepared dataset lies, or will."""
    return config["runner"]["data_dir"] or os.path.join("data", dataset_name(config))


def dataset(config):
    """The prepared dataset's directory; the recipe's is prepared first where it is not there, by
    rank 0 alone."""
    runner, out = config["runner"], data_directory(config)
    if runner["data_dir"]:
        return out
    from paddleinterest.data.prepare import check_same, prepare

    recipe = settings.from_root(runner["dataset"])
    if distributed.process_index():
        distributed.wait_for(out)
    else:
        remove_stale(os.path.realpath(out))  # of a preparation that was killed
    if os.path.isdir(out):
        check_same(out, recipe)
    else:
        say(f"preparing {out} from {runner['dataset']}")
        prepare(["--config", recipe, "--out", out])
    return out


def bind(config):
    """The model folder's binding (models/<name>/dygraph_model.py). Imports Paddle: call
    environment.set_up first."""
    model = _binding(config["model"])
    import paddle

    if config["runner"]["use_gpu"] and not paddle.device.is_compiled_with_cuda():
        raise InputError(
            "runner.use_gpu=true needs paddlepaddle-gpu (requirements-gpu.txt); this Paddle has no"
            " CUDA"
        )
    paddle.set_device(f"gpu:{distributed.device()}" if config["runner"]["use_gpu"] else "cpu")
    distributed.start(config["runner"]["use_gpu"])
    distributed.shard_from(config["runner"]["shard_tables"])
    from paddleinterest.nets import native

    native.use(config["runner"]["native"])
    return model


def _binding(name):
    """A `DygraphModel` of models/<name>/dygraph_model.py."""
    module, path = f"models.{name}.dygraph_model", f"models/{name}/dygraph_model.py"
    try:
        return importlib.import_module(module).DygraphModel()
    except ModuleNotFoundError as e:
        if e.name != module:
            raise
        raise InputError(f"{path} does not exist; docs/own_model.md tells what it holds") from None
    except AttributeError as e:
        if e.name != "DygraphModel":
            raise
        raise InputError(
            f"{path} has no class DygraphModel; docs/own_model.md tells what it holds"
        ) from None


def create_net(model, config, schema):
    """The net with its start weights drawn from runner.seed; wrong hyper_parameters end in one
    line."""
    import paddle

    paddle.seed(config["runner"]["seed"])
    try:
        with memory.checked_parameters():
            net = model.create_model(config, schema)
    except (ValueError, TypeError, IndexError, OverflowError) as e:
        raise InputError(f"hyper_parameters: {e}") from None
    for method in ("forward", "rank"):  # before it is trained: the export needs both
        if (
            not hasattr(net, method)
            or "return_attention" not in inspect.signature(getattr(net, method)).parameters
        ):
            raise InputError(
                f"the net of models/{config['model']} needs a method {method}(batch,"
                " return_attention=False); docs/own_model.md tells what it returns"
            )
    return net


def trained_net(model, config, data, schema, path):
    """The net with the weights of the checkpoint `path`, and the checkpoint's state.

    It says so where the checkpoint was trained on other data, as the same sizes may hide other ids,
    or with other histories.

    Raises:
        InputError: the checkpoint does not fit the net, or was trained with other settings of it,
            be the shapes the same.
    """
    from paddleinterest.training import checkpoint, resume

    net = create_net(model, config, schema)
    state = checkpoint.load(path, net, config["model"])
    trained = state.get("settings")
    if not isinstance(trained, dict):
        return net, state
    now = settings.flatten(config)
    for key in sorted(trained.keys() & now.keys()):
        name = key.removeprefix("hyper_parameters.")
        if name != key and not name.startswith(OF_TRAINING) and trained[key] != now[key]:
            own = os.path.join(os.path.dirname(os.path.dirname(path)), "config.yaml")
            raise InputError(
                f"{path} was trained with {key}={trained[key]}, not {now[key]}, and is another net"
                " with it; name the settings that it was trained with, by -o or"
                f" -m{f' {own}' if os.path.isfile(own) else ''}"
            )
    if trained.get("runner.history_cap") != now["runner.history_cap"]:
        say(
            f"warning: {path} was trained with histories of {trained.get('runner.history_cap')}"
            f" events, not {now['runner.history_cap']}"
        )
    if trained.get("data") != resume.mark(schema):
        say(
            f"warning: {path} was trained on other data than {data} is now: an id may stand for"
            " another item or value there, and then all scores are wrong; train again, or name its"
            " own dataset with runner.data_dir"
        )
    return net, state
