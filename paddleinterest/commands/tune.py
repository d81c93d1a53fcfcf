"""Search for better settings of a model: trainings one after another, chosen by Optuna (TPE),
judged on valid alone.

    python tools/tune.py -m models/din/config.yaml -o runner.dataset=datasets/beauty.yaml --trials 20
    python tools/trainer.py -m output/tune/din/beauty/best.yaml -o runner.name=beauty-tuned

Trial 0 has the settings that -m and -o give. What may differ in the others stands in
configs/tune/<model>.yaml, or --space; what -o sets stays as it is. The objective is runner.monitor
of a run's best epoch; test is not read. The same command goes on with a search that was
interrupted, up to --trials in all, and comes to what it would have come to otherwise.

    output/tune/<model>/<dataset>[-runner.name]/
      best.yaml     for -m: the best trial's settings, where they are not the defaults
      trials.csv    a line a trial; Optuna's own record is journal.log
      search.yaml   what is searched; another search is refused here
      <model>/trial-0000 …    their runs, without checkpoints but for the best
"""

import argparse
import os
import shlex
import sys

from paddleinterest.core import cli, settings
from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import Schema
from paddleinterest.study import space
from paddleinterest.training import run

OURS = (
    "runner.test",
    "runner.resume",
    "runner.overwrite",
    "runner.infer_load_path",
)  # set by the search itself


def work(args):
    config = settings.load(args.config_yaml, args.override)
    for text in args.override:
        if text.partition("=")[0].strip() in OURS:
            raise InputError(f"-o {text}: a search sets this itself; leave it out")
    for name, least in (("trials", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise InputError(f"--{name} is {getattr(args, name)}, must be at least {least}")
    dimensions = space.read(args.space or _shipped(config.model), args.config_yaml, args.override)
    data = run.dataset(config)
    if "valid" not in Schema.load(data).rows:
        raise InputError(
            f"{data} has no valid split, and a search is judged on nothing else; prepare it without"
            " --paper-split"
        )
    from paddleinterest.study.search import Search

    r = config.runner
    name = run.dataset_name(config) + (f"-{r.name}" if r.name else "")
    out = args.out or os.path.join(r.model_save_path, "tune", config.model, name)
    with Search(out, args.config_yaml, args.override, dimensions, data, args.seed) as search:
        search.run(args.trials, shlex.join(["python", "tools/tune.py", *args.typed]))
        return search.result()


def _shipped(model):
    path = os.path.join(space.FOLDER, f"{model}.yaml")
    if not os.path.isfile(path):
        raise InputError(f"{model} has no space in configs/tune; name one with --space FILE")
    return path


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    run.add_arguments(p)
    p.add_argument(
        "--trials",
        type=int,
        default=20,
        metavar="N",
        help="trainings in all, those of earlier calls too; default 20",
    )
    p.add_argument(
        "--space",
        metavar="FILE",
        help="YAML file of what to search; default configs/tune/<model>.yaml",
    )
    p.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="of what is drawn, not of the trainings; default 1",
    )
    p.add_argument(
        "--out", metavar="DIR", help="folder of the search; default output/tune/<model>/<dataset>"
    )
    p.set_defaults(typed=sys.argv[1:])
    cli.run(p, work)
