#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The crash loop: writers over HTTP, kill -9 at random moments, restart, compare.

What must hold after every restart, on one data directory that is kept through all rounds:
  - every acknowledged record is there, with its sequence number and its data, once;
  - sequence numbers of a shard strictly increase, in the order in which one writer got them;
  - what any reader had been shown before the crash is still there;
  - nothing is there that was never sent, and nothing twice;
  - a stream whose creation was acknowledged exists, one whose deletion was acknowledged does not;
  - what is past its retention is gone, and nothing else: the clock is moved by hours between rounds.
Journal files and caches are small, so that the kills also hit sealing, merging and expiry. Each round
verifies what is new and a sample of what is old; at the end everything is read again.

    tests/crash.py --program build/headrace --rounds 50 --seed 7

A failed run says its seed and keeps its data directory.
"""
import argparse
import base64
import hashlib
import http.client
import os
import random
import sys
import threading
import time

import headrace
import tap

STREAM, SHARDS, WRITERS = "crash", 4, 4
ROUNDS_PER_LINE = 10
SMALL = ["--journal-file-size", "1MiB", "--journal-seal-size", "1MiB", "--journal-tail-cache", "1MiB",
         "--journal-read-cache", "1MiB"]
ROUNDS_TO_SEAL = 40  # within which several journal files are full
SLOW_FACTOR = 4      # as many rounds at most, on a busy machine, until enough was done in them
RETENTION_HOURS, HOURS_MAX, LATER_SHARE = 24, 9, 0.3  # how far the clock is moved, and how often
ROUND_SECONDS = (0.05, 0.6)       # from the first write to the kill
EARLY_KILL_SECONDS = (0.0, 0.25)  # a kill while the server is still recovering
EARLY_KILL_SHARE = 0.15
GRACEFUL_SHARE = 0.1              # SIGTERM instead: must lose nothing either
BATCH_MAX, LARGE_BYTES = 20, 300_000
SAMPLE_RECORDS = 100
GONE = (OSError, http.client.HTTPException)


def digest(data):
    return hashlib.blake2b(data, digest_size=12).digest()


class Writer(threading.Thread):
    """Sends records until the server is gone; keeps what it sent and what was acknowledged."""

    def __init__(self, server, label, seed):
        super().__init__(daemon=True)
        self.client, self.label, self.random = server.client(timeout=120), label, random.Random(seed)
        self.sent, self.acknowledged, self.trouble, self.count = set(), [], None, 0
        self.stopping = False

    def record(self):
        self.count += 1
        size = LARGE_BYTES if self.random.random() < 0.01 else self.random.randrange(2000)
        data = f"{self.label}-{self.count}-".encode() + self.random.randbytes(size)
        self.sent.add(digest(data))
        return data, f"key-{self.random.randrange(1 << 30)}"

    def put_one(self):
        data, key = self.record()
        reply = self.client.put(STREAM, data, key)
        self.acknowledged.append([(reply["ShardId"], int(reply["SequenceNumber"]), digest(data))])

    def put_many(self):
        records = [self.record() for _ in range(self.random.randint(1, BATCH_MAX))]
        reply = self.client.call("PutRecords", StreamName=STREAM, Records=[
            {"Data": base64.b64encode(data).decode(), "PartitionKey": key} for data, key in records])
        if len(reply["Records"]) != len(records):
            raise AssertionError("PutRecords answered another number of records than it was given")
        self.acknowledged.append([(r["ShardId"], int(r["SequenceNumber"]), digest(data))
                                  for (data, _), r in zip(records, reply["Records"]) if "ShardId" in r])

    def run(self):
        try:
            while not self.stopping:
                if self.random.random() < 0.5:
                    self.put_one()
                else:
                    self.put_many()
        except GONE:
            pass  # killed: what was not acknowledged may or may not be there
        except headrace.AwsError as error:
            if not self.stopping:
                self.trouble = f"a put was refused: {error}"
        except Exception as error:
            self.trouble = f"a put was answered badly: {type(error).__name__}: {error}"
        finally:
            self.client.close()


class Reader(threading.Thread):
    """Follows one shard while it is written; what it was shown must survive."""

    def __init__(self, server, shard, after):
        super().__init__(daemon=True)
        self.client, self.shard, self.after = server.client(timeout=120), shard, after
        self.shown, self.trouble, self.stopping = [], None, False

    def run(self):
        try:
            iterator = self.client.iterator(STREAM, self.shard, **start_after(self.after))
            while not self.stopping:
                page = self.client.call("GetRecords", ShardIterator=iterator)
                self.shown += [int(r["SequenceNumber"]) for r in page["Records"]]
                iterator = page["NextShardIterator"]
                if not page["Records"]:
                    time.sleep(0.02)
        except GONE:
            pass
        except headrace.AwsError as error:
            if not self.stopping:
                self.trouble = f"a read was refused: {error}"
        finally:
            self.client.close()


class Churner(threading.Thread):
    """Creates and deletes streams; remembers what was acknowledged."""

    def __init__(self, server, label, existing):
        super().__init__(daemon=True)
        self.client, self.label = server.client(timeout=120), label
        self.existing, self.created, self.deleted, self.unsure = set(existing), set(), set(), set()
        self.trouble, self.stopping = None, False

    def delete_one(self):
        name = min(self.existing)
        self.unsure.add(name)
        try:
            self.client.call("DeleteStream", StreamName=name)
        except headrace.AwsError as error:
            if error.kind != "ResourceInUseException":  # still being created: not this time
                raise
            return
        self.existing.discard(name)
        self.deleted.add(name)

    def run(self):
        try:
            for number in range(3):
                if self.stopping:
                    break
                name = f"churn-{self.label}-{number}"
                self.unsure.add(name)
                self.client.call("CreateStream", StreamName=name, ShardCount=1)
                self.unsure.discard(name)
                self.created.add(name)
                self.existing.add(name)
                if len(self.existing) > 2:
                    self.delete_one()
        except GONE:
            pass
        except headrace.AwsError as error:
            if not self.stopping and error.kind != "LimitExceededException":
                self.trouble = f"a stream operation was refused: {error}"
        finally:
            self.client.close()


def start_after(sequence):
    if sequence is None:
        return {"kind": "TRIM_HORIZON"}
    return {"kind": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": str(sequence)}


def read(client, shard, after, at_most=None):
    """[(sequence number, digest)] behind `after`, to the tip or until `at_most` are read."""
    found = []
    iterator = client.iterator(STREAM, shard, **start_after(after))
    while True:
        page = client.call("GetRecords", ShardIterator=iterator, Limit=at_most or 10000)
        found += [(int(r["SequenceNumber"]), digest(base64.b64decode(r["Data"])))
                  for r in page["Records"]]
        if at_most is not None and len(found) >= at_most:
            return found[:at_most]
        if not page["Records"] and page.get("MillisBehindLatest", 0) == 0:
            return found
        iterator = page["NextShardIterator"]


class History:
    """All that was verified so far, and the comparison of what is there with what was promised."""

    def __init__(self):
        self.records = {f"shardId-{i:012d}": [] for i in range(SHARDS)}
        self.hours = 0  # that the clock has been moved so far
        self.eras = {shard: [] for shard in self.records}  # (hours, how many records so far)
        self.newest, self.gone = dict.fromkeys(self.records), dict.fromkeys(self.records, 0)
        self.known, self.streams = set(), set()
        self.acknowledged_count = self.unacknowledged_count = 0

    def last(self, shard):
        return self.newest[shard]

    def keep(self, shard, new):
        self.records[shard] += new
        self.newest[shard] = new[-1][0] if new else self.newest[shard]

    def later(self, hours):
        """The clock was moved: what is a day old is over now, what is younger is not."""
        for shard, eras in self.eras.items():
            eras.append((self.hours, self.gone[shard] + len(self.records[shard])))
        self.hours += hours
        for shard, eras in self.eras.items():
            over = [total for born, total in eras if self.hours - born >= RETENTION_HOURS]
            if over:
                del self.records[shard][:over[-1] - self.gone[shard]]
                self.gone[shard] = over[-1]
                del eras[:len(over)]

    def verify_new(self, client, writers, readers):
        promised = {shard: {} for shard in self.records}
        sent = set().union(*(w.sent for w in writers)) if writers else set()
        for writer in writers:
            self.check_writer_order(writer)
            for request in writer.acknowledged:
                for shard, sequence, content in request:
                    assert sequence not in promised[shard], f"{sequence} was given to two records of {shard}"
                    promised[shard][sequence] = content
        for shard in self.records:
            new = read(client, shard, self.last(shard))
            self.check_new(shard, new, promised[shard], sent)
            present = {sequence for sequence, _ in new}
            for reader in readers:
                if reader.shard == shard:
                    lost = [s for s in reader.shown if s not in present]
                    assert not lost, f"{shard}: {len(lost)} records that a reader was shown are gone: {lost[0]}"
            self.keep(shard, new)
            self.acknowledged_count += len(promised[shard])
            self.unacknowledged_count += len(new) - len(promised[shard])

    def check_new(self, shard, new, promised, sent):
        last = self.last(shard) or 0
        for sequence, content in new:
            assert sequence > last, f"{shard}: {sequence} comes after {last}"
            last = sequence
            assert content in sent, f"{shard}: {sequence} holds what nobody sent in this round"
            assert content not in self.known, f"{shard}: {sequence} holds a record a second time"
            self.known.add(content)
        there = dict(new)
        lost = [s for s in promised if s not in there]
        assert not lost, (f"{shard}: {len(lost)} of {len(promised)} acknowledged records are lost, "
                          f"the first is {min(lost)}; the tip is {last}")
        wrong = [s for s in promised if there[s] != promised[s]]
        assert not wrong, f"{shard}: {wrong[0]} was acknowledged for other data"

    @staticmethod
    def check_writer_order(writer):
        last = {}
        for request in writer.acknowledged:
            for shard, sequence, _ in request:
                assert sequence > last.get(shard, 0), (
                    f"{shard}: a put after the reply of {last[shard]} got the smaller {sequence}")
            for shard, sequence, _ in request:
                last[shard] = max(sequence, last.get(shard, 0))

    def verify_sample(self, client, rng):
        shard = rng.choice(sorted(self.records))
        known = self.records[shard]
        if len(known) > 1:
            at = rng.randrange(len(known) - 1)
            wanted = known[at + 1:at + 1 + SAMPLE_RECORDS]
            got = read(client, shard, known[at][0], at_most=len(wanted))
            assert got == wanted, f"{shard}: the old records behind {known[at][0]} have changed"

    def verify_all(self, client):
        for shard, known in self.records.items():
            got = read(client, shard, None)
            assert got == known, (f"{shard}: {len(got)} records where {len(known)} were verified before; "
                                  f"first difference at {first_difference(got, known)}")

    def verify_streams(self, client, churner):
        listed, after = set(), None
        while True:
            page = client.call("ListStreams", **({"ExclusiveStartStreamName": after} if after else {}))
            listed |= set(page["StreamNames"])
            if not page["HasMoreStreams"]:
                break
            after = page["StreamNames"][-1]
        listed = {n for n in listed if n.startswith("churn-") and not is_deleting(client, n)}
        must = (self.streams | churner.created) - churner.deleted - churner.unsure
        may = must | churner.unsure
        assert must <= listed, f"streams that were created are gone: {sorted(must - listed)}"
        assert listed <= may, f"streams that were deleted or never made are there: {sorted(listed - may)}"
        self.streams = listed


def is_deleting(client, name):
    try:
        summary = client.call("DescribeStreamSummary", StreamName=name)
    except headrace.AwsError as error:
        return error.kind == "ResourceNotFoundException"
    return summary["StreamDescriptionSummary"]["StreamStatus"] == "DELETING"


def first_difference(got, known):
    for number, (a, b) in enumerate(zip(got, known)):
        if a != b:
            return f"record {number}: {a[0]} for {b[0]}"
    return f"record {min(len(got), len(known))}"


class Loop:
    def __init__(self, options):
        self.seed, self.random = options.seed, random.Random(options.seed)
        self.data_dir = options.data_dir or headrace.new_data_dir()
        self.server = headrace.Server(options.program, *SMALL, data_dir=self.data_dir, profile="dev")
        self.history = History()
        self.sealed_most = 0
        self.kills = self.early_kills = self.stops = 0

    def begin(self):
        self.server.start()
        client = self.server.client()
        client.create_stream(STREAM, SHARDS)
        client.close()

    def end_server(self, threads):
        time.sleep(self.random.uniform(*ROUND_SECONDS))
        if self.random.random() < GRACEFUL_SHARE:
            self.stops += 1
            for thread in threads:
                thread.stopping = True
            self.server.stop()
        else:
            self.kills += 1
            self.server.kill()

    def later(self):
        hours = self.random.randint(1, HOURS_MAX)
        self.server.advance_clock(f"{hours}h")
        self.history.later(hours)

    def note_sealing(self):
        self.sealed_most = max(self.sealed_most, self.server.metric("headrace_sealed_records"))

    def restart(self):
        while self.random.random() < EARLY_KILL_SHARE:
            self.early_kills += 1
            self.server.spawn()
            time.sleep(self.random.uniform(*EARLY_KILL_SECONDS))
            self.server.kill()
        self.server.start()

    def verify_others(self, client):
        """What more must hold after a restart."""

    def others(self):
        """More clients of a round, for suites that build on this one."""
        return []

    def round(self, number):
        writers = [Writer(self.server, f"{number}.{w}", self.random.random()) for w in range(WRITERS)]
        shard = self.random.choice(sorted(self.history.records))
        readers = [Reader(self.server, shard, self.history.last(shard))]
        churner = Churner(self.server, f"{number:05d}", self.history.streams)
        threads = [*writers, *readers, churner, *self.others()]
        for thread in threads:
            thread.start()
        self.end_server(threads)
        for thread in threads:
            thread.join(240)
            assert not thread.is_alive(), "a client still waits although the server is gone"
            assert thread.trouble is None, thread.trouble
        self.restart()
        client = self.server.client()
        client.wait_active(STREAM)
        self.history.verify_new(client, writers, readers)
        self.history.verify_sample(client, self.random)
        self.history.verify_streams(client, churner)
        self.verify_others(client)
        client.close()
        self.note_sealing()
        if self.random.random() < LATER_SHARE:
            self.later()

    def lacks(self, rounds):
        """What so many rounds should have done, and have not: else nothing was tested."""
        if self.history.acknowledged_count <= rounds:
            return "hardly anything was written"
        if rounds >= ROUNDS_TO_SEAL and self.sealed_most == 0:
            return "nothing was sealed: the kills have tested the journal only"
        return None

    def run(self, rounds, report):
        self.begin()
        first, number = 1, 0
        while number < rounds or (self.lacks(rounds) and number < SLOW_FACTOR * rounds):
            number += 1
            self.round(number)
            if number % ROUNDS_PER_LINE == 0 or number == rounds:
                report.ok(f"rounds {first}-{number}: {self.history.acknowledged_count} records acknowledged "
                          f"so far, all there, in order, once ({self.history.unacknowledged_count} more)")
                first = number + 1
        assert not self.lacks(rounds), self.lacks(rounds)
        client = self.server.client()
        self.history.verify_all(client)
        client.close()
        over = sum(self.history.gone.values())
        report.ok(f"the whole history of {len(self.history.known)} records is as it was verified, and the "
                  f"{over} of them that are past their retention are gone")
        if rounds >= ROUNDS_TO_SEAL:
            report.ok(f"up to {self.sealed_most} records lay in containers")
        self.server.stop()
        report.ok(f"after {self.kills} kills, {self.early_kills} during recovery, and {self.stops} stops "
                  "the server ends well")


def main(kind=Loop):
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--data-dir")
    options = parser.parse_args()
    report = tap.Tap()
    print(f"# seed {options.seed}, {options.rounds} rounds", flush=True)
    loop = kind(options)
    try:
        loop.run(options.rounds, report)
    except Exception as error:
        report.not_ok(f"round {loop.kills + loop.stops} with seed {options.seed}",
                      f"{type(error).__name__}: {error}\nkept: {os.path.relpath(loop.data_dir)}\n"
                      f"the server said:\n{loop.server.tail()}")
        loop.server.kill()
        return report.end()
    loop.server.owns_dir = options.data_dir is None
    loop.server.remove()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
