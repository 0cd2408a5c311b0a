#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions per record of the hot paths, counted by callgrind and held against the committed figures.

    tests/hotpath.py [--program build/tests/hotpath/headrace-hotpath] [--show] [--write]

tests/hotpath/hotpath.c says what is run. Counted is the code of the program itself, on the thread that
serves. libc's own code depends on the machine, so does the hash of the body, for which valgrind has no
instructions, and a put is committed by the serving thread or another, as luck has it: they are left out.
A count says nothing under another compiler, nor without AVX2, whose kernels are chosen at run time: then
the comparison is skipped, and says so. --write sets new figures after a change that is meant; --show
prints what the functions cost.
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
FIGURES = os.path.join(ROOT, "tests", "hotpath", "figures.txt")
KINDS = {"put-records": (10, 500), "put-record": (500, 1), "put-records-cbor": (10, 500),
         "get-records": (10, 500)}  # requests, records of each
ALLOCATIONS_MORE_MAX = 2  # of a request, for chance
WORSE_MAX, BETTER_MAX = 1.05, 0.90  # a gain that is not committed hides the loss that comes after it
SECONDS_MAX = 600
SHOWN = 40
# The hash, for which valgrind lacks the instructions; what the log does on whichever thread is free.
LEFT_OUT = re.compile(r"/codec/sha256|/src/os/|/src/store/(?!log/log\.c)")
NAME = re.compile(r"(\w+)=\((\d+)\)(?: (.*))?")


def compiler():
    """What made the program, as it says itself."""
    return subprocess.run(["readelf", "-p", ".comment", options.program], check=True, capture_output=True,
                          text=True).stdout.split("]", 1)[1].strip().splitlines()[0]


def has_avx2():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return " avx2" in file.read()


def count(kind, requests):
    """A profile of the measured requests: {function: instructions}, and how often malloc was called: callgrind
    counts calls outside of what is measured, too."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind.out")
        run = subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no", "--dump-line=no",
                              "--toggle-collect=measured_requests", f"--callgrind-out-file={out}",
                              options.program, kind, str(requests)], capture_output=True, text=True,
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
            if ours and not after_call and not LEFT_OUT.search(here["fl"]):
                functions[here["fn"].split("'")[0]] += int(line.split()[1])
            after_call = False
    return functions, allocations


def committed():
    """{"compiler": ..., KIND: (instructions of a record, allocations of a request)}"""
    figures = {}
    with open(FIGURES, encoding="utf-8") as file:
        for line in file:
            name, _, value = line.strip().partition(": ")
            if name == "compiler":
                figures[name] = value
            elif name in KINDS:
                figures[name] = tuple(map(float, value.split(", ")))
    return figures


def write(counted):
    with open(FIGURES, "w", encoding="utf-8") as file:
        file.write("# What tests/hotpath.py counts, which writes this: instructions of a record, allocations of a "
                   f"request.\ncompiler: {compiler()}\n")
        for kind, (instructions, allocations) in counted.items():
            file.write(f"{kind}: {instructions:.1f}, {allocations:.1f}\n")


def why_not():
    """Why the figures say nothing here; None: they do."""
    if shutil.which("valgrind") is None:
        return "there is no valgrind"
    if not has_avx2():
        return "the processor has no AVX2"
    if not options.write and compiler() != committed()["compiler"]:
        return f"the figures are of {committed()['compiler']}, the program of {compiler()}"
    return None


def measure(kind):
    requests, records = KINDS[kind]
    functions, allocations = count(kind, requests)
    per_request = (count(kind, 2 * requests)[1] - allocations) / requests  # without those of the start
    per_record = sum(functions.values()) / (requests * records)
    print(f"# {kind}: {per_record:.1f} instructions of a record, {per_request:.1f} allocations of a request")
    if options.show:
        for name, instructions in functions.most_common(SHOWN):
            print(f"# {instructions / (requests * records):9.1f}  {name}")
    return per_record, per_request


def compare(kind, counted):
    instructions, allocations = counted
    instructions_before, allocations_before = committed()[kind]
    assert instructions <= instructions_before * WORSE_MAX, (
        f"{instructions:.1f} instructions of a record, {instructions_before} are committed")
    assert allocations <= allocations_before + ALLOCATIONS_MORE_MAX, (
        f"{allocations:.1f} allocations of a request, {allocations_before} are committed")
    assert instructions >= instructions_before * BETTER_MAX, (
        f"{instructions:.1f} instructions of a record, {instructions_before} are committed: well done; "
        "commit the new figure (tests/hotpath.py --write)")


def main():
    report, reason = tap.Tap(), why_not()
    counted = {kind: measure(kind) for kind in KINDS} if reason is None else {}
    if options.write and counted:
        write(counted)
    for kind in KINDS:
        name = f"{kind} costs no more than was committed"
        if reason is None:
            report.run(name, lambda k=kind: compare(k, counted[k]))
        else:
            report.skipped(name, reason)
    return report.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "tests", "hotpath", "headrace-hotpath"))
    parser.add_argument("--show", action="store_true", help="the dearest functions too")
    parser.add_argument("--write", action="store_true", help="the new figures, after a change that is meant")
    options = parser.parse_args()
    sys.exit(main())
