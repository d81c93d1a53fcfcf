r"""Turn a raw log into a prepared dataset.

    python tools/prepare.py --config datasets/beauty.yaml
    python tools/prepare.py --source event_log --events events.csv --items items.csv \
        --protocol every_prefix --out data/mine

`python tools/prepare.py --source NAME --help` lists the flags of one source.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from paddleinterest.core import cli
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.settings import from_root, read_yaml, recipe_path
from paddleinterest.data.options import declared
from paddleinterest.data.prepare import Options, Recipe, known_sources, make_recipe, prepare
from paddleinterest.data.sources import SOURCES

FEW = 200  # samples
ASKS = {"-h", "--help", "--version"}  # flags that need no source


class Parser:
    """The flags that all sources share, then those of the source that --source or the recipe in
    --config names. A recipe's keys are the names of flags. Flags win over the recipe."""

    def parse_args(self, args: Sequence[str] | None = None) -> Recipe:
        """The recipe that a command line asks for.

        Raises:
            InputError: the recipe is wrong, or neither flag names a source.
            SystemExit: a wrong flag (status 2), or --help (status 0).
        """
        argv = sys.argv[1:] if args is None else list(args)
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--config")
        first.add_argument("--source")
        known = first.parse_known_args(argv)[0]
        values = {}
        if known.config:
            known.config = from_root(recipe_path(known.config))
            values = read_yaml(known.config, "numbers")
        source = known.source or values.get("source")
        if str(source) not in SOURCES and not known.source:
            if values:
                make_recipe(values, known.config)  # its error names the sources
            if not ASKS & set(argv):  # otherwise the source's flags would be unknown
                raise InputError(_without_source(argv))
        if values:
            make_recipe({**values, "source": source}, known.config)
        given = vars(parser(str(source)).parse_args(argv))
        given.pop("config", None)
        return make_recipe({**values, **given}, known.config or "the command line")


def _without_source(argv: list[str]) -> str:
    """The message if no source is named; a recipe without its flag is a common slip."""
    recipes = [word for word in argv if word.endswith((".yaml", ".yml"))]
    if recipes:
        return f"{recipes[0]}: a recipe is named by its flag; write --config {recipes[0]}"
    return (
        "what to prepare is missing; name a recipe, such as --config datasets/beauty.yaml, or a"
        f" --source ({known_sources()}); event_log reads your own files"
    )


def parser(source: str) -> argparse.ArgumentParser:
    """The parser of the common flags and those of `source`, if it is one."""
    made = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    made.add_argument(
        "--config",
        metavar="FILE",
        help="a recipe such as datasets/beauty.yaml; flags win over it",
    )
    add_flags(made, Options)
    if source not in SOURCES:  # MovieLens has a --version of its own
        cli.add_version(made)
    else:
        module = SOURCES[source]
        title = (module.__doc__ or "").split("\n")[0]
        add_flags(made.add_argument_group(f"source {source}", title), module.Options)
    return made


def add_flags(group: Any, options: type) -> None:
    """Add a flag for each option of a dataclass to an argparse parser or group."""
    for each in declared(options):
        if each.kind is bool:
            group.add_argument(each.flag, action="store_true", help=each.meaning)
            continue
        group.add_argument(
            each.flag,
            type=each.kind,
            nargs="+" if each.many else None,
            choices=each.choices or None,
            metavar=each.metavar,
            help=each.meaning,
        )


def work(recipe: Recipe) -> dict[str, Any]:
    """Prepare and report; returns the last line of standard output."""
    schema, out = prepare(recipe)
    for split, n in schema.rows.items():
        few = " (too few for reliable figures)" if split != "train" and n < FEW else ""
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


def main() -> None:
    cli.run(Parser(), work)
