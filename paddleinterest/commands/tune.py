r"""Search for better settings of a model: trainings chosen by Optuna (TPE), judged on valid only.

    python tools/tune.py -m models/din/config.yaml -o runner.dataset=datasets/beauty.yaml \
        --trials 20 --jobs 2
    python tools/trainer.py -m output/tune/din/beauty/best.yaml -o runner.name=beauty-tuned

Trial 0 has the settings that -m and -o give. What may differ in the others is in
configs/tune/<model>.yaml, or --space; what -o sets stays fixed. The objective is runner.monitor of
a run's best epoch; test is not read. Poor trials stop early by successive halving: of every
--keep-one-of trials that reach --prune-from epochs one continues, and again at --keep-one-of times
as many epochs, and so on. The same command resumes an interrupted search, up to --trials in all;
with --jobs 1 the result is the same as without the interruption.

    output/tune/<model>/<dataset>[-runner.name]/
      best.yaml     for -m: the best trial's settings that differ from the defaults
      trials.csv    one line per trial; Optuna's own record is journal.log
      search.yaml   what is searched; a different search is refused here
      <model>/trial-0000 …    their runs; only the best keeps its checkpoints
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
LEAST = {"trials": 1, "seed": 0, "jobs": 1, "prune_from": 0, "keep_one_of": 2}


def work(args: argparse.Namespace) -> dict:
    config = settings.load(args.config_yaml, args.override)
    for text in args.override:
        if text.partition("=")[0].strip() in OURS:
            raise InputError(f"-o {text}: a search sets this itself; leave it out")
    for name, least in LEAST.items():
        if getattr(args, name) < least:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} is {getattr(args, name)}, must be at least {least}")
    dimensions = space.read(args.space or _shipped(config.model), args.config_yaml, args.override)
    data = run.dataset(config)
    if "valid" not in Schema.load(data).rows:
        raise InputError(
            f"{data} has no valid split, which a search is judged on; prepare it without"
            " --paper-split"
        )
    from paddleinterest.study.search import Plan, Search  # imports Optuna

    own_name = f"-{config.runner.name}" if config.runner.name else ""
    folder = os.path.join(config.runner.model_save_path, "tune", config.model)
    plan = Plan(
        config_yaml=args.config_yaml,
        overrides=list(args.override),
        space=dimensions,
        data=data,
        out=args.out or os.path.join(folder, run.dataset_name(config) + own_name),
        seed=args.seed,
        trials=args.trials,
        jobs=args.jobs,
        prune_from=args.prune_from,
        keep_one_of=args.keep_one_of,
        command=shlex.join(["python", "tools/tune.py", *args.typed]),
    )
    return Search(plan).run()


def _shipped(model: str) -> str:
    path = os.path.join(space.FOLDER, f"{model}.yaml")
    if not os.path.isfile(path):
        raise InputError(f"{model} has no file in configs/tune; name one with --space FILE")
    return path


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    run.add_arguments(p)
    p.add_argument(
        "--trials",
        type=int,
        default=20,
        metavar="N",
        help="number of trainings, including those of earlier calls; default 20",
    )
    p.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="trainings at a time; they share the cores unless -o sets runner.threads; default 1",
    )
    p.add_argument(
        "--space",
        metavar="FILE",
        help="YAML file of what to search; default configs/tune/<model>.yaml",
    )
    p.add_argument(
        "--prune-from",
        type=int,
        default=2,
        metavar="EPOCHS",
        help="stop poor trials for the first time after this many epochs; 0 = never; default 2",
    )
    p.add_argument(
        "--keep-one-of",
        type=int,
        default=3,
        metavar="N",
        help="one of this many trials continues beyond each rung; default 3",
    )
    p.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="seed of the search, not of the trainings; default 1",
    )
    p.add_argument(
        "--out", metavar="DIR", help="folder of the search; default output/tune/<model>/<dataset>"
    )
    p.set_defaults(typed=sys.argv[1:])
    cli.run(p, work)
