#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: Headrace beside its peers, on the same disk, in the same minutes, in pairs.

    bench/run.py [B1 B3 ...] [--pairs 3] [--seconds 2] [--peers redis,postgres] [--out FILE] [--page FOLDER]

Without names every benchmark runs; `--list` says what they are. The defaults are short, so that all of
them end in about a quarter of an hour; figures worth quoting need `--pairs 7 --seconds 10` on a machine that
does nothing else. Results go to build/bench/results.json, where those of other benchmarks stay, and as a
page with plots to build/bench/page. bench/README.md has the rules.
"""
import argparse
import json
import os
import sys
import time

import fetch
import machine
import page
import peers
import suite
import suite_ingest  # noqa: F401: these register their benchmarks
import suite_read  # noqa: F401
import suite_push  # noqa: F401
import suite_life  # noqa: F401
import suite_slow  # noqa: F401
import suite_scale  # noqa: F401
import suite_object  # noqa: F401
import suite_columnar  # noqa: F401
import suite_delivery  # noqa: F401


FORM = 1  # of results.json


def processors(text):
    """{0, 1} of "0,1" or "0-1"."""
    chosen = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        chosen |= set(range(int(first), int(last or first) + 1))
    return chosen


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="B1", help="benchmarks; none: all")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--program", default=os.path.join(suite.ROOT, "build", "headrace"))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of one run")
    parser.add_argument("--peers", help=f"only these: {','.join(peers.PEERS)}")
    parser.add_argument("--quiet-seconds", type=float, default=5, help="how long to wait for a quiet machine, at most")
    parser.add_argument("--server-processors", type=processors, help="that servers run on, such as 0-3")
    parser.add_argument("--load-processors", type=processors, help="that clients run on")
    parser.add_argument("--out", default=os.path.join(fetch.BUILD, "results.json"))
    parser.add_argument("--page", default=os.path.join(fetch.BUILD, "page"), help="folder of the page and its plots")
    options = parser.parse_args()
    unknown = set(options.names) - set(suite.BENCHMARKS)
    if unknown:
        parser.error(f"there is no {' '.join(sorted(unknown))}; there are {' '.join(suite.BENCHMARKS)}")
    options.peers = list(filter(None, options.peers.split(","))) if options.peers is not None else None
    unknown = set(options.peers or ()) - set(peers.PEERS)
    if unknown:
        parser.error(f"there is no peer {' '.join(sorted(unknown))}; there are {' '.join(peers.PEERS)}")
    return options


def read_results(path):
    """What is there from earlier runs of other benchmarks, in the same form."""
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    except FileNotFoundError:
        results = {}
    return results if results.get("form") == FORM else {"form": FORM, "benchmarks": {}}


def write_results(path, results):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    os.replace(path + ".new", path)


def main():
    options = parse()
    if options.list:
        for name, (title, *_) in suite.BENCHMARKS.items():
            print(f"{name:12s} {title}")
        return 0
    suite.build_load()
    machine.describe()  # before there is anything else to do for it
    begin, short = time.monotonic(), 0
    for name in options.names or suite.BENCHMARKS:
        entry = suite.Bench(name, options).measure()
        short += not entry["ok"]
        results = read_results(options.out)
        results["machine"] = machine.describe()
        results["benchmarks"][name] = entry
        write_results(options.out, results)
        page.write(results, options.page)
    print(f"{time.monotonic() - begin:.0f} s; {short} short of a target; results in {os.path.relpath(options.out)}, "
          f"a page in {os.path.relpath(options.page)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
