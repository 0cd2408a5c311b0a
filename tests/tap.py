# SPDX-License-Identifier: Apache-2.0
"""The smallest test harness: @test registers a function, main() runs them and speaks TAP.

A test's name is the promise it tests. It fails by raising; skip("why") leaves it out visibly. Names,
or parts of them, given as arguments run only those tests.
"""
import sys
import time
import traceback


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
