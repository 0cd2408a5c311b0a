#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the suites and counts. Every suite is a program that speaks TAP: one line per test.

    tests/run.py                       every suite, in the order below
    tests/run.py wire crash            these
    tests/run.py --list                their names
    tests/run.py --build-thread-tests BUILD   builds what the suites of threads run, nothing else

Prints one line per test as it ends and `N passed, N failed` last. The whole output of a suite that
failed is shown after its line and kept in build/test-logs. Skipped tests are shown and counted as
neither.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join(ROOT, "build", "test-logs")
THREADED_ROOMS = ("os", "http", "store", "aws", "hub", "server", "kinesis", "kms", "iam", "cloudwatch", "glue", "firehose", "secretsmanager", "delivery")
TAP_LINE = re.compile(r"^(not ok|ok)\b\s*\d*\s*(?:-\s*)?(.*?)(?:\s*#\s*(SKIP|skip)\b\s*(.*))?$")
TAIL_LINES = 60
# What a sanitizer or a check of ours says when it ends a program, and how many lines of it the end of the run repeats.
BROKEN_LINE = re.compile(r"(ERROR|WARNING): \w+Sanitizer|Sanitizer has encountered|: runtime error: |: check failed: ")
BROKEN_LINES, NOTE_LINES = 16, 12
NOTE_OF_UNIT = re.compile(r"# \S+\.c:\d+: ")  # a unit test says why before its verdict, a script after it
TIMED_OUT = 124  # the status of timeout(1)
AT_ONCE = 2      # suites that run beside each other; several of them mostly wait


PATIENCE = 3  # times what a suite or Meson says: the machine may be shared, and sanitizers are slow


class Suite:
    """A program with its name, what it needs in its environment, and how long it may take."""

    def __init__(self, name, command, seconds_max, environment=None, folder=None):
        self.name, self.command, self.seconds_max = name, command, seconds_max * PATIENCE
        self.environment, self.folder = environment or {}, folder or ROOT


class Total:
    """Counts from several threads, one line for each test."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.lock = threading.RLock()
        self.failures = []  # (suite: test, [lines that tell why])

    def count(self, suite, verdict, name, reason=None):
        """Returns the list that takes the lines which tell why, when it is a failure."""
        with self.lock:
            return self.count_locked(suite, verdict, name, reason)

    def count_locked(self, suite, verdict, name, reason):
        if reason is not None:
            self.skipped += 1
            print(f"skipped - {suite}: {name} ({reason})", flush=True)
        elif verdict == "ok":
            self.passed += 1
            print(f"ok - {suite}: {name}", flush=True)
        else:
            self.failed += 1
            print(f"not ok - {suite}: {name}", flush=True)
            self.failures.append((f"{suite}: {name}", []))
            return self.failures[-1][1]
        return None

    def show_failures(self):
        """Once more at the end, in short: a log of thousands of lines is not searched for them."""
        for title, why in self.failures:
            print(f"failed: {title}")
            print("".join(f"    {line}" for line in why), end="")


def meson_tests(build):
    """What Meson would run in a build directory: [(name, command, environment, folder, timeout)]."""
    listing = subprocess.run(["meson", "introspect", "--tests", build], cwd=ROOT, check=True,
                             capture_output=True, text=True).stdout
    return [(t["name"], t["cmd"], t["env"], t["workdir"], t["timeout"]) for t in json.loads(listing)]


def is_threaded(name, command):
    """A unit test of a threaded room: a program of ours, not a script that drives one."""
    return name.removeprefix("svc_").split("_")[0] in THREADED_ROOMS and is_unit(name, command) and is_ours(command)


def is_ours(command):
    return os.path.abspath(command[0]).startswith(ROOT + os.sep)


def is_unit(name, _):
    return not name.endswith("_corpus")


def build_thread_tests(build):
    programs = [os.path.relpath(command[0], os.path.join(ROOT, build))
                for name, command, *_ in meson_tests(build) if is_threaded(name, command)]
    if not programs:
        return 0
    return subprocess.run(["ninja", "-C", build, *programs, "headrace"], cwd=ROOT).returncode


def unit_suites(build, prefix, wanted, options):
    suites = []
    for name, command, environment, folder, timeout in meson_tests(build):
        if wanted(name, command):
            if os.path.basename(command[0]).startswith("python3"):
                command = [sys.executable, *command[1:]]  # the one that has the clients
            suites.append(Suite(f"{prefix} {name}", command, timeout, {**environment, **options},
                                folder or os.path.join(ROOT, build)))
    return suites


def server_suite(name, script, seconds_max, *arguments, build="build-asan"):
    program = os.path.join(ROOT, build, "headrace")
    return [Suite(name, [sys.executable, os.path.join(ROOT, "tests", script), "--program", program,
                         *arguments], seconds_max, SANITIZER_OPTIONS)]


SEED = "20260101"  # the same each time, as of the suites that have one of their own: other ones are drawn by hand
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:abort_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:second_deadlock_stack=1",
}
# Half of its time would go into fresh memory otherwise.
SIM_OPTIONS = {**SANITIZER_OPTIONS,
               "ASAN_OPTIONS": SANITIZER_OPTIONS["ASAN_OPTIONS"] + ":quarantine_size_mb=8"}

SUITES = {
    "tools": lambda: [Suite("tools", [sys.executable, os.path.join(ROOT, "tests/tools_test.py")], 120)],
    "unit": lambda: unit_suites("build-asan", "unit", is_unit, SANITIZER_OPTIONS),
    "corpus": lambda: unit_suites("build-asan", "unit", lambda *test: not is_unit(*test), SANITIZER_OPTIONS),
    "sim": lambda: [Suite("sim", [os.path.join(ROOT, "build-asan/src/store/sim/headrace-sim"), "--test",
                                  os.path.join(ROOT, "src/store/sim/sim_seeds.txt"), "--seeds", "1000"], 1200, SIM_OPTIONS)],
    "hotpath": lambda: [Suite("hotpath", [sys.executable, os.path.join(ROOT, "tests/hotpath.py")], 600)],
    "neon": lambda: [Suite("neon", [sys.executable, os.path.join(ROOT, "tests/neon.py")], 1200)],
    "avx512": lambda: [Suite("avx512", [sys.executable, os.path.join(ROOT, "tests/avx512.py")], 1200)],
    "thread": lambda: unit_suites("build-tsan", "thread", is_threaded, SANITIZER_OPTIONS),
    "cli": lambda: server_suite("cli", "cli/cli_test.py", 600),
    "wire": lambda: server_suite("wire", "wire.py", 600),
    "admin": lambda: server_suite("admin", "admin.py", 300),
    "admin-thread": lambda: server_suite("admin-thread", "admin.py", 600, "--seconds", "20", build="build-tsan"),
    "boto3": lambda: server_suite("boto3", "clients/boto3_test.py", 300),
    "boto3-queues": lambda: server_suite("boto3-queues", "clients/boto3_queues_test.py", 300),
    "boto3-channels": lambda: server_suite("boto3-channels", "clients/boto3_channels_test.py", 300),
    "boto3-s3": lambda: server_suite("boto3-s3", "clients/s3_test.py", 600),
    "boto3-s3-remote": lambda: server_suite("boto3-s3-remote", "clients/s3_remote_test.py", 600),
    "boto3-s3-events": lambda: server_suite("boto3-s3-events", "clients/s3_events_test.py", 300),
    "access": lambda: server_suite("access", "clients/access_test.py", 600),
    "awscli": lambda: server_suite("awscli", "clients/awscli_test.py", 600),
    "cloudwatch": lambda: server_suite("cloudwatch", "clients/cloudwatch_test.py", 300),
    "boto3-firehose": lambda: server_suite("boto3-firehose", "clients/firehose_test.py", 600),
    "glue": lambda: server_suite("glue", "clients/glue_test.py", 300),
    "secretsmanager": lambda: server_suite("secretsmanager", "clients/secretsmanager_test.py", 300),
    "firehose-process": lambda: server_suite("firehose-process", "clients/firehose_process_test.py", 300),
    "s3-tools": lambda: server_suite("s3-tools", "clients/s3_tools_test.py", 900),
    "columnar": lambda: [Suite("columnar", [sys.executable, os.path.join(ROOT, "tests/columnar/columnar_test.py")], 900,
                               SANITIZER_OPTIONS)],
    "javascript": lambda: server_suite("javascript", "clients/javascript_test.py", 300),
    "java": lambda: server_suite("java", "clients/java_test.py", 900),
    "terraform": lambda: server_suite("terraform", "clients/terraform_test.py", 600),
    "crash": lambda: server_suite("crash", "crash.py", 900, "--rounds", "50"),
    "crash-encrypted": lambda: server_suite("crash-encrypted", "crash_encrypted.py", 900, "--rounds", "30"),
    "reshard": lambda: server_suite("reshard", "reshard.py", 600),
    "queues": lambda: server_suite("queues", "queues.py", 600, "--rounds", "20", "--seed", SEED),
    "s3-crash": lambda: server_suite("s3-crash", "s3_crash.py", 600, "--rounds", "20"),
    "s3-races": lambda: server_suite("s3-races", "s3_races.py", 600),
    "races": lambda: server_suite("races", "races.py", 600, "--seed", SEED),
    "firehose-crash": lambda: server_suite("firehose-crash", "firehose_crash.py", 600, "--rounds", "12"),
    "firehose-sinks": lambda: server_suite("firehose-sinks", "firehose_sinks.py", 900),
    "model": lambda: server_suite("model", "model.py", 180, "--seconds", "30", "--seed", SEED),
    "storm": lambda: server_suite("storm", "storm.py", 300),
    "bad-input": lambda: server_suite("bad-input", "bad_input.py", 600),
    "fanout": lambda: server_suite("fanout", "fanout.py", 600),
    "clock": lambda: server_suite("clock", "clock.py", 300),
    "memory": lambda: server_suite("memory", "memory.py", 900),
    "disk": lambda: server_suite("disk", "disk.py", 600),
    "zones": lambda: server_suite("zones", "zones.py", 600),
    "images": lambda: server_suite("images", "images.py", 900),
    "lossy": lambda: server_suite("lossy", "lossy.py", 900),
    "scale": lambda: server_suite("scale", "scale.py", 1200),
    "format": lambda: server_suite("format", "format.py", 600),
    "backup": lambda: server_suite("backup", "backup.py", 600, "--seed", SEED),
    "install": lambda: server_suite("install", "install_test.py", 120),
}


class Run:
    """One suite while it runs: its TAP is counted as it comes."""

    def __init__(self, suite, total):
        self.suite, self.total = suite, total
        self.ran = self.failed = 0
        self.planned, self.lines, self.seconds = None, [], 0.0
        self.why, self.last_why, self.notes = None, None, []
        self.broken, self.broken_left = [], 0
        self.log = os.path.join(LOGS, suite.name.replace(" ", "-") + ".log")

    def count(self, verdict, name, reason=None):
        self.ran += 1
        self.failed += verdict != "ok"
        self.why = self.total.count(self.suite.name, verdict, name, reason)
        if self.why is not None:
            self.why += self.notes[-NOTE_LINES:]
            self.last_why = self.why
        self.notes = []

    def line(self, line):
        self.lines.append(line)
        if BROKEN_LINE.search(line) and not self.broken:
            self.broken_left = BROKEN_LINES
        if self.broken_left > 0:
            self.broken_left -= 1
            self.broken.append(line)
        if NOTE_OF_UNIT.match(line) or (line.startswith("#") and self.why is None):
            self.notes.append(line)
        elif line.startswith("#") and len(self.why) < NOTE_LINES:
            self.why.append(line)
        match = TAP_LINE.match(line.rstrip("\n"))
        if match:
            self.count(match[1], match[2], (match[4] or "no reason given") if match[3] else None)
        elif line.startswith("1.."):
            self.planned = int(line[3:].split()[0])

    def judge(self, status):
        """A suite that passed all it ran may still have run too little."""
        if status == TIMED_OUT:
            self.count("not ok", f"ends within {self.suite.seconds_max} seconds")
        elif status != 0 and self.failed == 0:
            self.count("not ok", f"ends well (it ended with status {status})")
        elif self.planned is None or self.planned != self.ran:
            self.count("not ok", f"runs what it planned ({self.ran} of {self.planned} tests)")
        if self.last_why is not None:
            self.last_why += self.broken

    def show_failure(self):
        with self.total.lock:
            print(f"---- the end of {os.path.relpath(self.log, ROOT)}:")
            telling = [line for line in self.lines if not line.startswith("ok ")]
            print("".join(f"    {line}" for line in telling[-TAIL_LINES:]), end="")
            print("----", flush=True)

    def run(self):
        start = time.monotonic()
        limited = ["timeout", "--kill-after=10", str(self.suite.seconds_max), *self.suite.command]
        process = subprocess.Popen(limited, cwd=self.suite.folder, text=True, errors="replace",
                                   env={**os.environ, **self.suite.environment},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with open(self.log, "w", encoding="utf-8") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()
                self.line(line)
        self.judge(process.wait())
        self.seconds = time.monotonic() - start
        if self.failed:
            self.show_failure()
        return self


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("suites", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--build-thread-tests", metavar="BUILD")
    options = parser.parse_args()
    if options.build_thread_tests:
        return build_thread_tests(options.build_thread_tests)
    if options.list:
        print("\n".join(SUITES))
        return 0
    unknown = [s for s in options.suites if s not in SUITES]
    if unknown:
        print(f"There is no suite {' '.join(unknown)}; there are {' '.join(SUITES)}", file=sys.stderr)
        return 2

    os.makedirs(LOGS, exist_ok=True)
    total = Total()
    suites = [suite for name in options.suites or SUITES for suite in SUITES[name]()]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = list(pool.map(lambda suite: Run(suite, total).run(), suites))
    slowest = sorted(runs, key=lambda run: -run.seconds)[:10]
    print("slowest suites: " + ", ".join(f"{run.suite.name} {run.seconds:.0f} s" for run in slowest))
    if total.skipped:
        print(f"{total.skipped} skipped: see the lines that begin with 'skipped'")
    if not options.suites:
        with open(os.path.join(ROOT, "build", "total-test"), "w", encoding="utf-8") as file:
            file.write(f"{total.passed} {total.failed}\n")
    total.show_failures()
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
