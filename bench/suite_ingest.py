# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of writing: B1 to B6, B13, B17."""
import machine
import peers
from suite import benchmark

BATCH = 500


def floor(b, ours, records, clients):
    """The machine's own limit beside ours: no target, but what a target can be judged by."""
    for peer in b.others("floor", "floor-receive"):
        b.note({"floor": "floor: a server that receives the body, hashes it, writes it durably, answers, and does nothing else",
                "floor-receive": "floor-receive: the same without hash and disk"}[peer.name])
        b.compare(f"{peer.name}, {clients} client{'s' if clients > 1 else ''}", lambda: b.run(ours, records, clients=clients),
                  lambda: b.run(peer, records, clients=clients))


@benchmark("B1", "batches of 500 records of 1 KB, durable when acknowledged", disk=True)
def batch_ingest(b):
    targets = {"redis": ">=15", "postgres": ">=10", "kafka": ">=5", "kinesalite": ">=50", "kinesis-local": ">=50"}
    ours = b.headrace()
    for peer in b.others("redis", "postgres", "kafka", "kinesalite", "kinesis-local"):
        if not peer.durable:
            b.note(f"{peer.name} does not wait for the disk: it promises less than ours")
        # Emulators need seconds for a batch: one comparison is enough.
        counts = (4,) if isinstance(peer, peers.Kinesis) else (1, 4, 16) if b.thorough else (1, 4)
        for clients in counts:
            b.compare(f"{peer.name}, {clients} client{'s' if clients > 1 else ''}",
                      lambda: b.run(ours, BATCH, clients=clients),
                      lambda: b.run(peer, BATCH, clients=clients), target=targets[peer.name])
    floor(b, ours, BATCH, 4)
    b.profile("4 clients", ours, records=BATCH, clients=4)
    rates = [row["ours"]["cpu_us_per_record"]["median"] for row in b.rows if "ours" in row]
    if rates:
        b.value("records per second and processor, of what the server's processor time allows", "rate",
                [1e6 / cpu for cpu in rates], scale=1e6)
        threads = machine.threads_of_a_core(machine.together())
        b.value(f"records per second and core ({threads} processor{'s' if threads > 1 else ''})", "rate",
                [threads * 1e6 / cpu for cpu in rates], target=">=0.7", scale=1e6)


@benchmark("B2", "durable batches against peers that do not wait for the disk", disk=True)
def unsynced_challenge(b):
    targets = {"redis-everysec": ">=7", "kafka-default": ">=1.5"}
    ours = b.headrace()
    for peer in b.others("redis-everysec", "kafka-default"):
        b.compare(f"{peer.name}, 4 clients", lambda: b.run(ours, BATCH, clients=4),
                  lambda: b.run(peer, BATCH, clients=4), target=targets[peer.name])


@benchmark("B3", "one record of 1 KB at a time, one client: latency")
def single_put_latency(b):
    ours = b.headrace()
    for peer in b.others("redis", "postgres"):
        b.compare(f"{peer.name}: p50, ours to theirs", lambda: b.run(ours), lambda: b.run(peer), "p50_us")
    b.probe_disk()
    runs = b.repeat(lambda: b.run(ours))
    b.probe_disk()
    for name, target in (("p50_us", "<=1.5"), ("p99_us", "<=3")):
        b.value(f"{name[:3]}, of a raw durable write of 4 KiB", name, runs.of(name), target=target, unit="us",
                scale=b.disk_median(4096, name), runs=runs)
    floor(b, ours, 1, 1)
    b.profile("one client", ours)


@benchmark("B4", "one record of 1 KB a request, many connections, against nginx that answers 200", disk=True)
def single_put_throughput(b):
    # The server is built for thousands of connections; its default limit is a limit of this benchmark only.
    ours = b.headrace("--http-connections", "20000")

    def put(peer, connections, inflight=0):
        return b.run(peer, clients=connections, loops=1, inflight=inflight)

    for peer in b.others("nginx"):
        for connections in (16, 64, 256, 1024):
            b.compare(f"HTTP/1.1, {connections} connections", lambda: put(ours, connections),
                      lambda: put(peer, connections), target=">=1")
        b.compare("HTTP/2 with 16 times 16 requests under way, to nginx with HTTP/1.1 and 256",
                  lambda: put(ours, 16, 16), lambda: put(peer, 256), target=">=2.5")
    for peer in b.others("nginx-h2"):
        b.compare("HTTP/2, both, 16 times 16 requests under way", lambda: put(ours, 16, 16), lambda: put(peer, 16, 16))
    b.profile("HTTP/1.1, 256 connections", ours, clients=256, loops=1)
    for peer in b.others("redis"):
        b.compare("Redis, 64 connections", lambda: put(ours, 64), lambda: b.run(peer, clients=64), target=">=2.3")


@benchmark("B5", "batches spread over 1 to 10,000 shards, against one shard", disk=True)
def shards(b):
    ours = b.headrace()
    points = []
    for count in (1, 10, 100, 1000, 10000):
        if count == 1:
            continue
        row = b.compare(f"{count} shards, 4 clients", lambda: b.run(ours, BATCH, clients=4, shards=count),
                        lambda: b.run(ours, BATCH, clients=4, shards=1),
                        target=">=0.85" if count == 10000 else None)
        if not points:
            points.append((1, row["theirs"]["rate"]["median"]))
        points.append((count, row["ours"]["rate"]["median"]))
        if count == 10000:
            b.add({"label": "10000 shards: p99, to that of one", "measure": "p99_us", "ratio": row["ratios"]["p99_us"]},
                  "<=1.5")
    b.series["rate"] = points


SIZES = ((1 << 10, 500), (4 << 10, 500), (16 << 10, 400), (64 << 10, 100), (256 << 10, 24), (1 << 20, 6),
         ((10 << 20) - 64, 1))  # with its key a request of 10 MiB


@benchmark("B6", "records of 1 KB to 10 MB, against the raw disk")
def record_size(b):
    ours = b.headrace()
    client = ours.client()
    client.call("CreateStream", StreamName="sizes", ShardCount=4, MaxRecordSizeInKiB=10240)
    client.close()
    b.probe_disk()
    measured = []
    for size, records in SIZES:
        b.say(f"  {size} bytes, {records} a request, 4 clients")
        measured.append((size, b.repeat(lambda: b.run(ours, records, size, clients=4, place="sizes"))))
    b.probe_disk()
    device = b.disk_median(1 << 20, "mb_s")
    b.series["mb_s"] = []
    for size, runs in measured:
        row = b.value(f"records of {size} bytes, of the raw disk's MB/s", "rate", runs.of("mb_s"), unit="MB/s", scale=device,
                      target=">=0.7" if size >= 64 << 10 else None, runs=runs)
        b.series["mb_s"].append((size, row["values"]["median"]))


@benchmark("B13", "the cost of the payload hash and of TLS", disk=True)
def hash_and_tls(b):
    checked = b.headrace()
    unchecked = b.headrace(profile="dev", name="headrace-dev")
    b.compare("signatures and hashes checked, to nothing checked (profile dev)",
              lambda: b.run(checked, BATCH, clients=4), lambda: b.run(unchecked, BATCH, clients=4), target=">=0.62")
    b.compare("with TLS, to without", lambda: b.run(checked, BATCH, clients=4, tls=1),
              lambda: b.run(checked, BATCH, clients=4))
    b.note("the target of the suite compares with a build that hashes one body at a time, which there is none of; "
           "0.62 is what that target leaves of a server that does not hash")


@benchmark("Z1", "three zones on one disk, against one directory")
def zones(b):
    ours = b.headrace()
    for mirrored in b.others("zones"):
        for records, clients in ((BATCH, 1), (BATCH, 4), (1, 1)):
            b.compare(f"{records} record{'s' if records > 1 else ''} a request, {clients} client{'s' if clients > 1 else ''}: "
                      "CPU, three zones to one", lambda: b.run(mirrored, records, clients=clients),
                      lambda: b.run(ours, records, clients=clients), "cpu_us_per_record")
