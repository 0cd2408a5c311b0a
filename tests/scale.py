#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scale: what many shards and much data cost in memory, and that a loaded server gives everything back.

    tests/scale.py --program build/headrace

Bounds are those of the release program; a sanitized one is allowed a factor. The load and the checker are
those of the soak (bench/soak.h), built here with the C compiler.
"""
import argparse
import os
import subprocess
import sys
import threading
import time

import headrace
import tap
from tap import skip, test

sys.path.insert(0, os.path.join(headrace.ROOT, "bench"))
import soak  # noqa: E402

PROGRAM = None
MB = 1e6
IDLE_SHARDS_FEW, IDLE_SHARDS, IDLE_SHARDS_MANY = 2000, 10_000, 20_000
SHARDS_AT_ONCE = 1000            # of one stream
IDLE_RSS_MB_MAX = 64             # with IDLE_SHARDS
SHARD_BYTES_MAX = 450            # measured: 290, of which SQLite's cache of rows is a part
STORED_MB = 60                   # fills every cache; then three times as much again
STORED_SHARE_MAX = 0.04          # of what is stored then may stay in memory: noise of the measurement
STORED_TIMES_MAX = 4
SANITIZED_FACTOR = 3             # of all bounds: red zones, shadow, stacks
LOADED_SHARDS, LOADED_SECONDS = 1000, 5
LOAD_SECONDS_MAX, VIOLATION_SECONDS_MAX, VERIFY_SECONDS_MAX = 300, 240, 300


def factor():
    """What a sanitizer adds; without its quarantine, which would hide what is given back."""
    linked = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True).stdout
    return SANITIZED_FACTOR if "asan" in linked else 1


def new_server(*arguments):
    """A server whose C library gives back what is freed, so that RSS is what the program holds."""
    environment = {"MALLOC_MMAP_THRESHOLD_": str(64 << 10), "MALLOC_TRIM_THRESHOLD_": str(256 << 10),
                   "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1:"
                                   "thread_local_quarantine_size_kb=64:detect_stack_use_after_return=0"}
    return headrace.Server(PROGRAM, *arguments, environment=environment)


def rss_mb(server):
    return soak.memory_of(server.process.pid)["rss_mb"]


def settled_rss_mb(server):
    """The least of some samples: what answers and blocks under way need has gone by then."""
    samples = []
    for _ in range(20):
        samples.append(rss_mb(server))
        time.sleep(0.1)
    return min(samples)


class Load:
    """The generator on a server, with its counts summed up."""

    def __init__(self, server, streams, connections=4):
        if not soak.can_build():
            skip("no C compiler or no OpenSSL headers for the load generator")
        soak.build_load()
        self.changed, self.total = threading.Condition(), {"mb": 0.0, "records": 0}
        client = server.client(timeout=120)
        for name, shards, *_ in streams:
            client.create_stream(name, shards)
        client.close()
        self.generator = soak.Generator(server.port, 1, self.on_window, streams, connections, window=1)

    def on_window(self, w):
        with self.changed:
            self.total["mb"] += w["bytes"] / MB
            self.total["records"] += w["records"]
            self.changed.notify_all()

    def pause(self):
        self.generator.paused.clear()
        self.generator.tell("pause")
        assert self.generator.paused.wait(LOAD_SECONDS_MAX), "requests are still under way"

    def store(self, mb):
        """Puts until so much more is acknowledged."""
        with self.changed:
            wanted = self.total["mb"] + mb
        self.generator.tell("closed")
        with self.changed:
            done = self.changed.wait_for(lambda: self.total["mb"] >= wanted, LOAD_SECONDS_MAX)
        self.pause()
        assert done, f"only {self.total['mb']:.0f} MB were stored within {LOAD_SECONDS_MAX} s"

    def run_for(self, seconds):
        self.generator.tell("closed")
        time.sleep(seconds)
        self.pause()

    def verify(self):
        self.generator.verified.clear()
        self.generator.tell("verify")
        assert self.generator.verified.wait(VERIFY_SECONDS_MAX), "the reading of everything does not end"

    def good(self):
        found = self.generator.violations + self.generator.troubles
        assert not found, found[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.generator.process.kill()
        self.generator.thread.join(10)


def create_shards(client, have, want):
    while have < want:
        n = min(SHARDS_AT_ONCE, want - have)
        client.create_stream(f"idle-{have}", n, seconds_max=120)
        have += n
    return want


@test
def ten_thousand_idle_shards_cost_little_memory():
    with new_server() as server:
        client = server.client(timeout=120)
        found = {}
        have = 0
        for want in (IDLE_SHARDS_FEW, IDLE_SHARDS, IDLE_SHARDS_MANY):
            have = create_shards(client, have, want)
            found[want] = settled_rss_mb(server)
        each = (found[IDLE_SHARDS_MANY] - found[IDLE_SHARDS_FEW]) * MB / (IDLE_SHARDS_MANY - IDLE_SHARDS_FEW)
        print(f"# RSS {found[IDLE_SHARDS]:.1f} MB with {IDLE_SHARDS:,} idle shards; {each:.0f} bytes for each more")
        assert found[IDLE_SHARDS] <= IDLE_RSS_MB_MAX * factor(), found
        assert each <= SHARD_BYTES_MAX * factor(), found
        client.close()
        server.stop()
        server.start()
        print(f"# RSS {settled_rss_mb(server):.1f} MB after a restart with {IDLE_SHARDS_MANY:,}")
        assert settled_rss_mb(server) <= IDLE_RSS_MB_MAX * factor()


@test
def memory_does_not_grow_with_what_is_stored():
    streams = [("much", 4, 24, 1, "hot")]  # few shards: already the first readings are of the largest pages
    arguments = ("--journal-tail-cache=1MiB", "--journal-file-size=16MiB", "--journal-seal-size=16MiB")
    with new_server(*arguments) as server, Load(server, streams) as load:
        load.store(STORED_MB)
        load.verify()
        before, stored_before = settled_rss_mb(server), load.total["mb"]
        # What grows with the store grows each time; what a busy machine had under way does not.
        for _ in range(STORED_TIMES_MAX):
            load.store(3 * STORED_MB)
            load.verify()
            after, stored = settled_rss_mb(server), load.total["mb"]
            print(f"# RSS {before:.1f} MB with {stored_before:.0f} MB stored, {after:.1f} MB with {stored:.0f} MB")
            grows = after - before > (stored - stored_before) * STORED_SHARE_MAX * factor()
            if not grows:
                break
            before, stored_before = after, stored
        load.good()
        assert not grows


@test
def a_thousand_shards_under_load_give_everything_back_after_a_kill():
    streams = [("wide", LOADED_SHARDS, 24, 1, "hot")]
    with new_server("--journal-file-size=16MiB") as server, Load(server, streams, connections=8) as load:
        load.run_for(LOADED_SECONDS)
        server.kill()
        server.start()
        load.run_for(LOADED_SECONDS / 4)  # through connections that broke
        load.verify()
        load.good()
        print(f"# {load.total['records']:,} records in {LOADED_SHARDS:,} shards, RSS {rss_mb(server):.0f} MB")
        assert load.total["records"] > LOADED_SHARDS, "hardly anything was written: nothing was tested"


def expect_violation(mistake, text):
    with new_server() as server, Load(server, [("planted", 2, 24, 1, "hot")], connections=2) as load:
        load.store(1)
        load.good()
        load.generator.tell(f"plant {mistake}")
        load.store(1)
        end = time.monotonic() + VIOLATION_SECONDS_MAX
        while not load.generator.violations:
            assert time.monotonic() < end, f"a record that was planted ({mistake}) was not noticed"
            time.sleep(0.05)
        assert text in load.generator.violations[0], load.generator.violations[0]


@test
def the_checker_notices_a_record_that_is_lost():
    expect_violation("skip", "was acknowledged and is missing")


@test
def the_checker_notices_a_record_that_is_there_twice():
    expect_violation("twice", "a second time")


@test
def the_checker_notices_a_record_with_another_byte():
    expect_violation("change", "not what was sent")


def main():
    global PROGRAM
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    PROGRAM = os.path.abspath(options.program)
    return tap.main(options.names)


if __name__ == "__main__":
    sys.exit(main())
