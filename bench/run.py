#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: Headrace beside its peers, on the same disk, in the same minutes, in pairs.

    bench/run.py [--workload B1] [--pairs 5] [--seconds 4] [--clients 1,4] [--peers redis,postgres]

  B1  batch ingest: PutRecords of 500 records of 1 KB, signed, durable when acknowledged
  B3  single puts: PutRecord of 1 KB, one client, durable when acknowledged

A pair is one run of each, and the order turns from pair to pair (ABBA), so that a disk or a machine
that grows faster or slower favours nobody. What is compared is the median over the pairs; the smallest
and largest ratio show how far it can be trusted. Peers promise the same: Redis Streams with
`appendfsync always`, PostgreSQL COPY with `fsync` and `synchronous_commit` on. One that is not
installed is left out, with a line that says so. The raw disk is measured before and after.
`--peers zones` compares one directory with three zones on the same disk.
"""
import argparse
import glob
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import headrace  # noqa: E402

LOAD = os.path.join(ROOT, "build", "bench", "load")
SOURCES = [os.path.join(ROOT, "bench", f"{n}.c") for n in ("load", "net", "probe", "call", "kinesis", "redis", "postgres")]
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 30
SHARDS = 4
WORKLOADS = {"B1": {"records": 500, "clients": [1, 4]}, "B3": {"records": 1, "clients": [1]}}


def build_load():
    os.makedirs(os.path.dirname(LOAD), exist_ok=True)
    if not os.path.exists(LOAD) or any(os.path.getmtime(s) > os.path.getmtime(LOAD) for s in SOURCES):
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-g", "-D_GNU_SOURCE", "-std=gnu17", "-Wall",
                        "-o", LOAD, *SOURCES, "-lcrypto", "-lpthread"], check=True)


def load(*arguments, environment=None):
    run = subprocess.run([LOAD, *map(str, arguments)], capture_output=True, text=True,
                         env={**os.environ, **(environment or {})})
    if run.returncode != 0:
        raise SystemExit(f"load {' '.join(map(str, arguments))}: {run.stderr.strip()} {run.stdout.strip()}")
    return json.loads(run.stdout)


def processor_seconds(pid):
    """User and system time of a process with all its children, those that have ended included."""
    total = 0.0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(entry) == pid:
            total += sum(map(int, fields[11:15])) / TICKS
        elif int(fields[1]) == pid:
            total += sum(map(int, fields[11:13])) / TICKS
    return total


def wait_for_port(port):
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing came to listen on port {port}")


class Peer:
    """A system under load. `stream` makes a fresh place for the records of one run."""

    name = load_name = None

    def __init__(self, folder):
        self.folder, self.port, self.process, self.runs = folder, headrace.free_port(), None, 0
        self.environment = {}

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()

    def run(self, clients, seconds, records, record_bytes):
        self.runs += 1
        place = self.stream(f"bench{self.runs}")
        before = processor_seconds(self.process.pid)
        result = load(self.load_name, self.port, place, clients, seconds, records, record_bytes,
                      environment=self.environment)
        spent = processor_seconds(self.process.pid) - before
        result["cpu_us_per_record"] = spent * 1e6 / max(result["records"], 1)
        self.forget(place)
        return result


class Headrace(Peer):
    name, load_name = "headrace", "kinesis"

    def __init__(self, folder, program):
        super().__init__(folder)
        self.server = headrace.Server(program, data_dir=os.path.join(folder, "headrace"), port=self.port)
        os.makedirs(self.server.data_dir, exist_ok=True)
        self.environment = {"HEADRACE_ACCESS_KEY_ID": headrace.KEY_ID,
                            "HEADRACE_SECRET_ACCESS_KEY": headrace.SECRET}

    def start(self):
        self.server.start()
        self.process = self.server.process

    def stop(self):
        self.server.stop()

    def stream(self, name):
        with_client = self.server.client()
        with_client.create_stream(name, SHARDS)
        with_client.close()
        return name

    def forget(self, name):
        client = self.server.client()
        client.call("DeleteStream", StreamName=name)
        client.close()


class Zones(Headrace):
    """Headrace with three zones on the same disk: what the mirror costs, in time and in processors."""

    name = "zones"

    @staticmethod
    def is_installed():
        return True

    def __init__(self, folder, program):
        super().__init__(folder, program)
        zones = [os.path.join(folder, "zones", name) for name in "abc"]
        self.server.data_dir = os.path.join(folder, "zones", "data")
        self.server.arguments = [word for zone in zones for word in ("--zones", zone)]


class Redis(Peer):
    name = load_name = "redis"

    @staticmethod
    def is_installed():
        return shutil.which("redis-server") is not None

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
             "--save", "", "--appendonly", "yes", "--appendfsync", "always",
             "--auto-aof-rewrite-percentage", "0"], stdout=subprocess.DEVNULL)
        wait_for_port(self.port)

    def command(self, text):
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(text.encode() + b"\r\n")
            return s.recv(4096)

    def stream(self, name):
        return name

    def forget(self, name):
        self.command(f"DEL {name}")


class Postgres(Peer):
    name = load_name = "postgres"

    @staticmethod
    def programs():
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
        return os.path.dirname(found[-1]) if found else None

    @classmethod
    def is_installed(cls):
        return cls.programs() is not None

    def start(self):
        owner = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
        data = os.path.join(self.folder, "postgres")
        os.mkdir(data, 0o700)
        if owner:
            shutil.chown(data, "nobody", "nogroup")
        for folder in (self.folder, os.path.dirname(self.folder)):
            os.chmod(folder, 0o755)
        binaries = self.programs()
        subprocess.run([f"{binaries}/initdb", "-U", "bench", "-A", "trust", "-D", data, "--no-instructions"],
                       check=True, stdout=subprocess.DEVNULL, cwd="/", **owner)
        self.process = subprocess.Popen([f"{binaries}/postgres", "-D", data, "-p", str(self.port), "-k", data,
                                         "-h", "127.0.0.1", "-c", "max_wal_size=8GB"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **owner)
        wait_for_port(self.port)
        self.sql("create database bench", "postgres")

    def sql(self, text, database="bench"):
        subprocess.run(["psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "-d", database,
                        "-c", text], check=True, stdout=subprocess.DEVNULL)

    def stream(self, name):
        self.sql(f"create table {name} (id bigserial primary key, data text)")
        return name

    def forget(self, name):
        self.sql(f"drop table {name}")


PEERS = {"redis": Redis, "postgres": Postgres, "zones": Zones}


def show_disk(folder, when):
    for size in (4096, 1 << 20):
        r = load("disk", folder, size, 2)
        print(f"disk {when}: {size >> 10:5d} KiB direct, synchronous: p50 {r['p50_us']} us, "
              f"p99 {r['p99_us']} us, {r['mb_s']:.1f} MB/s", flush=True)


def show_run(name, result):
    print(f"    {name:9s} {result['rate']:11.0f} records/s   p50 {result['p50_us']:7d} us   "
          f"p99 {result['p99_us']:7d} us   server CPU {result['cpu_us_per_record']:7.2f} us/record", flush=True)


def pair(ours, theirs, number, arguments):
    order = (ours, theirs) if number % 2 == 0 else (theirs, ours)
    results = {}
    for peer in order:
        results[peer.name] = peer.run(*arguments)
        show_run(peer.name, results[peer.name])
    return results[ours.name], results[theirs.name]


def compare(title, ours, theirs, pairs, arguments):
    print(f"{title}: headrace and {theirs.name}")
    results = [pair(ours, theirs, number, arguments) for number in range(pairs)]

    def ratios(value):
        return sorted(value(o, t) for o, t in results)

    for what, value in (("rate", lambda o, t: o["rate"] / t["rate"]),
                        ("p50 latency", lambda o, t: o["p50_us"] / max(t["p50_us"], 1)),
                        ("p99 latency", lambda o, t: o["p99_us"] / max(t["p99_us"], 1)),
                        ("CPU per record", lambda o, t: o["cpu_us_per_record"] / max(t["cpu_us_per_record"], 1e-9))):
        all_of = ratios(value)
        print(f"  {title}, headrace / {theirs.name}, {what}: {statistics.median(all_of):.2f} "
              f"(from {all_of[0]:.2f} to {all_of[-1]:.2f} in {pairs} pairs)", flush=True)


def alone(title, ours, pairs, arguments):
    print(f"{title}: headrace alone")
    for _ in range(pairs):
        show_run(ours.name, ours.run(*arguments))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "headrace"))
    parser.add_argument("--workload", choices=sorted(WORKLOADS), action="append")
    parser.add_argument("--peers", default="redis,postgres")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--clients", help="numbers of clients, instead of the workload's own")
    parser.add_argument("--record-bytes", type=int, default=1024)
    options = parser.parse_args()

    build_load()
    os.makedirs(headrace.DATA, exist_ok=True)
    folder = tempfile.mkdtemp(dir=headrace.DATA)
    ours, theirs = Headrace(folder, options.program), []
    for name in filter(None, options.peers.split(",")):
        if PEERS[name].is_installed():
            theirs.append(Zones(folder, options.program) if name == "zones" else PEERS[name](folder))
        else:
            print(f"{name} is not installed: left out")
    started = []
    try:
        show_disk(folder, "before")
        for peer in (ours, *theirs):
            peer.start()
            started.append(peer)
        for title in options.workload or sorted(WORKLOADS):
            workload = WORKLOADS[title]
            for clients in map(int, options.clients.split(",")) if options.clients else workload["clients"]:
                arguments = (clients, options.seconds, workload["records"], options.record_bytes)
                label = f"{title}, {clients} client{'s' if clients > 1 else ''}"
                for peer in theirs:
                    compare(label, ours, peer, options.pairs, arguments)
                if not theirs:
                    alone(label, ours, options.pairs, arguments)
        show_disk(folder, "after")
    finally:
        for peer in started:
            peer.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
