# SPDX-License-Identifier: Apache-2.0
"""B7: records pushed to consumers (enhanced fan-out)."""
import resource

import machine
from suite import Load, benchmark

SHARDS, CONSUMERS = 100, (1, 10, 50)
RECORDS, BATCHES_PER_S = 10, 300  # 3,000 records a second
STORED_MB, READ_SHARDS = 192, 4  # in memory still; fewer are read while connections are only beginning


def push(b, server, stream, consumers, shards, **options):
    return Load("push", server.port, stream, environment=server.environment, clients=consumers, shards=shards,
                processors=b.options.load_processors, **options)


@benchmark("B7", "records pushed to consumers of 100 shards, 3,000 records/s")
def fan_out(b):
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    server = b.headrace("--http-connections", "20000")
    latency, memory = {}, {}
    for consumers in CONSUMERS:
        if consumers * SHARDS > files[1] - 1000:
            b.note(f"{consumers} consumers are left out: the limit of open files is {files[1]}")
            continue
        runs = []
        for turn in range(b.options.pairs):
            stream = f"push{consumers}-{turn}"
            server.make(stream, SHARDS)
            b.wait()
            before = machine.memory_of(server.pid())["rss_mb"]
            run = push(b, server, stream, consumers, SHARDS, loops=2, records=RECORDS, bytes=1024, rate=BATCHES_PER_S,
                       seconds=b.options.seconds, follow=1)
            run = run.end()
            memory.setdefault(consumers, []).append(machine.memory_of(server.pid())["rss_mb"] - before)
            runs.append(run)
            b.say(f"    {consumers:3d} consumers: {run['rate']:9.0f} records/s pushed   p50 {run['p50_us']:6d} us   "
                  f"p99 {run['p99_us']:6d} us")
            server.forget(stream)
        latency[consumers] = runs
        b.value(f"p99 from put to push, {consumers} consumer{'s' if consumers > 1 else ''}", "ms",
                [run["p99_us"] / 1000 for run in runs], target="<=5" if consumers == 1 else None)
    catch_up(b, server)


def catch_up(b, server):
    """What is stored, pushed to consumers that begin at the oldest record, beside the same bytes just sent."""
    server.make("stored", READ_SHARDS)
    Load("kinesis", server.port, "stored", environment=server.environment, clients=4, records=500, bytes=1024,
         batches=STORED_MB * 2, seconds=600).end()
    for consumers, tls in ((1, 0), (10, 0), (10, 1)):
        def ours(consumers=consumers, tls=tls):
            b.wait()
            run = push(b, server, "stored", consumers, READ_SHARDS, loops=1, bytes=1024, seconds=30, tls=tls,
                       batches=STORED_MB * 2 * 500).end()
            drop(server, "stored", consumers)
            return run | {"name": "headrace"}

        def raw(follow, consumers=consumers, tls=tls):
            b.wait()
            run = Load("push-raw", "0", "raw", clients=consumers, shards=READ_SHARDS, loops=1, bytes=1024, seconds=30,
                       follow=follow, tls=tls, batches=STORED_MB * 2 * 500, processors=b.options.load_processors).end()
            return run | {"name": "sendfile" if follow else "send"}

        label = f"catching up, {consumers} consumer{'s' if consumers > 1 else ''}{', TLS' if tls else ''}"
        best = 0 if tls else max((0, 1), key=lambda follow: raw(follow)["mb_s"])
        to = "send over TLS" if tls else "the better of send and sendfile"
        b.compare(f"{label}, to {to}", ours, lambda: raw(best), "mb_s")


def drop(server, stream, consumers):
    client = server.server.client()
    arn = f"arn:aws:kinesis:us-east-1:000000000000:stream/{stream}"
    for i in range(consumers):
        client.call("DeregisterStreamConsumer", StreamARN=arn, ConsumerName=f"push-{i}")
    client.close()
