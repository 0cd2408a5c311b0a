#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Enhanced fan-out on a whole server: many consumers, slow ones, kills, and the end of the server.

    tests/fanout.py --program build-asan/headrace
"""
import argparse
import base64
import os
import resource
import subprocess
import sys
import threading
import time

import headrace
import tap
from tap import test

PROGRAM = None
SHARD = "shardId-000000000000"
MANY_CONSUMERS, MANY_SHARDS = 10, 20
SUBSCRIPTION_KIB_MAX = 48       # of the release program; measured: 25, most of it the connection and its request
SANITIZED_FACTOR = 6
SLOW_RECORDS, SLOW_BYTES = 160, 256 << 10  # more than sockets hold
KILLS, PUTS_PER_KILL = 4, 40


def stream_arn(name):
    return f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/{name}"


def register(client, stream, name):
    return client.call("RegisterStreamConsumer", StreamARN=stream_arn(stream),
                       ConsumerName=name)["Consumer"]["ConsumerARN"]


def put(client, stream, text, key="k"):
    return client.put(stream, text.encode(), key)["SequenceNumber"]


def texts(event):
    return [base64.b64decode(r["Data"]).decode() for r in event["Records"]]


def read_until(subscription, wanted):
    """The data of the records that are pushed, until there are so many."""
    found = []
    while len(found) < wanted:
        found += texts(subscription.event())
    return found


def is_sanitized():
    return "asan" in subprocess.run(["ldd", PROGRAM], capture_output=True, text=True).stdout


@test
def a_consumer_is_pushed_what_every_other_one_is():
    with headrace.Server(PROGRAM) as server:
        client = server.client()
        client.create_stream("s")
        subscriptions = [client.subscribe(register(client, "s", f"c{i}"), Type="LATEST") for i in range(20)]
        assert all(s.event()["Records"] == [] for s in subscriptions)
        for i in range(50):
            put(client, "s", f"r{i}")
        for subscription in subscriptions:
            assert read_until(subscription, 50) == [f"r{i}" for i in range(50)]
            subscription.close()


@test
def records_reach_consumers_over_tls():
    with headrace.Server(PROGRAM) as server:
        client = server.client(tls=server.certificate)
        client.port = server.port
        client.create_stream("s")
        subscription = client.subscribe(register(client, "s", "c"), Type="TRIM_HORIZON")
        put(client, "s", "secret")
        assert read_until(subscription, 1) == ["secret"]
        subscription.close()


@test
def records_of_an_encrypted_stream_are_pushed_in_plain():
    """Before, under a key, under the next key and after: one subscription sees them all."""
    with headrace.Server(PROGRAM) as server:
        client = server.client()
        client.create_stream("s")
        arn = register(client, "s", "c")
        subscription, wanted = client.subscribe(arn, Type="LATEST"), []
        own_key = server.client(target="TrentService", service="kms").call("CreateKey")["KeyMetadata"]["Arn"]

        def put_some(phase):
            for i in range(20):
                wanted.append(f"{phase} {i} " + "x" * 2000)
                put(client, "s", wanted[-1])

        put_some("plain")
        for key in ("alias/aws/kinesis", own_key):
            client.call("StartStreamEncryption", StreamName="s", EncryptionType="KMS", KeyId=key)
            client.wait_active("s")
            put_some(key)
        records = []
        while len(records) < len(wanted):
            records += subscription.event()["Records"]
        client.call("StopStreamEncryption", StreamName="s", EncryptionType="KMS", KeyId=own_key)
        client.wait_active("s")
        put_some("plain again")
        while len(records) < len(wanted):
            records += subscription.event()["Records"]
        assert [base64.b64decode(r["Data"]).decode() for r in records] == wanted
        assert [r.get("EncryptionType", "NONE") for r in records] == ["NONE"] * 20 + ["KMS"] * 40 + ["NONE"] * 20
        subscription.close()
        server.kill()  # and from the disk, by a server that has to ask for the keys again
        server.start()
        again = server.client().subscribe(arn, Type="TRIM_HORIZON")
        assert read_until(again, len(wanted)) == wanted
        again.close()


@test
def many_subscriptions_hold_no_thread_and_little_memory():
    with headrace.Server(PROGRAM) as server:
        client = server.client()
        client.create_stream("s", MANY_SHARDS)
        shards = client.shards("s")
        consumers = [register(client, "s", f"c{i}") for i in range(MANY_CONSUMERS)]
        put(client, "s", "warm")
        before, threads = memory_of(server), threads_of(server)
        subscriptions = [client.subscribe(arn, shard, Type="LATEST") for arn in consumers for shard in shards]
        for subscription in subscriptions:
            subscription.event()
        assert server.metric("headrace_kinesis_subscriptions") == len(subscriptions)
        assert threads_of(server) - threads < len(subscriptions) // 10, "subscriptions took threads"
        each = (memory_of(server) - before) / len(subscriptions)
        most = SUBSCRIPTION_KIB_MAX * (SANITIZED_FACTOR if is_sanitized() else 1)
        print(f"# {each:.0f} KiB for each of {len(subscriptions)} subscriptions", flush=True)
        assert each < most, each
        reply = client.put("s", b"to all", "key")
        got = [s for s in subscriptions[shards.index(reply["ShardId"])::MANY_SHARDS]]
        assert len(got) == MANY_CONSUMERS
        assert all(read_until(s, 1) == ["to all"] for s in got)
        for subscription in subscriptions:
            subscription.close()
        end = time.monotonic() + 240
        while server.metric("headrace_kinesis_subscriptions") > 0:
            assert time.monotonic() < end, "subscriptions outlive their clients"
            time.sleep(0.1)


def memory_of(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def threads_of(server):
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


@test
def a_consumer_that_reads_slowly_disturbs_nobody_and_misses_nothing():
    with headrace.Server(PROGRAM, "--journal-tail-cache", "8MiB") as server:
        client = server.client()
        client.create_stream("s")
        slow = client.subscribe(register(client, "s", "slow"), Type="LATEST")
        quick = client.subscribe(register(client, "s", "quick"), Type="LATEST")
        found = []
        reader = threading.Thread(target=lambda: found.extend(read_until(quick, SLOW_RECORDS)))
        reader.start()
        wanted = []
        for i in range(SLOW_RECORDS):
            wanted.append(f"{i:08d}" + "x" * SLOW_BYTES)
            put(client, "s", wanted[-1])
        reader.join(240)
        assert found == wanted, "the quick one did not get everything"
        assert read_until(slow, SLOW_RECORDS) == wanted, "the slow one did not"
        assert server.metric("headrace_kinesis_pushed_reads_total") > 0, "nothing was read from the disk"
        slow.close()
        quick.close()


@test
def a_consumer_goes_on_from_its_number_after_kill_9_without_loss():
    with headrace.Server(PROGRAM) as server:
        client = server.client()
        client.create_stream("s")
        arn = register(client, "s", "c")
        position, found, wanted = {"Type": "TRIM_HORIZON"}, [], []
        for kill in range(KILLS):
            subscription = client.subscribe(arn, **position)
            stop = threading.Event()

            def take():
                nonlocal position
                try:
                    while not stop.is_set():
                        event = subscription.event()
                        found.extend(texts(event))
                        position = {"Type": "AFTER_SEQUENCE_NUMBER",
                                    "SequenceNumber": event["ContinuationSequenceNumber"]}
                except (AssertionError, OSError, ValueError):
                    pass  # the server was killed
                except Exception as error:  # http.client's errors of a broken stream
                    assert type(error).__module__ == "http.client", error

            reader = threading.Thread(target=take)
            reader.start()
            for i in range(PUTS_PER_KILL):
                wanted.append(f"{kill}-{i}")
                put(client, "s", wanted[-1])
            server.kill()
            stop.set()
            reader.join(240)
            subscription.close()
            client.close()
            server.start()
        last = client.subscribe(arn, **position)
        found += read_until(last, len(wanted) - len(found))
        last.close()
        assert found == wanted, (len(found), len(wanted))


@test
def a_server_that_is_stopped_ends_its_subscriptions_in_an_orderly_way():
    server = headrace.Server(PROGRAM, "--http-drain-timeout", "1h")  # far more than stop() waits
    try:
        server.start()
        client = server.client()
        client.create_stream("s")
        subscriptions = [client.subscribe(register(client, "s", f"c{i}"), Type="LATEST") for i in range(5)]
        for subscription in subscriptions:
            subscription.event()
        server.stop()
        assert all(s.news() is None for s in subscriptions), "a stream was cut off"
    finally:
        server.remove()


@test
def a_stream_that_is_deleted_is_told_to_those_who_are_pushed_it():
    with headrace.Server(PROGRAM) as server:
        client = server.client()
        client.create_stream("s")
        subscription = client.subscribe(register(client, "s", "c"), Type="LATEST")
        subscription.event()
        client.call("DeleteStream", StreamName="s", EnforceConsumerDeletion=True)
        assert subscription.news() == ("ResourceNotFoundException", {
            "message": f"Shard {SHARD} in stream s under account {headrace.ACCOUNT} does not exist"})
        assert subscription.message() is None
        subscription.close()


@test
def consumers_come_and_go_under_load_and_each_sees_every_record_in_order():
    with headrace.Server(PROGRAM) as server:
        client = server.client()
        client.create_stream("s", 4)
        shards, stop, failures = client.shards("s"), threading.Event(), []
        consumers = {(n, shard): register(client, "s", f"c{n}") if shard == shards[0] else None
                     for n in range(3) for shard in shards}

        def write():
            writer, i = server.client(), 0
            while not stop.is_set():
                writer.call("PutRecords", StreamName="s", Records=[
                    {"Data": base64.b64encode(str(i * 20 + j).encode()).decode(), "PartitionKey": f"k{j}"}
                    for j in range(20)])
                i += 1
            writer.close()

        def follow(n, shard):
            try:
                own, arn = server.client(), consumers[n, shards[0]]
                subscription, seen = own.subscribe(arn, shard, Type="TRIM_HORIZON"), {}
                for _ in range(60):
                    for record in subscription.event()["Records"]:
                        value = int(base64.b64decode(record["Data"]))
                        before = seen.setdefault(record["PartitionKey"], value % 20 - 20)
                        assert value == before + 20, (shard, record["PartitionKey"], before, value)
                        seen[record["PartitionKey"]] = value
                subscription.close()
            except Exception as error:
                failures.append(repr(error))

        threads = [threading.Thread(target=follow, args=key) for key in consumers]
        writer = threading.Thread(target=write)
        writer.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(240)
        stop.set()
        writer.join(240)
        assert not failures, failures[:3]


def main():
    global PROGRAM
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    PROGRAM = options.program
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    return tap.main(options.names)


if __name__ == "__main__":
    sys.exit(main())
