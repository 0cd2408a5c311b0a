# SPDX-License-Identifier: Apache-2.0
"""Scale: S1 idle connections, S2 loaded shards, S3 tenants, S4 the cost of a record over connections."""
import resource
import socket
import time

import machine
from suite import benchmark

BATCH = 100
IDLE_CONNECTIONS, SETTLE_SECONDS = 10_000, 0.3
SHARDS = 1000
TENANTS = 100
CONNECTIONS = (1, 4, 16, 64, 256, 1000)


def served_connection(port):
    """One that has had an answer: a server bounds those that have not said anything."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET /_headrace/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 200"), "a new connection is not served"
    return connection


@benchmark("S1", "10,000 idle connections beside a few busy ones")
def idle_connections(b):
    server = b.headrace("--http-connections", "20000", "--http-idle-timeout", "1h")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE_CONNECTIONS, files[1] - 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    if count < IDLE_CONNECTIONS:
        b.note(f"only {count} connections: the limit of open files is {files[1]}")
    idle = []

    def connect():
        while len(idle) < count:
            idle.append(served_connection(server.port))
        time.sleep(SETTLE_SECONDS)

    def disconnect():
        while idle:
            idle.pop().close()
        time.sleep(SETTLE_SECONDS)

    def with_idle():
        connect()
        return b.run(server, clients=16, loops=1)

    def without():
        disconnect()
        return b.run(server, clients=16, loops=1)

    before = machine.memory_of(server.pid())["rss_mb"]
    connect()
    b.value("memory of an idle connection", "KB", [(machine.memory_of(server.pid())["rss_mb"] - before) * 1000 / count])
    row = b.compare("records/s with the idle connections, to without", with_idle, without, target=">=0.9")
    row["names"] = ["with idle ones", "without"]
    disconnect()


@benchmark("S2", "1,000 shards under load")
def loaded_shards(b):
    server = b.headrace()
    row = b.compare("1000 shards, 64 connections, to 4 shards", lambda: b.run(server, BATCH, clients=64, shards=SHARDS),
                    lambda: b.run(server, BATCH, clients=64, shards=4), target=">=0.85")
    row["names"] = [f"{SHARDS} shards", "4 shards"]


@benchmark("S3", "100 tenants, each an account with a stream of its own")
def tenants(b):
    server = b.headrace(profile="dev")
    for number in range(TENANTS):
        client = server.client()
        client.key_id = f"{number + 1:012d}"
        client.create_stream(f"tenant-{number}", 1)
        client.close()
    server.make("alone", 100)
    row = b.compare("100 accounts of one shard, to one stream of 100 shards, 100 connections",
                    lambda: b.run(server, BATCH, clients=TENANTS, place="tenant", streams=TENANTS, accounts=TENANTS),
                    lambda: b.run(server, BATCH, clients=TENANTS, place="alone"), target=">=0.9")
    row["names"] = ["100 tenants", "one"]
    b.note("accounts exist in the profile dev only, which does not check signatures")


@benchmark("S4", "what a record costs the server, from 1 to 1,000 connections")
def cost_over_connections(b):
    server = b.headrace("--http-connections", "20000")
    for records in (1, BATCH):
        points = []
        for connections in CONNECTIONS:
            b.say(f"  {records} a request, {connections} connections")
            runs = b.repeat(lambda: b.run(server, records, clients=connections, loops=1))
            row = b.value(f"{records} record{'s' if records > 1 else ''} a request, {connections} connections", "us of CPU a record",
                          runs.of("cpu_us_per_record"), runs=runs)
            points.append((connections, row["values"]["median"]))
        b.series[f"cpu_us_{records}"] = points
