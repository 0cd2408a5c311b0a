#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The kernels for ARM (NEON, SHA-2, PMULL) on any machine: cross-compiled, and run by qemu-user.

    tests/neon.py [--cpu max] [--keep FILE] [names...]

Compiled is what of src/base and src/codec needs no foreign library, with its unit tests: the kernels and how they
are chosen, and the parsers in the forms that have no x86 instructions. What a kernel gives is held against its
form in plain C. Undefined behaviour ends the program. Of memory: each test puts its bytes at the end of what is
mapped. Names of tests as arguments run only those that contain them.
"""
import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SRC = os.path.join(os.path.dirname(HERE), "src")
sys.path.insert(0, HERE)
import tap  # noqa: E402

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-DSHA256_ALONE", "-I" + SRC, "-O1", "-static", "-Wall", "-Wextra", "-Werror",
         "-Wconversion", "-Wno-sign-conversion", "-fno-strict-aliasing"]
CHECKED = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
BASE = ["arena", "buf", "err", "logline", "map", "memory", "metric", "pages", "str", "test_main", "time"]
CODEC = ["kernel", "base64", "base64_neon", "crc64", "crc_pmull", "md5", "md5_four", "sha256", "sha256_armv8",
         "sha256_scalar", "event", "json_dom", "json_read", "json_write", "text", "xml"]
TESTS = ["base64", "crc64", "json", "kernel", "md5_kernel", "sha256_kernel", "xml"]
FORMS = ["[neon, scalar]", "[armv8, scalar]", "[pmull, scalar]"]  # those that must have run
COMPILE_SECONDS_MAX, RUN_SECONDS_MAX = 600, 500


class Names(tap.Tap):
    """Remembers the names of what passed."""

    def __init__(self):
        super().__init__()
        self.names = []

    def ok(self, name):
        self.names.append(name)
        super().ok(name)


def sources_of(codec, tests):
    return ([os.path.join(SRC, "base", f"{name}.c") for name in BASE] +
            [os.path.join(SRC, "codec", f"{name}.c") for name in codec] +
            [os.path.join(SRC, "codec", f"{name}_test.c") for name in tests])


def forgotten():
    """Kernels of ARM that nobody listed above."""
    there = {os.path.basename(path)[:-2] for kind in ("neon", "armv8", "pmull", "four")
             for path in glob.glob(os.path.join(SRC, "codec", f"*_{kind}.c"))}
    return sorted(there - set(CODEC))


def compile_to(program):
    done = subprocess.run([COMPILER, *FLAGS, *CHECKED, "-o", program, *sources_of(CODEC, TESTS), "-lm"], capture_output=True, text=True,
                          timeout=COMPILE_SECONDS_MAX)
    assert done.returncode == 0, done.stderr[-4000:]
    assert not forgotten(), f"not compiled: {forgotten()}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", help="taken and not used, as every suite is given one")
    parser.add_argument("--cpu", default="max")
    parser.add_argument("--keep", help="leave the program here")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    results, what = Names(), "the kernels for ARM compile, all of them"
    missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    if missing:
        results.skipped(what, f"there is no {' and no '.join(missing)}: tools/install_packages test")
        return results.end()
    with tempfile.TemporaryDirectory(prefix="headrace-neon-") as folder:
        program = options.keep or os.path.join(folder, "neon")
        results.run(what, lambda: compile_to(program))
        if results.failures == 0:
            results.include([EMULATOR, "-cpu", options.cpu, program, *options.names], {}, RUN_SECONDS_MAX)
            if not options.names:
                results.run("every form for ARM ran", lambda: every_form(results.names, FORMS))
    return results.end()


def every_form(names, forms):
    absent = [form for form in forms if not any(form in name for name in names)]
    assert not absent, f"no test ran with {absent}"


if __name__ == "__main__":
    sys.exit(main())
