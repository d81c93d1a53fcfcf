r"""Turn a raw log into a prepared dataset.

    python tools/prepare.py --config datasets/beauty.yaml
    python tools/prepare.py --source event_log --events events.csv --items items.csv \
        --protocol every_prefix --out data/mine

`python tools/prepare.py --source NAME --help` lists the flags of one source.
"""

import argparse
import os
import sys

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.settings import nearest, read_yaml
from paddleinterest.data.builder import build, check_free
from paddleinterest.data.protocols import NEW_USERS, PROTOCOLS
from paddleinterest.data.schema import Schema
from paddleinterest.data.sources import SOURCES

FEW = 200  # samples


class Parser(argparse.ArgumentParser):
    """The flags that all sources share, then those of the one that --source or the recipe in
    --config names.

    A recipe's keys are the names of flags and go through the same checks; flags given beside it
    win.
    """

    def __init__(self):
        super().__init__(
            description=__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.recipe = ""  # path of the recipe while its values are checked
        add = self.add_argument
        add(
            "--config",
            metavar="FILE",
            help="a recipe such as datasets/beauty.yaml; flags given beside it win",
        )
        add("--source", choices=sorted(SOURCES), help="where the raw log comes from")
        add(
            "--protocol",
            choices=[*PROTOCOLS, "given"],
            help=(
                "how events become samples and splits: every_prefix (each event is a positive, last"
                " one test), last_event (last event of each user, users split 80/10/10),"
                " impressions (labels in the log, split by time), by_user (labels in the log, users"
                " split 65/7/28), by_day (labels in the log, days split 80/10/10); default"
                " every_prefix. paddlerec_text is always `given`"
            ),
        )
        add("--out", metavar="DIR", help="directory to write; default data/NAME")
        add(
            "--name",
            help="name of the dataset; default the last part of --out, or else the source's name",
        )
        add(
            "--seed",
            type=int,
            default=2026,
            help="of negatives and random splits; the same seed gives the same bytes; default 2026",
        )
        add(
            "--paper-split",
            action="store_true",
            help=(
                "no valid split, as the papers print; off by default, because choices are made on"
                " valid"
            ),
        )
        add(
            "--min-count",
            type=int,
            default=1,
            help=(
                "items and attribute values seen less often in train share the index of the"
                " unknown; default 1"
            ),
        )
        add(
            "--user-id",
            action="store_true",
            default=None,
            help=(
                "models learn each user: the id becomes an attribute user_id of the user; off by"
                " default, since a user whom train lacks is then an unknown value"
            ),
        )
        add("--overwrite", action="store_true", help="replace the prepared dataset in --out")

    def parse_args(self, args=None, namespace=None):
        argv = sys.argv[1:] if args is None else list(args)
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--config")
        first.add_argument("--source")
        known = first.parse_known_args(argv)[0]
        recipe = read_yaml(known.config) if known.config else {}
        source = known.source or recipe.get("source")
        if str(source) in SOURCES:
            module = SOURCES[source]
            module.add_arguments(
                self.add_argument_group(f"source {source}", module.__doc__.split("\n")[0])
            )
        elif not known.source and recipe:
            raise InputError(
                f"{known.config}: source is {source!r}; it must be one of"
                f" {', '.join(sorted(SOURCES))}"
            )
        elif not source and not {"-h", "--help"} & set(argv):  # its flags would be called unknown
            raise InputError(
                f"name a --source ({', '.join(sorted(SOURCES))}) or a --config with one; event_log"
                " reads your own files"
            )
        self.recipe = known.config
        as_flags = self._flags(recipe)
        super().parse_args(as_flags)
        self.recipe = ""
        return super().parse_args([*as_flags, *argv])

    def error(self, message):
        if self.recipe:
            raise InputError(f"{self.recipe}: {message}")
        super().error(message)

    def _flags(self, recipe):
        """A recipe as command line arguments."""
        argv, actions = [], {a.dest: a for a in self._actions if a.dest not in ("help", "config")}
        for key, value in recipe.items():
            if key not in actions:
                self.error(f"unknown key {key}{nearest(str(key), list(actions))}")
            flag = "--" + key.replace("_", "-")
            if actions[key].nargs == 0 and not isinstance(value, (bool, type(None))):
                self.error(f"{key} is {value!r}, must be true or false")
            elif isinstance(value, dict):
                self.error(f"{key} is a section, must be a value or a list of values")
            elif isinstance(value, list):
                argv += [flag, *map(str, value)] if value else []
            elif value is True:
                argv.append(flag)
            elif value is not False and value is not None:
                argv.append(f"{flag}={value}")
        return argv


def prepare(argv):
    """Carry out the preparation that a command line asks for; returns the schema and the
    directory."""
    return _prepare(Parser().parse_args(argv))


def check_same(directory, recipe):
    """Raise InputError where the dataset in `directory` was prepared with other options than the
    recipe's."""
    args, schema = Parser().parse_args(["--config", recipe]), Schema.load(directory)
    wanted = {
        "source": args.source,
        "seed": args.seed,
        "protocol": _protocol(args),
        **_in_force(args),
    }
    found = {
        "source": schema.source,
        "seed": schema.seed,
        "protocol": schema.protocol,
        **schema.recipe,
    }
    for key in {**wanted, **found}:
        if wanted.get(key) != found.get(key):
            raise InputError(
                f"{directory} was prepared with {key} {_shown(found.get(key))}, but {recipe} says"
                f" {_shown(wanted.get(key))}; remove the directory, or give the recipe another name"
            )


def _shown(value):
    """An option as a recipe has it."""
    return (
        "absent" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _protocol(args):
    return args.protocol or ("given" if args.source == "paddlerec_text" else "every_prefix")


def _prepare(args):
    protocol = _protocol(args)
    if (protocol == "given") != (args.source == "paddlerec_text"):
        raise InputError(
            f"protocol {protocol} does not fit source {args.source}: paddlerec_text holds samples"
            " already (protocol given), all others hold events"
        )
    for flag, value, least in (("--seed", args.seed, 0), ("--min-count", args.min_count, 1)):
        if value < least:
            raise InputError(f"{flag} is {value}, must be at least {least}")
    if args.user_id and protocol == "given":
        raise InputError("--user-id: the lines of paddlerec_text name no users")
    if args.user_id and protocol in NEW_USERS:
        raise InputError(
            f"--user-id: under {protocol} no user of valid or test is in train, so that the id says"
            " nothing there; leave it out, or choose another protocol"
        )
    name = args.name or os.path.basename(os.path.normpath(args.out or args.source))
    out = args.out or os.path.join("data", name)
    check_free(out, args.overwrite)  # before any work is done
    say(f"reading {args.source}")
    log = SOURCES[args.source].load(args)
    if (
        protocol in ("every_prefix", "last_event")
        and "label" in log.events
        and (unclicked := int((log.events.label == 0).sum()))
    ):
        say(
            f"{unclicked:,} events with label 0 are left out under {protocol}; --protocol"
            " impressions learns from them"
        )
    schema = build(
        log,
        out,
        protocol=protocol,
        name=name,
        source=args.source,
        seed=args.seed,
        paper_split=args.paper_split,
        min_count=args.min_count,
        user_id=bool(args.user_id),
        recipe=_in_force(args),
        overwrite=args.overwrite,
    )
    return schema, out


def _in_force(args):
    """The options that shape the data, for schema.yaml: without paths, which differ from machine to
    machine."""
    source = argparse.ArgumentParser(add_help=False)
    SOURCES[args.source].add_arguments(source)
    names = [
        "paper_split",
        "min_count",
        "user_id",
        *(a.dest for a in source._actions if a.metavar not in ("FILE", "DIR")),
    ]
    return {
        name: getattr(args, name) for name in names if getattr(args, name) not in (None, [], "")
    }


def work(args):
    schema, out = _prepare(args)
    for split, n in schema.rows.items():
        few = " (so few that its figures will say little)" if split != "train" and n < FEW else ""
        say(f"{split:5s} {n:>12,} samples{few}")
    if schema.best:
        say(f"best possible test AUC (true probabilities): {schema.best['test']['auc']:.4f}")
    say(
        f"{out}: {schema.counts['events']:,} events, {schema.counts['users']:,} users, "
        f"{schema.counts['items']:,} items, protocol {schema.protocol}"
        + (f". {schema.note}" if schema.note else "")
    )
    return {
        "data_dir": out,
        "rows": schema.rows,
        "protocol": schema.protocol,
        **schema.counts,
        **({"best": schema.best} if schema.best else {}),
    }
