r"""Time, processor time and memory of a preparation.

    python benchmarks/prepare.py --out /data/prepared --curve curve.csv -- \
        --source event_log --events /data/big/events.parquet --items /data/big/items.parquet \
        --engine duckdb --memory 4GB

What follows `--` are flags of tools/prepare.py. The curve has a line a second: seconds since the
start, the process's own memory and the files that it has mapped, in MB, and the disk that its
folders take, in MB.
"""

import argparse
import glob
import os
import resource
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from benchmarks import arguments, memory
from paddleinterest.core import cli
from paddleinterest.core.errors import InputError


def on_disk(out: str) -> int:
    """MB of `out` and of the unfinished folders next to it."""
    total = 0
    for top in [out, *glob.glob(f"{glob.escape(out)}.part-*")]:
        for folder, _, names in os.walk(top):
            for name in names:
                try:
                    total += os.stat(os.path.join(folder, name)).st_size
                except OSError:  # removed meanwhile
                    continue
    return total >> 20


def work(args: argparse.Namespace) -> dict:
    command = [sys.executable, os.path.join(ROOT, "tools", "prepare.py"), *args.flags]
    command = [*command, "--out", args.out]
    started = time.perf_counter()
    lines = ["seconds,own,mapped,disk"]
    own = peak = disk = 0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            held = memory.held(process.pid)
            if held is not None:
                files = on_disk(args.out)
                own = max(own, held.anonymous)
                peak = max(peak, held.peak)
                disk = max(disk, files)
                seconds = time.perf_counter() - started
                lines.append(f"{seconds:.1f},{held.anonymous},{held.mapped},{files}")
            time.sleep(args.every)
    if process.returncode:
        raise InputError(f"the preparation failed with status {process.returncode}")
    if args.curve:
        with open(args.curve, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "out": args.out,
        "wall_seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "own_peak_mb": own,
        "peak_mb": peak,
        "disk_peak_mb": disk,
        "prepared_mb": on_disk(args.out),
    }


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument("--out", required=True, help="folder to prepare")
    p.add_argument("--curve", default="", help="file for the curve of memory; default none")
    p.add_argument("--every", type=float, default=1.0, help="seconds between two looks; default 1")
    p.add_argument("flags", nargs="+", help="flags of tools/prepare.py, after --")
    cli.run(p, work)
