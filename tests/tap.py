# SPDX-License-Identifier: Apache-2.0
"""The smallest test harness: @test registers a function, main() runs them and speaks TAP.

A test's name is the promise it tests. It fails by raising; skip("why") leaves it out visibly. Names,
or parts of them, given as arguments run only those tests.
"""
import os
import re
import subprocess
import sys
import time
import traceback

RESULT = re.compile(r"(ok|not ok) \d+ - (.*)")


class Skipped(Exception):
    pass


TESTS = []


def test(function):
    TESTS.append(function)
    return function


def skip(reason):
    raise Skipped(reason)


class Tap:
    """Prints numbered results; the plan comes last, as TAP allows."""

    def __init__(self):
        self.number = self.failures = 0

    def ok(self, name):
        self.number += 1
        print(f"ok {self.number} - {name}", flush=True)

    def not_ok(self, name, why=""):
        self.number += 1
        self.failures += 1
        print(f"not ok {self.number} - {name}")
        for line in str(why).rstrip().splitlines():
            print(f"#   {line}")
        sys.stdout.flush()

    def skipped(self, name, reason):
        self.number += 1
        print(f"ok {self.number} - {name} # SKIP {reason}", flush=True)

    def include(self, command, environment, seconds_max, folder=None):
        """Runs a program that speaks TAP, and takes its results over, renumbered."""
        planned, before = None, self.number
        limited = ["timeout", "--kill-after=10", str(seconds_max), *command]
        process = subprocess.Popen(limited, env={**os.environ, **environment}, cwd=folder,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, errors="replace")
        for line in process.stdout:
            match = RESULT.match(line)
            if line.startswith("1.."):
                planned = int(line[3:])
            if match is None:  # its diagnostics, as ours
                print(line if line.startswith("#") else "# " + line, end="", flush=True)
            elif match[1] == "ok":
                self.ok(match[2].rstrip())
            else:
                self.not_ok(match[2].rstrip())
        status = process.wait()
        if planned is None or planned != self.number - before:
            self.not_ok(f"{os.path.basename(command[0])} runs to its end", f"it ended with status {status}")

    def end(self):
        print(f"1..{self.number}", flush=True)
        return 1 if self.failures else 0

    def run(self, name, function):
        """One test: it passes if the function returns."""
        start = time.monotonic()
        try:
            function()
        except Skipped as reason:
            self.skipped(name, reason)
        except Exception:  # whatever a test raises is its failure, not the runner's end
            self.not_ok(name, traceback.format_exc())
        else:
            self.ok(name)
        took = time.monotonic() - start
        if took > 5:
            print(f"# {name} took {took:.1f} s", flush=True)


def main(names=()):
    tap = Tap()
    for function in TESTS:
        if not names or any(n in function.__name__ for n in names):
            tap.run(function.__name__.replace("_", " "), function)
    return tap.end()
