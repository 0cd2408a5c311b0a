#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three zones: every record is in three directories before it is acknowledged. One that is deleted,
damaged, full, read-only or broken is left out, the writes go on, and it is rebuilt from the others, at
start or beside the load. After each story everything acknowledged is there, and the zones are the same.

The failing zone of some tests is an ext4 file system in a file, as in disk.py: root and loop devices are
needed, and where they are not to be had those tests are skipped and say so.

    tests/zones.py --program build/headrace
"""
import argparse
import filecmp
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import disk
import headrace
import tap

JOURNAL = ["--journal-file-size", "8MiB", "--journal-reserve", "16MiB"]
STREAM, SHARDS = "zones", 2
tap.TESTS.clear()  # disk's own
WAIT_SECONDS_MAX = 240
LAG = "60s"  # a zone that works is not to be left out because the machine is busy
WRITERS = 4
KILLS = 6
NOT_CONTENT = ("lock", "zone.hrz", "zone.hrz.new", "zone.lock", "lost+found", "filler")
EXIT_USAGE, EXIT_LOCKED, EXIT_DISK = 2, 10, 14
PROGRAM = None


class Bench:
    """A server with three zones, writers, and what was acknowledged."""

    def __init__(self, program, third=None):
        os.makedirs(headrace.DATA, exist_ok=True)
        self.folder = tempfile.mkdtemp(dir=headrace.DATA)
        self.zones = [os.path.join(self.folder, name) for name in "abc"]
        if third:
            self.zones[2] = third
        self.data_dir = os.path.join(self.folder, "data")
        self.program = program
        self.server = headrace.Server(program, *self.arguments(), data_dir=self.data_dir)
        self.put, self.refused, self.lock = {}, [], threading.Lock()
        self.writing, self.threads = threading.Event(), []

    def arguments(self):
        zones = [word for zone in self.zones for word in ("--zones", zone)]
        return [*JOURNAL, *zones, "--zones-lag", LAG]

    def start(self):
        self.server.start()
        client = self.server.client()
        try:
            client.create_stream(STREAM, SHARDS)
        except headrace.AwsError as error:
            if "ResourceInUse" not in str(error.kind):
                raise
        client.close()

    # ---- Writing

    def put_one(self, client):
        data = os.urandom(random.choice((50, 500, 5000)))
        reply = client.put(STREAM, data, f"k{random.randrange(100)}")
        with self.lock:
            self.put[reply["ShardId"], reply["SequenceNumber"]] = data

    def write(self):
        client = self.server.client()
        while self.writing.is_set():
            try:
                self.put_one(client)
            except headrace.AwsError as error:
                with self.lock:
                    self.refused.append(error)
            except OSError:
                break  # the server was killed
            except Exception:  # pylint: disable=broad-except
                if self.server.is_running():
                    raise
                break
        client.close()

    def begin_writes(self):
        self.writing.set()
        self.threads = [threading.Thread(target=self.write, daemon=True) for _ in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def end_writes(self):
        self.writing.clear()
        for thread in self.threads:
            thread.join()

    def wait_puts(self, more):
        with self.lock:
            until = len(self.put) + more
        self.wait(lambda: len(self.put) >= until, f"{more} more puts")

    # ---- Looking

    def wait(self, is_so, what):
        end = time.monotonic() + WAIT_SECONDS_MAX
        while not is_so():
            assert time.monotonic() < end, f"waited in vain for {what}: {self.page('/_headrace/health')}"
            assert self.server.is_running(), f"the server has ended: {self.server.tail()}"
            time.sleep(0.05)

    def page(self, path):
        client = self.server.client()
        _, _, body = client.send("GET", path, {"Host": "localhost"}, b"")
        client.close()
        return body.decode()

    def states(self):
        return [zone["state"] for zone in json.loads(self.page("/_headrace/health"))["zones"]]

    def wait_states(self, *states):
        self.wait(lambda: self.states() == list(states), f"the zones to be {states}")

    def wait_members(self):
        self.wait_states("member", "member", "member")

    def check_all_there(self):
        client = self.server.client()
        there = {}
        for shard in client.shards(STREAM):
            numbers = []
            for number, data, _ in client.read_shard(STREAM, shard):
                there[shard, number] = data
                numbers.append(int(number))
            assert numbers == sorted(set(numbers)), "sequence numbers do not strictly increase"
        client.close()
        lost = [key for key in self.put if key not in there]
        assert not lost, f"{len(lost)} of {len(self.put)} acknowledged records are lost"
        wrong = [key for key, data in self.put.items() if there[key] != data]
        assert not wrong, f"{wrong[0]} came back changed"

    def check_same(self):
        """The server is stopped and the zones hold the same, byte for byte."""
        for zone in self.zones[1:]:
            self.check_same_dir(self.zones[0], zone)

    def check_same_dir(self, one, other):
        names = sorted(n for n in os.listdir(one) if n not in NOT_CONTENT)
        others = sorted(n for n in os.listdir(other) if n not in NOT_CONTENT)
        assert names == others, f"{one} and {other} differ in {sorted(set(names) ^ set(others))}"
        for name in names:
            p, q = os.path.join(one, name), os.path.join(other, name)
            if os.path.isdir(p):
                self.check_same_dir(p, q)
            else:
                assert filecmp.cmp(p, q, shallow=False), f"{p} and {q} differ"

    def finish(self):
        """The end of every story."""
        self.end_writes()
        self.wait_members()
        self.check_all_there()
        self.server.stop()
        self.check_same()

    def remove(self):
        self.writing.clear()
        self.server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def with_bench(test):
    def body():
        bench = Bench(PROGRAM)
        try:
            bench.start()
            test(bench)
        except Exception:
            print(f"# the server said:\n{bench.server.tail()}".replace("\n", "\n#"), flush=True)
            raise
        finally:
            bench.remove()

    body.__name__ = test.__name__
    return tap.test(body)


def with_disk(test):
    """The third zone is on a disk of its own, which can be filled and broken."""
    def body():
        reason = disk.obstacle()
        if reason:
            tap.skip(reason)
        own = disk.Disk()
        bench = Bench(PROGRAM, third=own.data_dir)
        try:
            bench.start()
            test(bench, own)
        except Exception:
            print(f"# the server said:\n{bench.server.tail()}".replace("\n", "\n#"), flush=True)
            raise
        finally:
            bench.remove()
            own.remove()

    body.__name__ = test.__name__
    return tap.test(body)


def journal_files(zone):
    folder = os.path.join(zone, "journal")
    return [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith(".hrj")]


# ---- While it was stopped

@with_bench
def a_zone_that_was_deleted_is_rebuilt_from_the_others(bench):
    for zone in bench.zones:
        bench.begin_writes()
        bench.wait_puts(200)
        bench.server.kill()
        bench.end_writes()
        shutil.rmtree(zone)
        bench.start()
        bench.check_all_there()
        bench.wait_members()
    shutil.rmtree(bench.data_dir)  # holds the lock alone
    bench.server.kill()
    bench.start()
    bench.finish()


@with_bench
def a_zone_whose_journal_was_damaged_is_rebuilt_from_the_others(bench):
    for zone in bench.zones:
        bench.begin_writes()
        bench.wait_puts(200)
        bench.end_writes()
        bench.server.stop()
        for name in journal_files(zone):
            with open(name, "r+b") as file:
                for at in range(4096, 1 << 20, 100_000):
                    file.seek(at)
                    file.write(os.urandom(5000))
        with open(os.path.join(zone, "headrace.db"), "r+b") as file:
            file.truncate(100)
        bench.start()
        bench.check_all_there()
    bench.finish()


@with_bench
def a_zone_without_its_record_is_left_alone_and_one_that_is_damaged_is_rebuilt(bench):
    bench.begin_writes()
    bench.wait_puts(100)
    bench.end_writes()
    bench.server.stop()
    record = os.path.join(bench.zones[1], "zone.hrz")
    os.rename(record, record + ".away")
    bench.start()
    bench.wait_states("member", "fenced", "member")
    assert "empty it" in bench.page("/_headrace/health")
    bench.server.stop()
    os.remove(record + ".away")
    with open(record, "w", encoding="utf-8") as file:
        file.write("headrace-zone\nformat 1\n")
    bench.start()
    bench.wait_members()
    bench.finish()


@with_bench
def two_zones_that_are_missing_are_too_many(bench):
    bench.begin_writes()
    bench.wait_puts(100)
    bench.end_writes()
    bench.server.stop()
    for zone in bench.zones[:2]:
        os.rename(zone, zone + ".away")
    run = subprocess.run(bench.server.command(), capture_output=True, text=True, timeout=240,
                         env=bench.server.environment)
    assert run.returncode == EXIT_DISK and "zones answer" in run.stderr, run
    bench.server.arguments.append("--zones-start-anyway")
    bench.start()
    bench.server.arguments.pop()
    bench.finish()


@tap.test
def a_directory_with_data_becomes_the_first_of_three_zones():
    bench = Bench(PROGRAM)
    try:
        alone = headrace.Server(PROGRAM, *JOURNAL, data_dir=bench.zones[0])
        alone.start()
        bench.server.port = alone.port
        client = alone.client()
        client.create_stream(STREAM, SHARDS)
        for _ in range(100):
            bench.put_one(client)
        client.close()
        alone.stop()

        # Zones that leave it out would hide what it holds.
        bench.server.data_dir, bench.zones[0] = bench.zones[0], bench.zones[0] + ".new"
        bench.server.arguments = bench.arguments()
        run = subprocess.run(bench.server.command(), capture_output=True, text=True, timeout=240,
                             env=bench.server.environment)
        assert run.returncode == EXIT_USAGE and "none of the zones" in run.stderr, run
        bench.zones[0] = bench.server.data_dir
        bench.server.arguments = bench.arguments()
        bench.start()
        bench.check_all_there()
        bench.begin_writes()
        bench.wait_puts(50)
        bench.finish()
        # Alone it would become different from the others.
        run = subprocess.run(alone.command(), capture_output=True, text=True, timeout=240, env=alone.environment)
        assert run.returncode == EXIT_USAGE and "one zone of several" in run.stderr, run
    finally:
        bench.remove()


@with_bench
def a_zone_is_used_by_one_server(bench):
    other = Bench(PROGRAM, third=bench.zones[2])
    try:
        run = subprocess.run(other.server.command(), capture_output=True, text=True, timeout=240,
                             env=other.server.environment)
        assert run.returncode == EXIT_LOCKED and "in use" in run.stderr, run
    finally:
        other.remove()
    bench.finish()


# ---- While it runs

@with_bench
def a_zone_that_is_deleted_while_it_runs_is_left_out_and_rebuilt(bench):
    bench.begin_writes()
    bench.wait_puts(100)
    shutil.rmtree(bench.zones[1])
    # New files show that the directory is gone; then it is made again.
    bench.wait(lambda: "headrace_zone_fenced_total{zone=\"%s\"} 0" % bench.zones[1] not in bench.page("/metrics"),
               "the zone to be fenced")
    bench.wait_puts(100)
    bench.wait_members()
    assert not bench.refused, bench.refused[0]
    bench.finish()


@with_bench
def what_rots_in_one_zone_is_read_from_another_and_mended(bench):
    bench.server.stop()
    bench.server.arguments += ["--journal-seal-size", "1MiB", "--journal-tail-cache", "1MiB"]
    bench.start()
    bench.begin_writes()
    bench.wait(lambda: json.loads(bench.page("/_headrace/health"))["journal"]["containers"] > 0, "a container")
    bench.end_writes()
    bench.server.stop()
    folder = os.path.join(bench.zones[0], "journal", "sealed")
    bench.start()
    container = os.path.join(folder, sorted(n for n in os.listdir(folder) if n.endswith(".hrc"))[0])
    with open(container, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 2)
        file.write(os.urandom(100))
        os.fsync(file.fileno())
    bench.check_all_there()
    bench.finish()


def breaks(break_it, mend_it):
    """The third zone breaks under load: writes go on, health and metrics tell, and it returns."""
    def test(bench, own):
        bench.begin_writes()
        bench.wait_puts(100)
        break_it(own)
        bench.wait(lambda: bench.states()[2] == "fenced", "the zone to be fenced")
        bench.wait_puts(300)
        assert bench.states()[:2] == ["member", "member"]
        assert f'headrace_zone_up{{zone="{bench.zones[2]}"}} 0' in bench.page("/metrics")
        assert '"ready"' in bench.page("/_headrace/ready")
        bench.server.wait_said("fenced", bench.zones[2])
        mend_it(own)
        bench.wait_members()
        assert f'headrace_zone_up{{zone="{bench.zones[2]}"}} 1' in bench.page("/metrics")
        assert not bench.refused, bench.refused[0]
        bench.finish()
    return test


def mend(own):
    """As an operator does: unmount, check, mount. The server lets go of what it had open there."""
    own.repair()


def named(name, test):
    test.__name__ = name
    return with_disk(test)


named("a_zone_that_fills_up_is_left_out_and_returns", breaks(lambda own: own.fill(), lambda own: own.drain()))
named("a_zone_that_turns_read_only_is_left_out_and_returns", breaks(lambda own: own.make_read_only(), mend))
named("a_zone_that_breaks_is_left_out_and_returns", breaks(lambda own: own.make_fail(), mend))


@with_bench
def a_server_that_is_killed_while_it_repairs_repairs_again(bench):
    bench.begin_writes()
    bench.wait_puts(500)
    for _ in range(KILLS):
        bench.server.kill()
        bench.end_writes()
        # Only one that the others can spare.
        shutil.rmtree(bench.zones[2], ignore_errors=True)
        bench.start()
        bench.begin_writes()
        time.sleep(random.random())
    bench.server.kill()
    bench.end_writes()
    bench.start()
    bench.check_all_there()
    bench.finish()


def main():
    global PROGRAM
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    PROGRAM = options.program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is mounted is unmounted
    return tap.main(options.words)


if __name__ == "__main__":
    sys.exit(main())
