"""Turn a raw log into a prepared dataset.

    python tools/prepare.py --config configs/datasets/beauty.yaml
    python tools/prepare.py --source event_log --events events.csv --items items.csv \
        --protocol every_prefix --out data/mine

`python tools/prepare.py --source NAME --help` lists the flags of one source.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from datasets.builder import build
from datasets.protocols import PROTOCOLS
from datasets.schema import InputError
from datasets.sources import SOURCES
from tools.utils import cli
from tools.utils.config import read_yaml
from tools.utils.log import say


def parser(source=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--config", help="a recipe such as configs/datasets/beauty.yaml; flags given beside it win")
    p.add_argument("--source", choices=sorted(SOURCES), help="where the raw log comes from")
    p.add_argument("--protocol", choices=[*PROTOCOLS, "given"],
                   help="how events become samples and splits: every_prefix (each event is a positive, last one test), "
                        "last_event (last event of each user, users split 80/10/10), impressions (labels in the log, "
                        "split by time); default every_prefix. paddlerec_text is always `given`")
    p.add_argument("--out", help="directory to write; default data/NAME")
    p.add_argument("--name", help="name of the dataset; default the source's name, or the recipe's")
    p.add_argument("--seed", type=int, help="of negatives and random splits; the same seed gives the same bytes; "
                                            "default 2026")
    p.add_argument("--paper-split", action="store_true", default=None,
                   help="no valid split, as the papers print; off by default, because choices are made on valid")
    p.add_argument("--min-count", type=int, help="items and attribute values seen less often in train share the "
                                                 "index of the unknown; default 1")
    p.add_argument("--overwrite", action="store_true", help="replace --out where it exists")
    if source:
        SOURCES[source].add_arguments(p.add_argument_group(f"source {source}", SOURCES[source].__doc__.split("\n")[0]))
    return p


def prepare(argv):
    """Parse one preparation's command line and carry it out; returns the schema and the directory."""
    known, _ = argparse.ArgumentParser(add_help=False, parents=[_first()]).parse_known_args(argv)
    recipe = _recipe(known.config) if known.config else {}
    source = known.source or recipe.get("source")
    if not source:
        raise InputError(f"name a --source ({', '.join(sorted(SOURCES))}) or a --config with one")
    args = parser(source).parse_args([*_flags(recipe), *argv])
    protocol = args.protocol or ("given" if source == "paddlerec_text" else "every_prefix")
    name, seed = args.name or source, 2026 if args.seed is None else args.seed
    args.seed = seed
    if (protocol == "given") != (source == "paddlerec_text"):
        raise InputError(f"protocol {protocol} does not fit source {source}: paddlerec_text holds samples already "
                         "(protocol given), all others hold events")
    if seed < 0 or (args.min_count or 1) < 1:
        raise InputError("--seed must not be negative, --min-count must be at least 1")
    out = args.out or os.path.join("data", name)
    if os.path.exists(out) and not args.overwrite:  # before any work is done
        raise InputError(f"{out} exists already; remove it, choose another --out, or add --overwrite")
    say(f"reading {source}")
    log = SOURCES[source].load(args)
    schema = build(log, out, protocol=protocol, name=name, source=source, seed=seed,
                   paper_split=bool(args.paper_split), min_count=args.min_count or 1,
                   recipe=_in_force(args, source), overwrite=args.overwrite)
    return schema, out


def _first():
    p = argparse.ArgumentParser(add_help=False)
    p.add_argument("--config")
    p.add_argument("--source", choices=sorted(SOURCES))
    return p


def _recipe(path):
    recipe = read_yaml(path)
    if recipe.get("source") not in SOURCES:
        raise InputError(f"{path}: source is {recipe.get('source')!r}; it must be one of {', '.join(sorted(SOURCES))}")
    return recipe


def _flags(recipe):
    """A recipe's keys are the flags' names, so that both are checked in one place."""
    argv = []
    for key, value in recipe.items():
        flag = "--" + key.replace("_", "-")
        if value is True:
            argv.append(flag)
        elif value is not False and value is not None:
            argv += [flag, *map(str, value)] if isinstance(value, list) else [flag, str(value)]
    return argv


def _in_force(args, source):
    """The options that shape the data, for schema.yaml: without paths, which differ from machine to machine."""
    skip = {"config", "source", "out", "name", "seed", "overwrite", "protocol"}
    facts = {k: v for k, v in vars(args).items() if k not in skip and v not in (None, [], "")}
    return {k: v for k, v in facts.items() if not (isinstance(v, str) and os.sep in v) and not isinstance(v, list)}


def main():
    known, _ = _first().parse_known_args()
    recipe_source = None
    if not known.source and known.config and os.path.isfile(known.config):
        recipe_source = read_yaml(known.config).get("source")
    source = known.source or (recipe_source if recipe_source in SOURCES else None)

    def work(_):
        schema, out = prepare(sys.argv[1:])
        for split, n in schema.rows.items():
            say(f"{split:5s} {n:>12,} samples")
        if schema.best:
            say(f"best possible test AUC (true probabilities): {schema.best['test']['auc']:.4f}")
        say(f"{out}: {schema.counts['events']:,} events, {schema.counts['users']:,} users, "
                f"{schema.counts['items']:,} items, protocol {schema.protocol}. {schema.note}")
        return {"data_dir": out, "rows": schema.rows, "protocol": schema.protocol, **schema.counts,
                **({"best": schema.best} if schema.best else {})}

    cli.run(parser(source), work)


if __name__ == "__main__":
    main()
