r"""Ours against FuxiCTR, DeepCTR-Torch and torch-rechub on the same samples: speed, accuracy,
memory.

    python benchmarks/peers/compare.py --data data/beauty --out output/benchmarks/peers
    python benchmarks/peers/compare.py --data data/beauty --models din --item-vocab 1000000 \
        --emb 64 --out output/table

Installs the peers, pinned, into an environment of their own, writes the samples that they read, and
runs all sides in turn, each as a process: ours, fuxictr, deepctr, rechub, ours … Writes
results.json and results.md. With --steps (50 if --item-vocab is given) training steps are timed and
nothing else. A run whose record is there is not repeated, so that an interrupted comparison
resumes. Run it on a machine that has nothing else to do.
"""

import argparse
import itertools
import json
import os
import platform
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from benchmarks import arguments
from benchmarks.peers import installation, report, runs, samples
from paddleinterest.core import cli
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import Schema

LEAST = {
    "repeats": 1,
    "epochs": 1,
    "patience": 0,
    "steps": 0,
    "batch_size": 1,
    "emb": 1,
    "item_vocab": 0,
    "history_cap": 1,
    "threads": 0,
    "seed": 0,
}


def work(args: argparse.Namespace) -> dict:
    settings = settings_of(args)
    python = installation.ensure(os.path.abspath(args.venv))
    out = os.path.abspath(args.out)
    os.makedirs(os.path.join(out, "runs"), exist_ok=True)
    settings["content_sha256"] = prepare_samples(settings, os.path.join(out, "samples"))
    plan = []
    for model, repeat in itertools.product(args.models, range(args.repeats)):
        plan += [(model, repeat, side) for side in runs.sides(model, args.peers)]
    records: list[report.Record] = []
    for number, (model, repeat, side) in enumerate(plan, 1):
        say(f"{number} of {len(plan)}: {side} {model}, repeat {repeat + 1}")
        records.append(one(model, repeat, side, settings, python, out))
        write(records, settings, python, args.repeats, out)
    results = write(records, settings, python, args.repeats, out)
    return {
        "out": os.path.join(args.out, "results.md"),
        "runs": len(records),
        "failed": sum("failed" in r for r in records),
        "ours_times_as_fast": times_as_fast(results["summary"]),
    }


def times_as_fast(summary: list[report.Record]) -> dict[str, float | None]:
    """{model: how many times as fast ours is as FuxiCTR, median}."""
    found = {}
    for row in summary:
        if row["side"] == "fuxictr":
            ratio = row["ours_times_as_fast"]
            found[row["model"]] = round(ratio["median"], 2) if ratio else None
    return found


def settings_of(args: argparse.Namespace) -> runs.Settings:
    """The facts that must be equal for two runs to be compared."""
    for name, least in LEAST.items():
        if getattr(args, name) < least:
            raise InputError(
                f"--{name.replace('_', '-')} is {getattr(args, name)}, must be at least {least}"
            )
    steps = args.steps or (50 if args.item_vocab else 0)
    schema = Schema.load(args.data)
    samples.check(schema)
    threads = args.threads or len(os.sched_getaffinity(0))
    return {
        "data": os.path.abspath(args.data),
        "name": schema.name,
        "epochs": args.epochs,
        "patience": args.patience,
        "steps": steps,
        "batch_size": args.batch_size,
        "emb": args.emb,
        "item_vocab": args.item_vocab,
        "history_cap": args.history_cap,
        "threads": threads,
        "seed": args.seed,
    }


def prepare_samples(settings: runs.Settings, folder: str) -> str:
    """Write the peers' samples if they are not there yet; returns the hash of their contents."""
    if not os.path.isdir(folder):
        say(f"writing the peers' samples to {folder}")
        return samples.convert(settings["data"], folder, settings["history_cap"])["content_sha256"]
    with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as f:
        manifest = json.load(f)
    if manifest["name"] != settings["name"] or manifest["history_cap"] != settings["history_cap"]:
        raise InputError(
            f"{folder} holds samples of {manifest['name']} with histories of"
            f" {manifest['history_cap']}; name another --out"
        )
    return manifest["content_sha256"]


def one(
    model: str, repeat: int, side: str, settings: runs.Settings, python: str, out: str
) -> report.Record:
    """The record of one run, made now or earlier."""
    path = os.path.join(out, "runs", f"{model}-{side}-{repeat + 1}")
    record = runs.load(path + ".json", settings)
    if record is None or "failed" in record:
        command = runs.command(
            side, model, repeat, settings, python, os.path.join(out, "samples"), path
        )
        record = {
            "model": model,
            "side": side,
            "repeat": repeat,
            "settings": settings,
            "command": command,
            "versions": installation.versions_of_ours(),
            "result": runs.run(command, settings["threads"], path),
        }
        with whole_file(path + ".json") as made, open(made, "w", encoding="utf-8") as f:
            json.dump(record, f, indent=1)
    else:
        say("    made earlier")
    result = {
        **record["result"],
        "model": model,
        "side": side,
        "repeat": repeat,
        "ours": record["versions"],
    }
    log = f"; log {path}.log" if "failed" in result else ""
    say(f"    {said(result, settings['steps'])}{log}")
    return result


def said(r: report.Record, steps: int) -> str:
    """A run's figures in one line."""
    if "failed" in r:
        return f"failed: {r['failed']}"
    memory = f"{r['peak_rss_mb']:,.0f} MB" if r["peak_rss_mb"] else "memory unknown"
    if steps:
        return f"{r['ms_a_step']:.1f} ms per step  {memory}"
    return (
        f"test auc {r['test']['auc']:.4f}  {r['samples_per_second']:,.0f} samples/s  {memory} "
        f" {r['seconds']:.0f} s"
    )


def write(
    records: list[report.Record], settings: runs.Settings, python: str, repeats: int, out: str
) -> dict[str, Any]:
    """Write results.json and results.md of the runs so far; returns the former's contents."""
    settings = {**settings, "repeats": repeats}
    theirs = installation.installed(python)
    versions = {}
    for name in records[0]["ours"]:
        versions[name] = ", ".join(sorted({r["ours"][name] for r in records}))
    versions.update({name: theirs[name] for name in installation.PINS})
    results = {
        "settings": settings,
        "machine": machine(),
        "versions": versions,
        "runs": records,
        "summary": report.summarize(records, settings["steps"]),
    }
    with (
        whole_file(os.path.join(out, "results.json")) as made,
        open(made, "w", encoding="utf-8") as f,
    ):
        json.dump(results, f, indent=1)
    with (
        whole_file(os.path.join(out, "results.md")) as made,
        open(made, "w", encoding="utf-8") as f,
    ):
        f.write(report.markdown(results))
    return results


def machine() -> str:
    """Processor and operating system, in words."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            named = [line.partition(":")[2] for line in f if line.startswith("model name")]
        name = named[0].strip() if named else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument(
        "--data",
        required=True,
        help="a prepared dataset with item fields alone, such as data/beauty",
    )
    p.add_argument(
        "--out", required=True, help="directory for samples, logs, results.json and results.md"
    )
    p.add_argument(
        "--models", nargs="+", choices=["din", "dien", "bst"], default=["din", "dien", "bst"]
    )
    p.add_argument("--peers", nargs="+", choices=list(runs.PEERS), default=list(runs.PEERS))
    p.add_argument(
        "--repeats", type=int, default=3, help="runs of each side, with seeds one apart; default 3"
    )
    p.add_argument("--epochs", type=int, default=5, help="at most so many; default 5")
    p.add_argument(
        "--patience",
        type=int,
        default=2,
        help="end after so many without a better valid AUC; default 2",
    )
    p.add_argument(
        "--steps", type=int, default=0, help="time so many training steps and nothing else"
    )
    p.add_argument(
        "--item-vocab",
        type=int,
        default=0,
        help="rows of the item table; times steps; default as in data",
    )
    p.add_argument(
        "--emb", type=int, default=32, help="width of each field's embedding; default 32"
    )
    p.add_argument("--batch-size", type=int, default=1024, help="rows per step; default 1024")
    p.add_argument(
        "--history-cap", type=int, default=50, help="newest events of a history; default 50"
    )
    p.add_argument(
        "--threads", type=int, default=0, help="CPU threads of every side; default all cores"
    )
    p.add_argument("--seed", type=int, default=2026, help="of the first repeat; default 2026")
    p.add_argument(
        "--venv",
        default=installation.default_folder(),
        help="the peers' environment, made if it is not there; default %(default)s",
    )
    cli.run(p, work)
