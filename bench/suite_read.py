# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of reading: B8, B9."""
import contextlib
import os
import time

import machine
import pairs
from suite import Load, benchmark

BATCH, RECORD_BYTES = 500, 1024
CACHED_MB = 100   # fits the cache of the newest records
STORED_MB = 400   # does not fit the caches of SMALL
SMALL = ("--journal-tail-cache", "8MiB", "--memory-requests", "256MiB", "--journal-read-cache", "8MiB",
         "--journal-file-size", "16MiB", "--journal-seal-size", "32MiB")
SEALED_SECONDS_MAX = 60
CALM_SECONDS = 5  # merging begins some seconds after a stream of records has ended
DEVICE_TRIES = 5
BLOCK_BYTES = 1 << 20
TAIL_PUTS, TAIL_POLLS = 200, 400  # a second
ISOLATION_TURNS = 4  # of each side of a pair


def batches_for(mb):
    return max(int(mb * machine.MB / (BATCH * RECORD_BYTES)), 1)


def fill(b, server, stream, mb, shards=4):
    """Stores so much, as fast as it goes, in batches."""
    server.make(stream, shards)
    b.say(f"  storing {mb} MB in {stream}")
    Load("kinesis", server.port, stream, environment=server.environment, clients=4, records=BATCH, bytes=RECORD_BYTES,
         batches=batches_for(mb), seconds=600).end()


def wait_until_sealed(server):
    """Until containers have stayed as they are for a while."""
    end, before, calm = time.monotonic() + SEALED_SECONDS_MAX, {}, 0
    while time.monotonic() < end and calm < CALM_SECONDS:
        now = containers(server)
        calm = calm + 1 if now and now == before else 0
        before = now
        time.sleep(1)


def containers(server):
    """Sizes by path. One may have been merged away before it is looked at."""
    found = {}
    for folder, _, names in os.walk(server.server.data_dir):
        for path in (os.path.join(folder, name) for name in names if name.endswith(".hrc")):
            with contextlib.suppress(FileNotFoundError):
                found[path] = os.path.getsize(path)
    return found


def read_device(server, seconds):
    """Raw reads of the largest container; another one if it is merged away meanwhile."""
    for left in reversed(range(DEVICE_TRIES)):
        sizes = containers(server)
        try:
            return Load("reads", max(sizes, key=sizes.get), BLOCK_BYTES, seconds).end()
        except RuntimeError:
            if left == 0:
                raise


def read(b, server, stream, clients, **options):
    return b.run(server, BATCH, RECORD_BYTES, clients=clients, place=stream, load_name="read", **options)


@benchmark("B8", "consumers: newest records from memory, older ones from the disk")
def poll_readers(b):
    ours = b.headrace()
    fill(b, ours, "cached", CACHED_MB)
    for clients in (1, 4):
        b.say(f"  from memory, {clients} consumers")
        runs = b.repeat(lambda: read(b, ours, "cached", clients))
        b.value(f"from memory, {clients} consumer{'s' if clients > 1 else ''}", "GB/s",
                [mb / 1000 for mb in runs.of("mb_s")], target=">=1", runs=runs)
    b.profile("from memory, 4 consumers", ours, make=lambda: read(b, ours, "cached", 4))
    follow(b, ours)
    cold(b)
    b.note("Redis XRANGE and Kafka's fetch are not measured: the generator reads Kinesis only")


def follow(b, ours):
    """Answers to consumers that have read everything but what has just come."""
    b.say(f"  {TAIL_POLLS} GetRecords a second behind {TAIL_PUTS} puts a second")
    ours.make("tail")

    def write():
        return Load("kinesis", ours.port, "tail", environment=ours.environment, clients=8, rate=TAIL_PUTS,
                    seconds=b.options.seconds + 1)

    def poll():
        return read(b, ours, "tail", 4, follow=1, rate=TAIL_POLLS, beside=write)

    runs = b.repeat(poll)
    b.value("p99 of GetRecords at the newest record", "ms", [us / 1000 for us in runs.of("p99_us")], target="<=2", runs=runs)


def cold(b):
    server = b.headrace(*SMALL, name="headrace-small")
    fill(b, server, "cold", STORED_MB)
    wait_until_sealed(server)
    server.stop()
    server.start()  # nothing is in its memory
    b.say("  from the disk, in turn with the raw disk, 4 consumers")

    def device():
        b.wait()
        result = read_device(server, b.options.seconds)
        b.say(f"    disk, 1 MiB reads: {result['mb_s']:.1f} MB/s")
        return result | {"name": "device"}

    b.compare("from the disk, to the raw disk's MB/s", lambda: read(b, server, "cold", 4), device, "mb_s", ">=0.7")
    b.profile("from the disk, 4 consumers", server, make=lambda: read(b, server, "cold", 4))


@benchmark("B9", "writing at half of the peak, beside a consumer of old records at full speed")
def isolation(b):
    server = b.headrace(*SMALL)
    fill(b, server, "cold", STORED_MB)
    peak = b.run(server, BATCH, clients=4)
    rate = max(int(peak["batches"] / peak["seconds"] / 2), 1)
    b.say(f"  open loop, {rate} batches a second")

    seconds = max(b.options.seconds // 2, 1)
    readers = []

    def put():
        return b.run(server, BATCH, clients=16, rate=rate, seconds=seconds)

    def start_reader():
        return Load("read", server.port, "cold", environment=server.environment, clients=1, shards=4, seconds=seconds + 1)

    def put_beside_a_reader():
        run = b.run(server, BATCH, clients=16, rate=rate, seconds=seconds, beside=start_reader)
        readers.append(run["beside"]["mb_s"])
        return run

    row = b.compare("p99 with one cold reader, to without", *pairs.in_turns(ISOLATION_TURNS, put_beside_a_reader, put),
                    "p99_us", "<=1.3")
    row["names"] = ["with a reader", "without"]
    b.value("what the cold reader got meanwhile", "MB/s", readers)


QUEUE_CLIENTS, QUEUE_TARGET = 64, 20000  # acknowledgements a second


@benchmark("B18", "a queue on a stream: records received and acknowledged, ten at a time, durable", disk=True)
def queue(b):
    ours = b.headrace()
    client = ours.client()
    client.call("CreateStream", StreamName="queued")
    client.wait_active("queued")
    arn = client.call("CreateQueue", QueueName="queued", StreamConfigurationList=[
        {"StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/queued"}])["QueueDescription"]["QueueARN"]
    fill_seconds = b.options.seconds * b.options.pairs
    b.say("  storing records for the queue")
    Load("kinesis", ours.port, "queued", environment=ours.environment, clients=4, records=BATCH, bytes=RECORD_BYTES,
         batches=batches_for(QUEUE_TARGET * 3 * fill_seconds * RECORD_BYTES / machine.MB), seconds=600).end()
    runs = b.repeat(lambda: b.run(ours, 10, RECORD_BYTES, clients=QUEUE_CLIENTS, place=arn, load_name="queue"))
    b.value(f"acknowledgements a second, {QUEUE_CLIENTS} consumers", "rate", runs.of("rate"), target=">=1",
            scale=QUEUE_TARGET, runs=runs)
