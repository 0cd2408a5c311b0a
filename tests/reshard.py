#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes of shards under load, with kill -9 in between: order per key, and what consumers rely on.

Writers put numbered records, each for keys of its own, one request after the other, while shards are
split, merged and scaled at random and a consumer follows them from parents to children. What must hold:
  - of every key the numbers are read in the order in which they were put, through any shards, and so are
    their sequence numbers; every acknowledged record is there, none twice;
  - a reader at the end of a shard gets children, all the others get an iterator, nobody both or neither;
  - a shard that a put or a reader names is in every listing that is asked for afterwards;
  - in every listing open shards own each hash key once, their parents are closed, and closed ones have
    children that own the same keys;
  - all of it after kill -9 at any moment, and closed shards go when their records are over.

    tests/reshard.py --program build/headrace --rounds 20 --seed 7

A failed run says its seed and keeps its data directory.
"""
import argparse
import base64
import http.client
import os
import random
import sys
import threading
import time

import headrace
import tap

STREAM, SHARDS, SHARDS_MAX, WRITERS, KEYS = "reshard", 2, 10, 3, 5
KEYS_END = 2**128
ROUND_SECONDS = (0.3, 1.2)
CHANGE_TIMES = ("0s", "0s", "30ms", "200ms")
BATCH_MAX = 12
PAGE_SIZES, PAUSE_SECONDS_MAX = (30, 200, 1000), 0.04  # of listings; between changes
HOURS, LATER_SHARE = "9h", 0.4  # how far the clock is moved, and after how many of the rounds
LISTING_SHARE = 0.1
SETTLE_SECONDS_MAX = 240
SLOW_FACTOR = 4  # as many rounds at most, on a busy machine, until enough was done in them
SMALL = ["--journal-file-size", "1MiB", "--journal-seal-size", "1MiB", "--journal-tail-cache", "1MiB"]
GONE = (OSError, http.client.HTTPException)


def list_shards(client, **more):
    size = random.choice(PAGE_SIZES)
    shards, page = [], client.call("ListShards", StreamName=STREAM, MaxResults=size, **more)
    while True:
        shards += page["Shards"]
        if "NextToken" not in page:
            return {s["ShardId"]: s for s in shards}
        page = client.call("ListShards", NextToken=page["NextToken"], MaxResults=size)


def status(client):
    return client.call("DescribeStreamSummary", StreamName=STREAM)["StreamDescriptionSummary"]["StreamStatus"]


def range_of(shard):
    keys = shard["HashKeyRange"]
    return int(keys["StartingHashKey"]), int(keys["EndingHashKey"])


def parents_of(shard):
    return [shard[name] for name in ("ParentShardId", "AdjacentParentShardId") if name in shard]


def is_open(shard):
    return "EndingSequenceNumber" not in shard["SequenceNumberRange"]


def check_listing(shards):
    """What consumers rely on in one listing."""
    at = 0
    for start, end in sorted(range_of(s) for s in shards.values() if is_open(s)):
        assert start == at, f"the hash keys from {at} on have no shard, or two"
        at = end + 1
    assert at == KEYS_END, f"the hash keys from {at} on have no shard"
    children = {name: [] for name in shards}
    for name, shard in shards.items():
        begin = int(shard["SequenceNumberRange"]["StartingSequenceNumber"])
        for parent in parents_of(shard):
            if parent not in shards:
                continue  # over
            numbers = shards[parent]["SequenceNumberRange"]
            assert "EndingSequenceNumber" in numbers, f"{name} is there, and its parent {parent} is open"
            assert begin > int(numbers["EndingSequenceNumber"]), f"{name} begins before {parent} ends"
            children[parent].append(shard)
    for name, shard in shards.items():
        if is_open(shard):
            assert not children[name], f"{name} is open and has children"
            continue
        assert children[name], f"{name} is closed and has no children"
        start, end = range_of(shard)
        own = sorted(range_of(c) for c in children[name])
        assert own[0][0] <= start and own[-1][1] >= end, f"the children of {name} do not own its keys"


def check_page(name, page, client):
    """The rule of the Kinesis client library, and that a listing has the children. True: the end."""
    children = page.get("ChildShards") or []
    has_next = page.get("NextShardIterator") is not None
    assert has_next != bool(children), f"{name}: neither or both of an iterator and children"
    if has_next:
        return False
    shards = list_shards(client)
    for child in children:
        assert name in child["ParentShards"], f"{name} is no parent of its child {child['ShardId']}"
        assert child["ShardId"] in shards, f"{child['ShardId']} is a child and in no listing"
        assert child["ParentShards"] == parents_of(shards[child["ShardId"]]), child
    return True


class Order:
    """The newest number of every key that was read so far."""

    def __init__(self, newest=None):
        self.newest = dict(newest or {})  # key: (number, sequence number)
        self.read = set()

    def add(self, shard, record):
        key, number = base64.b64decode(record["Data"]).decode().split(":")
        sequence = int(record["SequenceNumber"])
        assert key == record["PartitionKey"], record
        last = self.newest.get(key, (0, 0))
        assert int(number) > last[0], f"{shard}: number {number} of {key} comes after {last[0]}"
        assert sequence > last[1], f"{shard}: {sequence} of {key} comes after {last[1]}"
        self.newest[key] = (int(number), sequence)
        self.read.add((key, int(number)))


class Writer(threading.Thread):
    """Puts numbered records for keys of its own, one request after the other, until the server goes."""

    def __init__(self, server, label, counts, seed):
        super().__init__(daemon=True)
        self.client, self.label, self.counts = server.client(timeout=240), label, counts
        self.random, self.acknowledged, self.trouble, self.stopping = random.Random(seed), [], None, False

    def record(self):
        key = f"{self.label}.{self.random.randrange(KEYS)}"
        self.counts[key] = self.counts.get(key, 0) + 1
        return key, self.counts[key], base64.b64encode(f"{key}:{self.counts[key]}".encode()).decode()

    def check_listed(self, names):
        if self.random.random() < LISTING_SHARE:
            unknown = set(names) - set(list_shards(self.client))
            assert not unknown, f"{unknown} took a record and are in no listing"

    def put_one(self):
        key, number, data = self.record()
        reply = self.client.call("PutRecord", StreamName=STREAM, PartitionKey=key, Data=data)
        self.acknowledged.append((key, number))
        self.check_listed([reply["ShardId"]])

    def put_many(self):
        records = [self.record() for _ in range(self.random.randint(1, BATCH_MAX))]
        reply = self.client.call("PutRecords", StreamName=STREAM, Records=[
            {"PartitionKey": key, "Data": data} for key, _, data in records])
        assert reply["FailedRecordCount"] == 0, reply
        self.acknowledged += [(key, number) for key, number, _ in records]
        self.check_listed([r["ShardId"] for r in reply["Records"]])

    def run(self):
        try:
            while not self.stopping:
                self.random.choice((self.put_one, self.put_many))()
        except GONE:
            pass
        except Exception as error:
            self.trouble = f"a put went wrong: {type(error).__name__}: {error}"
        finally:
            self.client.close()


class Resharder(threading.Thread):
    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.client, self.random = server.client(timeout=240), random.Random(seed)
        self.changes, self.trouble, self.stopping = 0, None, False

    def split(self, shards):
        name, shard = self.random.choice(sorted(shards.items()))
        start, end = range_of(shard)
        key = self.random.choice([(start + end) // 2, self.random.randrange(start + 2, end)])
        self.client.call("SplitShard", StreamName=STREAM, ShardToSplit=name, NewStartingHashKey=str(key))

    def merge(self, shards):
        ordered = sorted(shards, key=lambda name: range_of(shards[name]))
        at = self.random.randrange(len(ordered) - 1)
        self.client.call("MergeShards", StreamName=STREAM, ShardToMerge=ordered[at],
                         AdjacentShardToMerge=ordered[at + 1])

    def scale(self, shards):
        target = self.random.randint(1, SHARDS_MAX)
        reply = self.client.call("UpdateShardCount", StreamName=STREAM, TargetShardCount=target,
                                 ScalingType="UNIFORM_SCALING")
        assert reply["TargetShardCount"] == target, reply

    def change(self):
        if status(self.client) != "ACTIVE":
            return  # the shards that are listed now may be others when the call comes
        listing = list_shards(self.client)
        check_listing(listing)
        shards = {name: s for name, s in listing.items() if is_open(s)}
        deeds = [self.scale]
        if len(shards) < SHARDS_MAX:
            deeds += [self.split] * 3
        if len(shards) > 1:
            deeds += [self.merge] * 3
        try:
            self.random.choice(deeds)(shards)
            self.changes += 1
        except headrace.AwsError as error:
            if error.kind != "ResourceInUseException":
                raise

    def run(self):
        try:
            while not self.stopping:
                self.change()
                time.sleep(self.random.uniform(0, PAUSE_SECONDS_MAX))
        except GONE:
            pass
        except Exception as error:
            self.trouble = f"a change of shards went wrong: {type(error).__name__}: {error}"
        finally:
            self.client.close()


class Reading:
    """How far the shards have been read: names to sequence numbers, and those that are finished."""

    def __init__(self, places=None, finished=(), newest=None):
        self.places, self.finished, self.order = dict(places or {}), set(finished), Order(newest)

    def copy(self):
        return Reading(self.places, self.finished, self.order.newest)

    def iterator(self, client, name):
        place = self.places.get(name)
        if place is None:
            return client.iterator(STREAM, name, kind="TRIM_HORIZON")
        return client.iterator(STREAM, name, kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=place)

    def take(self, name, page):
        for record in page["Records"]:
            self.order.add(name, record)
            self.places[name] = record["SequenceNumber"]

    def read(self, client, name):
        """One shard, to its tip or end."""
        iterator = self.iterator(client, name)
        while True:
            page = client.call("GetRecords", ShardIterator=iterator)
            self.take(name, page)
            if check_page(name, page, client):
                self.finished.add(name)
                return
            if not page["Records"] and page["MillisBehindLatest"] == 0:
                return
            iterator = page["NextShardIterator"]

    def ready(self, shards):
        """Shards whose parents are finished, in the order of their names."""
        return [name for name in sorted(shards) if name not in self.finished and
                all(p in self.finished or p not in shards for p in parents_of(shards[name]))]


class Consumer(threading.Thread):
    """Follows all shards while they change, children after their parents."""

    def __init__(self, server, reading):
        super().__init__(daemon=True)
        self.client, self.reading = server.client(timeout=240), reading
        self.trouble, self.stopping = None, False

    def run(self):
        try:
            while not self.stopping:
                shards = list_shards(self.client)
                check_listing(shards)
                for name in self.reading.ready(shards):
                    self.reading.read(self.client, name)
        except GONE:
            pass
        except Exception as error:
            self.trouble = f"a consumer went wrong: {type(error).__name__}: {error}"
        finally:
            self.client.close()


class Run:
    def __init__(self, options):
        self.random, self.data_dir = random.Random(options.seed), headrace.new_data_dir()
        self.server = headrace.Server(options.program, *SMALL, data_dir=self.data_dir, profile="dev")
        self.reading, self.counts = Reading(), {}
        self.changes = self.acknowledged = self.kills = 0

    def start(self):
        self.server.arguments = [*SMALL, "--change-time", self.random.choice(CHANGE_TIMES)]
        self.server.start()

    def settle(self, client):
        """Until nothing is under way."""
        end = time.monotonic() + SETTLE_SECONDS_MAX
        while status(client) != "ACTIVE":
            assert time.monotonic() < end, "the stream does not become ACTIVE"
            time.sleep(0.05)

    def verify(self, client, writers):
        shards = list_shards(client)
        check_listing(shards)
        before = set(self.reading.order.read)
        waiting = self.reading.ready(shards)
        tips = set()
        while waiting:
            for name in waiting:
                self.reading.read(client, name)
                tips.add(name)
            waiting = [name for name in self.reading.ready(shards) if name not in tips]
        new = self.reading.order.read - before
        for writer in writers:
            lost = set(writer.acknowledged) - new
            assert not lost, f"{len(lost)} acknowledged records are lost, one is {min(lost)}"
            self.acknowledged += len(writer.acknowledged)
        return new

    def round(self, last):
        writers = [Writer(self.server, str(w), self.counts, self.random.random()) for w in range(WRITERS)]
        resharder = Resharder(self.server, self.random.random())
        consumer = Consumer(self.server, self.reading.copy())
        threads = [*writers, resharder, consumer]
        for thread in threads:
            thread.start()
        time.sleep(self.random.uniform(*ROUND_SECONDS))
        for thread in threads:
            thread.stopping = last
        if not last:
            self.kills += 1
            self.server.kill()
        for thread in threads:
            thread.join(240)
            assert not thread.is_alive(), "a client still waits"
            assert thread.trouble is None, thread.trouble
        if not last:
            self.start()
        client = self.server.client()
        self.settle(client)
        shown = consumer.reading.order.read
        new = self.verify(client, writers)
        assert shown <= new, f"records that a consumer was shown are gone: {min(shown - new)}"
        client.close()
        self.changes += resharder.changes
        if self.random.random() < LATER_SHARE:
            self.server.advance_clock(HOURS)

    def expire(self):
        """A day later only open shards are left, they go on, and the next one gets a new number."""
        client = self.server.client()
        before = list_shards(client)
        self.server.advance_clock("25h")
        shards = list_shards(client)
        assert all(map(is_open, shards.values())) and shards.keys() < before.keys(), shards
        name = min(shards)
        start, end = range_of(shards[name])
        client.call("SplitShard", StreamName=STREAM, ShardToSplit=name,
                    NewStartingHashKey=str((start + end) // 2))
        self.settle(client)
        added = list_shards(client).keys() - shards.keys()
        assert len(added) == 2 and min(added) > max(before), (added, max(before))
        client.close()
        self.server.kill()
        self.start()
        client = self.server.client()
        assert set(list_shards(client)) == shards.keys() | added
        client.close()

    def has_done_little(self, rounds):
        return self.acknowledged <= rounds or self.changes <= rounds

    def all(self, rounds, report):
        self.start()
        client = self.server.client()
        client.create_stream(STREAM, SHARDS)
        client.close()
        number = 1
        while number < rounds or (self.has_done_little(rounds) and number < SLOW_FACTOR * rounds):
            self.round(last=False)
            number += 1
        self.round(last=True)
        assert not self.has_done_little(rounds), "hardly anything happened"
        report.ok(f"{self.acknowledged} records of {len(self.counts)} keys are in order through "
                  f"{self.changes} changes of shards and {self.kills} kills")
        self.expire()
        report.ok("closed shards are gone when their records are over")
        self.server.stop()


# ---- One thing at a time

def updating(program, report):
    with headrace.Server(program, "--change-time", "1h", profile="dev") as server:
        client = server.client()

        def wait_for(wanted):
            end = time.monotonic() + SETTLE_SECONDS_MAX
            while status(client) != wanted:
                assert time.monotonic() < end, f"the stream is {status(client)} and not {wanted}"
                time.sleep(0.1)

        client.call("CreateStream", StreamName=STREAM, ShardCount=1)
        assert status(client) == "CREATING"
        about = client.call("DescribeStream", StreamName=STREAM)["StreamDescription"]
        assert about["Shards"] == [] and not about["HasMoreShards"], about
        refuse(client, "ResourceNotFoundException", "PutRecord", StreamName=STREAM, PartitionKey="k", Data="YQ==")
        server.advance_clock("1h")
        wait_for("ACTIVE")
        client.call("SplitShard", StreamName=STREAM, ShardToSplit="0", NewStartingHashKey="2")
        assert status(client) == "UPDATING" and len(list_shards(client)) == 1
        refuse(client, "ResourceInUseException", "SplitShard", StreamName=STREAM, ShardToSplit="0",
               NewStartingHashKey="2")
        refuse(client, "ResourceInUseException", "UpdateShardCount", StreamName=STREAM, TargetShardCount=2,
               ScalingType="UNIFORM_SCALING")
        put = client.call("PutRecord", StreamName=STREAM, PartitionKey="k", Data="YQ==")
        assert put["ShardId"] == "shardId-000000000000", put
        server.advance_clock("1h")
        wait_for("ACTIVE")
        assert len(list_shards(client)) == 3
        client.call("DeleteStream", StreamName=STREAM)
        assert status(client) == "DELETING"
        refuse(client, "ResourceInUseException", "CreateStream", StreamName=STREAM, ShardCount=1)
        server.advance_clock("1h")
        end = time.monotonic() + SETTLE_SECONDS_MAX
        while STREAM in client.call("ListStreams")["StreamNames"]:
            assert time.monotonic() < end, "the stream does not go"
            time.sleep(0.1)
        client.close()
    report.ok("a stream is CREATING, UPDATING and DELETING as long as the server was told")


def refuse(client, kind, operation, **members):
    try:
        client.call(operation, **members)
    except headrace.AwsError as error:
        assert error.kind == kind, error
        return
    raise AssertionError(f"{operation} was not refused")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=20261128)
    options = parser.parse_args()
    report, run = tap.Tap(), Run(options)
    print(f"# seed {options.seed}, {options.rounds} rounds", flush=True)
    try:
        updating(options.program, report)
        run.all(options.rounds, report)
    except Exception as error:
        report.not_ok(f"after {run.kills} kills with seed {options.seed}",
                      f"{type(error).__name__}: {error}\nkept: {os.path.relpath(run.data_dir)}\n"
                      f"the server said:\n{run.server.tail()}")
        run.server.kill()
        return report.end()
    run.server.owns_dir = True
    run.server.remove()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
