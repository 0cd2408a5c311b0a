#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real program on a disk that loses what was not synced, and that fails when it is told to.

tests/lossyfs is that disk: a FUSE file system below the unmodified server. A round writes over HTTP,
cuts the power - at a random moment or at a chosen operation, with or without kill -9 before it, now
and then while the server is only starting - and starts the server again on what is left. Between
rounds the clock may be moved, so that records expire and their files are used again. What must
hold then is what crash.py checks: acknowledged is there, in order, once, and nothing else. Other tests
inject errors and compare with docs/durability.md. The last ones plant a mistake, a sync that is
answered and not done, and expect the comparison to find it.

    tests/lossy.py --program build-asan/headrace --rounds 200 --seed 7
    tests/lossy.py --serve "--journal-file-size 2MiB" power

Skipped, with the reason, where no FUSE file system can be mounted. A failed round keeps its folder.
"""
import argparse
import ctypes
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import crash
import headrace
import tap

EXIT_DISK = 14
SMALL = [*crash.SMALL, "--journal-reserve", "4MiB"]  # so that files change often and are sealed
ROUNDS_PER_LINE = 4
ROUND_SECONDS = (0.05, 0.5)        # from the first write to the cut
LATE_CUT_SECONDS = 2               # a cut that waits for an operation waits no longer
START_CUT_SHARE = 0.3              # rounds with a cut while the server starts again
LATER_SHARE = 0.3                  # rounds after which the clock is moved
OPERATIONS_MAX = {"write": 300, "dsync": 300, "fsync": 40, "fsyncdir": 15, "create": 4, "rename": 4,
                  "change": 400}   # after how many of a kind a cut may come
START_OPERATIONS_MAX = 60          # of a start, among which a cut is made
STOP_OPERATIONS_MAX = 16           # of a stop
FIRST_STARTS, FIRST_OPERATIONS_MAX = 6, 90  # on an empty disk, and their operations
SHARP_ROUNDS_MAX = 40              # in which a planted mistake must be found: a busy machine does little in one
SLOW_FACTOR = 4                    # as many rounds at most there, until enough was done in them
MOUNT_SECONDS_MAX, END_SECONDS_MAX = 60, 120
LARGE_BYTES, FULL_PUTS_MAX = 300_000, 100  # more than the files that there are could take
SEALED_PUTS = 12                   # of LARGE_BYTES: they fill files that are sealed then
STREAM, SHARD = "errors", "shardId-000000000000"
UINT64_MAX = (1 << 64) - 1
OPTIONS = None                     # set by main


def _end_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # and so it unmounts


def is_mounted(path):
    """Also where every operation fails, so that the path itself could not be asked."""
    with open("/proc/mounts", encoding="utf-8") as file:
        return any(line.split()[1] == path for line in file)


class Mount:
    """A folder with BACKING and MOUNT, and the program between them while it is mounted. The server's
    place is `path`: the mount, or what stands upon it (images.py)."""

    operations_max = OPERATIONS_MAX
    keeps_errors = True  # no operation is answered well that came after the cut

    def __init__(self):
        os.makedirs(headrace.DATA, exist_ok=True)
        self.folder = tempfile.mkdtemp(dir=headrace.DATA)
        self.backing, self.fuse = os.path.join(self.folder, "backing"), os.path.join(self.folder, "mount")
        self.path = self.fuse
        os.mkdir(self.backing)
        os.mkdir(self.fuse)
        self.sockets = tempfile.mkdtemp()  # the path of a socket must be short
        self.control = os.path.join(self.sockets, "control")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [OPTIONS.lossyfs, "--control", self.control, self.backing, self.fuse], text=True, bufsize=1,
            preexec_fn=_end_with_parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        said = self.process.stdout.readline()
        if said != "Ready.\n":
            said += self.process.communicate(timeout=MOUNT_SECONDS_MAX)[0]
            self.process = None
            raise OSError(said.strip() or "lossyfs ended without a word")

    def command(self, line):
        """{"cut": 0, ...} of `stats`, {} of the others."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(MOUNT_SECONDS_MAX)
            s.connect(self.control)
            s.sendall(f"{line}\n".encode())
            reply = s.makefile(encoding="utf-8").readline().split()
        assert reply[:1] == ["ok"], f"{line}: {' '.join(reply)}"
        return {key: int(value) for key, value in (word.split("=") for word in reply[1:])}

    def is_cut(self):
        return self.command("stats")["cut"] == 1

    def end(self):
        """Unmounts; what was not synced is written unless the power was cut."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            said = self.process.communicate(timeout=END_SECONDS_MAX)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            said = self.process.communicate()[0] + "it did not end when it was told to"
        status, self.process = self.process.returncode, None
        if is_mounted(self.fuse):
            subprocess.run(["umount", "-l", self.fuse], stdin=subprocess.DEVNULL, check=False)
        assert status == 0, f"lossyfs ended with status {status}: {said}"

    def again(self):
        self.end()
        self.start()

    def verify(self):
        """Raises OSError if the disk, after its end, is not as a disk must be."""

    def remove(self):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)


def new_server(mount, *flags, **more):
    data_dir = os.path.join(mount.path, "data")
    os.makedirs(data_dir, exist_ok=True)
    return headrace.Server(OPTIONS.program, *SMALL, *shlex.split(OPTIONS.serve), *flags, data_dir=data_dir, **more)


def wait_end(server, what="the power is off"):
    """The server ends by itself, and says with its status that it was the disk."""
    try:
        status = server.process.wait(headrace.STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{what} and the server is still there") from None
    assert status == EXIT_DISK, f"{what} and the server ended with status {status}"
    server.kill()  # only what is left of it here


def wait_start(server, seconds):
    """Until it is ready, has ended, or took its time."""
    end = time.monotonic() + seconds
    while server.is_running() and "Ready." not in server.log and time.monotonic() < end:
        time.sleep(0.01)


# ---- Rounds of power cuts.


def refusals_after_the_cut(kind):
    """A client of crash.py that may be refused once the power is off, and not before."""
    class Client(kind):
        mount = None

        def run(self):
            super().run()
            if self.trouble and "was refused" in self.trouble and self.mount.is_cut():
                self.trouble = None
    return Client


class Stamped(list):
    """A list that knows when each of its items came: CLOCK_MONOTONIC, as the disk's cut_ns."""

    def __init__(self):
        super().__init__()
        self.times = []

    def append(self, item):
        super().append(item)
        self.times.append(time.monotonic_ns())

    def __iadd__(self, items):
        for item in items:
            self.append(item)
        return self

    def add(self, item):  # as of a set
        self.append(item)

    def before(self, ns):
        return [item for item, at in zip(self, self.times) if at < ns]


Writer, Reader, Churner = map(refusals_after_the_cut, (crash.Writer, crash.Reader, crash.Churner))


class Rounds:
    """One disk, one stream, and its whole history. Removes the disk at its end."""

    def __init__(self, mount, lies=(), keep=None):
        self.lies, self.keep = lies, keep
        self.mount, self.history = mount, crash.History()
        self.number, self.hours, self.sealed_most, self.ends, self.start_cuts, self.cuts = 0, 0, 0, 0, 0, {}
        self.server = None

    def begin(self):
        self.mount.start()
        self.server = new_server(self.mount, profile="dev")  # whose clock can be moved
        self.server.start()
        client = self.server.client()
        client.create_stream(crash.STREAM, crash.SHARDS)
        client.close()
        self.lie()

    def lie(self):
        for lie in self.lies:
            self.mount.command(f"lie {lie}")

    def cut_command(self, operation=None, after=0):
        keep = self.keep or self.random.choice(["some", "some", "some", "none"])
        command = f"cut seed={self.random.randrange(1 << 60)} torn={self.random.choice([512, 4096])} keep={keep}"
        return command + (f" op={operation} after={after}" if operation else "")

    def clients(self):
        label = f"{self.number:05d}"
        writers = [Writer(self.server, f"{label}.{w}", self.random.random()) for w in range(crash.WRITERS)]
        shard = self.random.choice(sorted(self.history.records))
        readers = [Reader(self.server, shard, self.history.last(shard))]
        churner = Churner(self.server, label, self.history.streams)
        for client in (*writers, *readers, churner):
            client.mount = self.mount
        for writer in writers:
            writer.acknowledged = Stamped()
        for reader in readers:
            reader.shown = Stamped()
        churner.created, churner.deleted = Stamped(), Stamped()
        return writers, readers, churner

    def forget_late_answers(self, writers, readers, churner):
        """What was answered after the cut, by a machine that would have been off."""
        cut_ns = UINT64_MAX if self.mount.keeps_errors else self.mount.command("stats")["cut_ns"]
        for writer in writers:
            writer.acknowledged = writer.acknowledged.before(cut_ns)
        for reader in readers:
            reader.shown = reader.shown.before(cut_ns)
        for kind in ("created", "deleted"):
            all_of_them = set(getattr(churner, kind))
            early = set(getattr(churner, kind).before(cut_ns))
            churner.unsure |= all_of_them - early
            setattr(churner, kind, early)

    def cut(self, threads):
        """Starts the clients and ends with the power off and the server gone."""
        operations = self.mount.operations_max
        kind = self.random.choice(["now", "kill", "stop", *operations])
        self.cuts[kind] = self.cuts.get(kind, 0) + 1
        if kind in operations:
            self.mount.command(self.cut_command(kind, self.random.randrange(operations[kind])))
        for thread in threads:
            thread.start()
        if kind in operations:
            end = time.monotonic() + LATE_CUT_SECONDS
            while not self.mount.is_cut() and time.monotonic() < end:
                time.sleep(0.01)
        else:
            time.sleep(self.random.uniform(*ROUND_SECONDS))
        if kind == "kill":
            self.server.kill()
        elif kind == "stop":
            self.stop(threads)
        if not self.mount.is_cut():
            try:
                self.mount.command(self.cut_command())
            except AssertionError:  # the armed one came in between
                assert self.mount.is_cut()
        if kind not in ("kill", "stop"):
            self.ends += 1
            wait_end(self.server)

    def stop(self, threads):
        """An orderly end, in which the power may go while the server writes what it has to say last."""
        for thread in threads:
            thread.stopping = True
        self.mount.command(self.cut_command("change", self.random.randrange(STOP_OPERATIONS_MAX)))
        self.server.process.send_signal(signal.SIGTERM)
        status = self.server.process.wait(headrace.STOP_SECONDS_MAX)
        assert status in (0, EXIT_DISK), f"the server was stopped, the power went, and its status was {status}"
        self.server.kill()

    def start_again(self):
        flags = self.random.choice([(), ("--io-uring", "off")])
        while True:
            self.mount.again()
            self.server = new_server(self.mount, *flags, profile="dev")
            if self.random.random() >= START_CUT_SHARE:
                break
            self.start_cuts += 1
            self.mount.command(self.cut_command("change", self.random.randrange(START_OPERATIONS_MAX)))
            self.server.spawn()
            wait_start(self.server, LATE_CUT_SECONDS)
            self.server.kill()
            if not self.mount.is_cut():
                self.mount.command("clear")
                self.mount.command(self.cut_command())
        self.server.start()

    def later(self):
        """Some or all records expire, and their files are used again beside what the next round does."""
        hours = self.random.choice([self.random.randint(1, crash.HOURS_MAX), crash.RETENTION_HOURS + 1])
        self.hours += hours
        self.server.advance_clock(f"{hours}h")
        self.history.later(hours)

    def round(self):
        self.number += 1
        self.random = random.Random(f"{OPTIONS.seed} {self.number}")  # each round alone, whatever came before
        writers, readers, churner = self.clients()
        threads = [*writers, *readers, churner]
        self.cut(threads)
        for thread in threads:
            thread.join(240)
            assert not thread.is_alive(), "a client still waits although the server is gone"
            assert thread.trouble is None, thread.trouble
        self.forget_late_answers(writers, readers, churner)
        self.start_again()
        client = self.server.client()
        client.wait_active(crash.STREAM)
        self.history.verify_new(client, writers, readers)
        self.history.verify_sample(client, self.random)
        self.history.verify_streams(client, churner)
        client.close()
        self.sealed_most = max(self.sealed_most, self.server.metric("headrace_sealed_records"))
        if self.random.random() < LATER_SHARE:
            self.later()
        self.lie()

    def verify_all(self):
        client = self.server.client()
        self.history.verify_all(client)
        client.close()

    def end(self):
        if self.server is not None:
            self.server.kill()
        self.mount.end()

    def remove(self):
        self.end()
        self.mount.remove()


def power_cuts(report, name, mount):
    """Many rounds on one disk, told as a few results that begin with `name`."""
    rounds, kept = Rounds(mount), False
    try:
        rounds.begin()
        go_rounds(report, name, rounds)
        rounds.server.stop()
        mount.end()
        mount.verify()
        cuts = ", ".join(f"{count} at {kind}" for kind, count in sorted(rounds.cuts.items()))
        print(f"# {name}: {cuts}; {rounds.start_cuts} while it started; "
              f"{rounds.hours} hours have passed; {rounds.sealed_most} records were sealed", flush=True)
        report.ok(f"{name}: the server ended by itself with status {EXIT_DISK} in {rounds.ends} of them")
    except Exception as error:  # whatever it is, the round that failed is told
        kept = True
        report.not_ok(f"{name} {rounds.number} with seed {OPTIONS.seed}",
                      f"{type(error).__name__}: {error}\nkept: {os.path.relpath(mount.folder)}\n"
                      f"the server said:\n{rounds.server.tail() if rounds.server else ''}")
    finally:
        rounds.end()
        if not kept:
            mount.remove()


def go_rounds(report, name, rounds):
    first = 1
    number = 0
    while number < OPTIONS.rounds or (
            rounds.history.acknowledged_count <= OPTIONS.rounds and number < SLOW_FACTOR * OPTIONS.rounds):
        number += 1
        rounds.round()
        if number % ROUNDS_PER_LINE == 0 or number == OPTIONS.rounds:
            report.ok(f"{name} {first}-{number}: {rounds.history.acknowledged_count} records "
                      f"acknowledged so far, all there, in order, once "
                      f"({rounds.history.unacknowledged_count} more)")
            first = number + 1
    rounds.verify_all()
    assert rounds.history.acknowledged_count > OPTIONS.rounds, "hardly anything was written"


def is_found(mount, *lies):
    """Rounds on a disk that lies; True when one of them finds it."""
    rounds = Rounds(mount, lies, "none")
    try:
        rounds.begin()
        for _ in range(SHARP_ROUNDS_MAX):
            rounds.round()
        return False
    except (AssertionError, headrace.AwsError, OSError) as error:
        print(f"# found in round {rounds.number}: {error}".replace("\n", "\n# "), flush=True)
        return rounds.number > 0
    finally:
        rounds.remove()


# ---- Errors of the disk.


class Bench:
    """A server on such a disk, what it acknowledged and what it refused."""

    def __init__(self, *flags):
        self.mount, self.put, self.refused = Mount(), [], []
        self.mount.start()
        self.server = new_server(self.mount, *flags)
        try:
            self.server.start()
        except AssertionError:
            self.mount.remove()  # which tells what it had to say
            raise
        self.client = self.server.client()
        self.client.create_stream(STREAM)

    def put_one(self, size=1000):
        """True if it was acknowledged; else it was refused with an AWS error."""
        data = os.urandom(size)
        try:
            number = self.client.put(STREAM, data, "k")["SequenceNumber"]
        except headrace.AwsError as error:
            assert error.kind is not None and error.status in (400, 500, 503), error
            self.refused.append(data)
            return False
        self.put.append((number, data, "k"))
        return True

    def put_many(self, count=20):
        assert all([self.put_one() for _ in range(count)]), "a put was refused"

    def restart(self, cut="cut keep=none"):
        """kill -9 and a power cut at its worst, unless it is told otherwise."""
        self.client.close()
        self.server.kill()
        if cut and not self.mount.is_cut():
            self.mount.command(cut)
        self.mount.again()
        self.server.start()
        self.client = self.server.client()
        self.client.wait_active(STREAM)

    def check(self, refused_may_be_there=False):
        got = self.client.read_shard(STREAM, SHARD)
        there = {number: (number, data, key) for number, data, key in got}
        lost = [number for number, _, _ in self.put if number not in there]
        assert not lost, f"{len(lost)} of {len(self.put)} acknowledged records are lost"
        assert all(there[r[0]] == r for r in self.put), "a record came back changed"
        assert [int(r[0]) for r in got] == sorted({int(r[0]) for r in got}), "they are out of order"
        known = {data for _, data, _ in self.put}
        more = [data for _, data, _ in got if data not in known]
        assert len(more) == len(set(more)) and set(more) <= set(self.refused), "records that nobody sent"
        assert refused_may_be_there or not more, f"{len(more)} records that were refused are there"

    def fail(self, what):
        self.mount.command(f"fail {what}")

    @staticmethod
    def wait(what, is_so):
        end = time.monotonic() + END_SECONDS_MAX
        while not is_so():
            assert time.monotonic() < end, what
            time.sleep(0.05)

    def end(self):
        self.client.close()
        self.server.kill()
        self.mount.remove()


def with_bench(*flags):
    def register(test):
        def body():
            bench = Bench(*flags)
            try:
                test(bench)
            except Exception:
                print(f"# the server said:\n{bench.server.tail()}".replace("\n", "\n#"), flush=True)
                raise
            finally:
                bench.end()

        body.__name__ = test.__name__
        return tap.test(body)
    return register


@tap.test
def what_is_durable_through_the_mount_is_what_was_made_durable():
    """The disk itself, without the server: direct I/O, durable writes, syncs of files and names."""
    mount = Mount()
    mount.start()
    page = b"d" * 4096

    def made(name, flags=0):
        return os.open(os.path.join(mount.path, name), os.O_RDWR | os.O_CREAT | flags, 0o600)

    files = {name: made(name) for name in ("unsynced", "synced", "durable")}
    top = os.open(mount.path, os.O_RDONLY)
    os.fsync(top)
    nameless = made("nameless")
    for fd in (*files.values(), nameless):
        os.pwrite(fd, page, 0)
    os.fdatasync(files["synced"])
    os.fsync(nameless)
    os.pwritev(files["durable"], [page], 4096, os.RWF_DSYNC)
    stats = mount.command("stats")
    assert (stats["dsync"], stats["fsync"], stats["fsyncdir"]) == (1, 2, 1), stats
    os.rename(os.path.join(mount.path, "synced"), os.path.join(mount.path, "renamed"))
    mount.command("cut keep=none")
    for fd in (*files.values(), nameless, top):
        os.close(fd)
    mount.end()
    left = {name: os.path.getsize(os.path.join(mount.backing, name)) for name in os.listdir(mount.backing)}
    assert left == {"unsynced": 0, "synced": 4096, "durable": 8192}, left
    with open(os.path.join(mount.backing, "durable"), "rb") as file:
        assert file.read() == bytes(4096) + page
    mount.remove()


@tap.test
def a_first_start_that_is_cut_is_followed_by_a_good_one():
    chosen = random.Random(OPTIONS.seed)
    for after in chosen.sample(range(FIRST_OPERATIONS_MAX), FIRST_STARTS):
        keep = chosen.choice(["some", "none", "all"])
        mount = Mount()
        mount.start()
        server = new_server(mount)
        try:
            mount.command(f"cut seed={chosen.randrange(1 << 60)} torn=512 keep={keep} op=change after={after}")
            server.spawn()
            wait_start(server, END_SECONDS_MAX)
            server.kill()
            if not mount.is_cut():
                mount.command("cut keep=none")
            mount.again()
            new_server(mount).start().kill()
        except AssertionError as error:
            raise AssertionError(f"cut at operation {after}, {keep} kept: {error}") from None
        finally:
            server.kill()
            mount.remove()


@with_bench()
def a_journal_write_that_fails_once_costs_nothing(bench):
    for number, what in enumerate(["op=write", "op=dsync", "op=write tear", "op=dsync forget"], 1):
        bench.put_many()
        bench.fail(f"{what} path=/journal/")
        bench.put_many()
        assert bench.mount.command("stats")["failed"] == number, "nothing has failed"
    bench.check()
    bench.restart()
    bench.check()
    bench.put_many()


@with_bench("--io-uring", "off")
def a_journal_write_that_fails_once_costs_nothing_without_io_uring(bench):
    bench.put_many()
    bench.fail("op=dsync path=/journal/ forget")
    bench.put_many()
    assert bench.mount.command("stats")["failed"] == 1, "nothing has failed"
    bench.restart()
    bench.check()


@with_bench()
def two_failed_journal_writes_in_a_row_end_the_server_and_lose_nothing(bench):
    bench.put_many()
    bench.fail("op=dsync path=/journal/ times=2")
    assert not bench.put_one(), "a put was acknowledged although both writes failed"
    wait_end(bench.server, "the journal has failed twice")
    bench.restart()
    bench.check(refused_may_be_there=True)
    bench.put_many()


@with_bench("--on-disk-failure", "read-only")
def two_failed_journal_writes_in_a_row_leave_a_server_for_readers_that_is_told_to_stay(bench):
    bench.put_many()
    bench.fail("op=dsync path=/journal/ times=2")
    assert not any([bench.put_one() for _ in range(5)]), "a put was acknowledged by a failed journal"
    refused, bench.refused = bench.refused, []
    bench.check()  # nothing that was refused is visible
    bench.refused = refused
    bench.restart()
    bench.check(refused_may_be_there=True)
    bench.put_many()


def made(bench, name, names):
    """Whether CreateStream succeeded; the name is added to the others then."""
    try:
        bench.client.call("CreateStream", StreamName=name, ShardCount=1)
    except headrace.AwsError as error:
        assert error.status >= 500, error
        return False
    names.append(name)
    return True


@with_bench()
def a_failed_sync_of_the_key_value_store_fails_that_operation_only(bench):
    bench.put_many()
    want = [STREAM]
    for forget in ("", "forget"):
        for _ in range(SHARP_ROUNDS_MAX):  # now and then it meets the commit of somebody else, such as metrics
            bench.fail(f"op=fsync path=headrace.db {forget}")
            if not made(bench, f"refused{forget}{len(want)}", want):
                break
        else:
            raise AssertionError("streams are made although their commits cannot be synced")
        bench.client.create_stream(f"made{forget}")
        want.append(f"made{forget}")
        bench.put_many()
    want.sort()
    assert sorted(bench.client.call("ListStreams")["StreamNames"]) == want
    bench.restart()
    assert sorted(bench.client.call("ListStreams")["StreamNames"]) == want
    bench.check()


@with_bench()
def a_put_that_is_refused_for_want_of_space_never_appears(bench):
    bench.put_many()
    bench.fail("op=create,allocate,truncate path=/journal/ errno=ENOSPC times=all")
    for _ in range(FULL_PUTS_MAX):
        if not bench.put_one(LARGE_BYTES):
            break
    assert bench.refused, "nothing was refused although no file could be made"
    bench.mount.command("clear")
    bench.wait("puts are still refused although there is space", bench.put_one)
    bench.check()
    bench.restart()
    bench.check()


@with_bench()
def a_put_whose_write_finds_no_space_is_answered_when_it_returns(bench):
    bench.put_many()
    bench.fail("op=write path=/journal/ errno=ENOSPC times=all")
    puts = threading.Thread(target=lambda: [bench.put_one() for _ in range(5)], daemon=True)
    puts.start()
    puts.join(1)  # it may take as long as there is no space
    bench.mount.command("clear")
    puts.join(END_SECONDS_MAX)
    assert not puts.is_alive(), "a put is not answered although there is space"
    bench.wait("puts are still refused although there is space", bench.put_one)
    bench.check()
    bench.restart()
    bench.check()


@with_bench()
def a_container_or_checkpoint_that_cannot_be_written_is_made_later(bench):
    for number, path in enumerate(["/journal/sealed/", "/journal/checkpoint"], 1):
        before = bench.server.metric("headrace_sealed_records")
        bench.fail(f"op=write,dsync,fsync,create,rename path={path}")
        for _ in range(SEALED_PUTS):
            assert bench.put_one(LARGE_BYTES), "a put was refused although only sealing has failed"
        bench.wait("sealing has not failed", lambda: bench.mount.command("stats")["failed"] == number)
        bench.wait("nothing is sealed although the disk is well",
                   lambda: bench.server.metric("headrace_sealed_records") > before)
        bench.check()
    bench.restart()
    bench.check()


@with_bench()
def a_slow_disk_only_slows(bench):
    bench.mount.command("delay op=sync ms=10")
    bench.put_many()
    assert bench.mount.command("stats")["delayed_ms"] >= 200, "the disk was not slow"
    bench.check()
    bench.restart()
    bench.check()


@with_bench()
def a_disk_that_cannot_be_read_gives_errors_and_nothing_false(bench):
    bench.put_many()
    bench.restart()  # what was written is only on the disk now
    bench.fail("op=read path=/journal/ times=all")
    try:
        bench.check()  # from memory, or
    except headrace.AwsError as error:
        assert error.status >= 500, error
    bench.mount.command("clear")
    bench.check()


# ---- Planted mistakes.


@tap.test
def a_journal_write_that_is_not_durable_is_found():
    assert is_found(Mount(), "op=dsync path=/journal/"), "acknowledged records were lost and nobody noticed"


@tap.test
def a_commit_of_the_key_value_store_that_is_not_durable_is_found():
    assert is_found(Mount(), "op=fsync,dsync path=headrace.db"), "streams were lost and nobody noticed"


@tap.test
def a_container_or_checkpoint_that_is_not_durable_is_found():
    lies = "op=fsync,dsync path=/journal/sealed/", "op=fsync,dsync path=/journal/checkpoint"
    assert is_found(Mount(), *lies), "containers were lost and nobody noticed"


@tap.test
def a_disk_that_ignores_every_sync_is_found():
    assert is_found(Mount(), "op=sync"), "acknowledged records were lost and nobody noticed"


@tap.test
def a_name_that_is_not_durable_is_found():
    assert is_found(Mount(), "op=fsyncdir"), "files were lost and nobody noticed"


# ---- The program.


def obstacle(kind=Mount):
    """Why no such disk can be had here, or None."""
    if not os.path.exists(OPTIONS.lossyfs):
        return f"{os.path.relpath(OPTIONS.lossyfs)} is not built: libfuse 3 is missing"
    mount = None
    try:
        mount = kind()
        mount.start()
    except OSError as error:
        return f"no such disk could be mounted: {error}"
    finally:
        if mount is not None:
            mount.remove()
    return None


def parser(rounds):
    p = argparse.ArgumentParser()
    p.add_argument("--program", default="build-asan/headrace")
    p.add_argument("--lossyfs", help="the disk; by default from the build of the program")
    p.add_argument("--rounds", type=int, default=rounds)
    p.add_argument("--seed", type=int, default=20260101)
    p.add_argument("--serve", default="", help="more flags of the server, as one word")
    p.add_argument("words", nargs="*", help="parts of the names of tests; power: the rounds")
    return p


def set_options(options):
    global OPTIONS
    OPTIONS = options
    if not options.lossyfs:
        build = os.path.dirname(os.path.abspath(options.program))
        options.lossyfs = os.path.join(build, "tests", "lossyfs", "headrace-lossyfs")
    options.lossyfs = os.path.abspath(options.lossyfs)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is mounted is unmounted
    print(f"# seed {options.seed}, {options.rounds} rounds", flush=True)


def is_wanted(name):
    return not OPTIONS.words or any(word in name for word in OPTIONS.words)


def main():
    set_options(parser(rounds=12).parse_args())
    report, reason = tap.Tap(), obstacle()
    if is_wanted("power"):
        if reason:
            report.skipped("power cuts", reason)
        else:
            power_cuts(report, "power cuts", Mount())
    for function in tap.TESTS:
        name = function.__name__.replace("_", " ")
        if is_wanted(function.__name__) and reason:
            report.skipped(name, reason)
        elif is_wanted(function.__name__):
            report.run(name, function)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
