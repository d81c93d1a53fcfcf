"""The work of tools/reproduce.py: run the cells of a table that have no result, and write the
table."""

import hashlib
import json
import os
import platform
import shlex
from importlib import metadata

from paddleinterest.core import child, json_text, settings
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.log import say
from paddleinterest.study import bars, results, table_text
from paddleinterest.study.table_text import Bars, Done, Result
from paddleinterest.study.tables import Cell, Table
from paddleinterest.study.uncertainty import Resampled


class Cells:
    """The results of cells, each in a file of the folder `out`/cells, for all tables that name the
    same command."""

    def __init__(self, out: str) -> None:
        self.folder = os.path.join(out, "cells")

    def path(self, cell: Cell) -> str:
        """The name of a cell's file: its model and run, and a hash of the whole command."""
        words = cell.command[1:]
        if cell.trains:
            config = cell.command[cell.command.index("-m") + 1]
            run = next(word for word in cell.command if word.startswith("runner.name="))
            words = [
                config.removesuffix("/config.yaml").removesuffix(".yaml"),
                run.partition("=")[2],
            ]
        name = "-".join(map(os.path.basename, words))
        digest = hashlib.sha256(shlex.join(cell.command).encode()).hexdigest()[:8]
        return os.path.join(self.folder, f"{name}-{digest}.json")

    def result(self, cell: Cell) -> Result | None:
        """The result of an earlier run of this very command, or None."""
        path = self.path(cell)
        if not os.path.isfile(path):
            return None
        try:
            with open(path, encoding="utf-8") as f:
                kept = json.load(f)
            return kept if kept["command"] == cell.command else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def run(self, cell: Cell) -> Result | None:
        """Train one cell in its own process; its progress goes to standard error.

        Returns:
            What the tool printed, or None if it failed.
        """
        tool, *arguments = cell.command[1:]
        if cell.trains:
            at = arguments.index("-m") + 1
            arguments[at] = os.path.join(settings.ROOT, arguments[at])
            arguments.append("runner.overwrite=true")
        status, result = child.run(tool, arguments)
        if result is None:
            say(f"failed with exit status {status}; the next call tries it again")
            return None
        result = {**result, "command": cell.command, "versions": versions()}
        os.makedirs(self.folder, exist_ok=True)
        with whole_file(self.path(cell)) as made, open(made, "w", encoding="utf-8") as f:
            f.write(json_text.dumps(result, indent=1))
        return result

    def bars_path(self, cell: Cell) -> str:
        return self.path(cell).removesuffix(".json") + ".bars.json"

    def draw_again(self, cell: Cell) -> Resampled | None:
        """Test the cell's trained run on other users and negatives, in its own process.

        Returns:
            Its figures, or None if that failed, or if its run has been removed.
        """
        path = self.bars_path(cell)
        if cell.trains:
            (directory,) = results.of_table([cell])
            if not os.path.isfile(os.path.join(directory, "checkpoints", "best.npz")):
                return None
            at = cell.command.index("-m") + 1
            config = os.path.join(settings.ROOT, cell.command[at])
            predictions = os.path.join(directory, "predictions.parquet")
            flags = ["--error-bars", path, "--out", predictions]
            overrides = cell.command[at + 1 :]
            tool, arguments = "tools/infer.py", ["-m", config, *overrides, *flags]
        else:
            tool = cell.command[1]
            arguments = [*cell.command[2:], "--error-bars", path]
        status, _ = child.run(tool, arguments)
        if status:
            say(f"no error bars: {tool} failed with exit status {status}")
        return bars.load(path)


def dry_run(table: Table, chosen: list[Cell], out: str) -> dict:
    """Print the commands, and which are done. Returns what the tool prints."""
    cells = Cells(out)
    done = 0
    for cell in chosen:
        is_done = cells.result(cell) is not None
        say(f"{'done' if is_done else 'to do':6s} {shlex.join(cell.command)}")
        done += is_done
    return {"table": table.name, "cells": len(chosen), "done": done}


def reproduce(
    table: Table, chosen: list[Cell], out: str, run_missing: bool, readmes: list[str]
) -> dict:
    """Run the cells that have no result, and write the table.

    Args:
        table: the table.
        chosen: its cells, or some of them.
        out: the folder of results and tables.
        run_missing: False: write the table of what is done.
        readmes: files to paste the table into.

    Returns:
        What the tool prints.
    """
    cells = Cells(out)
    done: Done = {}
    resampled: Bars = {}
    failed = 0
    for number, cell in enumerate(chosen, 1):
        result = cells.result(cell)
        if result is None and run_missing:
            say(f"{number} of {len(chosen)}: {shlex.join(cell.command)}")
            result = cells.run(cell)
            failed += result is None
        if result:
            done[cell.key] = result
            redrawn = bars.load(cells.bars_path(cell))
            if redrawn is None and run_missing:
                say(f"{number} of {len(chosen)}: error bars")
                redrawn = cells.draw_again(cell)
            if redrawn:
                resampled[cell.key] = redrawn
    text = table_text.as_markdown(table, done, resampled)
    files = {"markdown": text, "csv": table_text.as_csv(table, done)}
    made = {}
    for kind, ending in (("markdown", "md"), ("csv", "csv")):
        made[kind] = os.path.join(out, table.name, f"table.{ending}")
        with (
            whole_file(made[kind]) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as f,
        ):
            f.write(files[kind])
    for path in readmes:
        table_text.paste(path, table.name, text)
    say(text)
    return {
        "table": table.name,
        "cells": len(chosen),
        "done": len(done),
        "failed": failed,
        **made,
        "pasted": readmes,
    }


def versions() -> list[str]:
    """The versions that a figure was computed with."""
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    packages = [name for name in ("paddlepaddle", "paddlepaddle-gpu", "numpy") if _installed(name)]
    return [
        *(f"{name} {metadata.version(name)}" for name in packages),
        f"Python {platform.python_version()}",
        f"{threads} thread{'' if threads == '1' else 's'}",
    ]


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
        return True
    except metadata.PackageNotFoundError:
        return False
