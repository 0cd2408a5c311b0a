#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions per record of the hot path, counted by callgrind and held against the committed figure.

    tests/hotpath.py [--program build/tests/hotpath/headrace-hotpath] [--show] [--write]

tests/hotpath/hotpath.c says what is run. Counted is the code of the program itself, on the thread that
serves: libc's own code depends on the machine and so does the hash of the body, for which valgrind has no
instructions, and what other threads do depends on their luck. A count says nothing under another compiler, nor without AVX2,
whose kernels are chosen at run time: then the comparison is skipped, and says so. --write commits a
new figure after a change that is meant; --show prints what the functions cost.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIGURE = os.path.join(ROOT, "tests", "hotpath", "figure.txt")
REQUESTS, RECORDS = 10, 500
WORSE_MAX, BETTER_MAX = 1.05, 0.90  # a gain that is not committed hides the loss that comes after it
SECONDS_MAX = 600
NAME = re.compile(r"(\w+)=\((\d+)\)(?: (.*))?")


def compiler():
    """What made the program, as it says itself."""
    return subprocess.run(["readelf", "-p", ".comment", options.program], check=True, capture_output=True,
                          text=True).stdout.split("]", 1)[1].strip().splitlines()[0]


def has_avx2():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return " avx2" in file.read()


def count():
    """A profile of the measured requests: {function: instructions}, and how often malloc was called."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind.out")
        run = subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no", "--dump-line=no",
                              "--toggle-collect=measured_requests", f"--callgrind-out-file={out}",
                              options.program, str(REQUESTS)], capture_output=True, text=True,
                             timeout=SECONDS_MAX)
        assert run.returncode == 0, run.stdout + run.stderr
        with open(out, encoding="utf-8", errors="replace") as file:
            return read_profile(file)


def read_profile(lines):
    names, here, functions, allocations = {}, {}, Counter(), 0
    after_call = False
    for line in lines:
        match = NAME.match(line)
        if match:
            what, number, name = match.groups()
            kind = "file" if what in ("fl", "fi", "fe", "cfi", "cfl") else what[-2:]
            names.setdefault((kind, number), name)
            here[what] = names[kind, number]
        elif line.startswith("calls="):
            after_call = True
            if here["cfn"] in ("malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"):
                allocations += int(line[6:].split()[0])
        elif line[:1].isdigit() or line[:1] in "+-*":
            ours = os.path.basename(here["ob"]) == os.path.basename(options.program)
            if ours and not after_call and not os.path.basename(here["fl"]).startswith("sha256"):
                functions[here["fn"].split("'")[0]] += int(line.split()[1])
            after_call = False
    return functions, allocations


def committed():
    with open(FIGURE, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if not line.startswith("#")]
    return dict(line.split(": ", 1) for line in lines)


def write(per_record, allocations):
    with open(FIGURE, "w", encoding="utf-8") as file:
        file.write("# The hot path, per record of PutRecords: see tests/hotpath.py, which writes this.\n"
                   f"compiler: {compiler()}\ninstructions: {per_record:.1f}\n"
                   f"allocations of a request: {allocations:.1f}\n")


def main():
    report = tap.Tap()
    why_not = None
    if shutil.which("valgrind") is None:
        why_not = "there is no valgrind"
    elif not has_avx2():
        why_not = "the processor has no AVX2"
    elif not options.write and compiler() != committed()["compiler"]:
        why_not = f"the figure is of {committed()['compiler']}, the program of {compiler()}"
    if why_not is not None:
        report.skipped("the hot path costs no more than was committed", why_not)
        return report.end()

    functions, allocations = count()
    per_record = sum(functions.values()) / (REQUESTS * RECORDS)
    allocations /= REQUESTS
    print(f"# {per_record:.1f} instructions per record, {allocations:.1f} allocations per request of {RECORDS}")
    if options.show:
        for name, instructions in functions.most_common(40):
            print(f"# {instructions / (REQUESTS * RECORDS):9.1f}  {name}")
    if options.write:
        write(per_record, allocations)

    def costs_no_more():
        before = float(committed()["instructions"])
        assert per_record <= before * WORSE_MAX, f"{per_record:.1f} instructions per record, {before} are committed"
        assert per_record >= before * BETTER_MAX, (
            f"{per_record:.1f} instructions per record, {before} are committed: well done; "
            "commit the new figure (tests/hotpath.py --write)")

    def allocates_no_more():
        before = float(committed()["allocations of a request"])
        assert allocations <= before + 2, f"{allocations:.1f} allocations per request, {before} are committed"

    report.run("the hot path costs no more than was committed", costs_no_more)
    report.run("the hot path allocates no more than was committed", allocates_no_more)
    return report.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "tests", "hotpath", "headrace-hotpath"))
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    sys.exit(main())
