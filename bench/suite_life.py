# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of a server's life: B10 restart, B11 memory, B12 overload."""
import threading
import time

import machine
import pairs
import soak
from suite import Load, benchmark
from suite_read import BATCH, RECORD_BYTES, batches_for, fill, wait_until_sealed

UNSEALED_MB, UNSEALED_MB_THOROUGH = 256, 1024
SEALED_MB, SEALED_MB_THOROUGH = (200, 800), (1000, 4000)
EQUAL_MB = 1000  # of records, in both
KEEP_ALL = ("--journal-seal-size", "4GiB")
SEAL_SOON = ("--journal-file-size", "16MiB", "--journal-seal-size", "32MiB")
GIB4_MB = 4 * (1 << 30) / machine.MB
IDLE_SHARDS = (1, 1000, 10_000)
SHARDS_AT_ONCE = 1000  # of one stream
STORED_MB = 400
CALM_SECONDS = 2
OVERLOAD_CONNECTIONS, OVERLOAD_SHARDS, OVERLOAD_SECONDS_LEAST, PEAK_SECONDS = 256, 256, 20, 8
VERIFY_SECONDS_MAX = 300
OVERLOADED_SHARE_MAX = 0.75  # of twice the peak: what took more was not overloaded


def restart(b, peer):
    """kill -9, and the time until it serves again."""
    peer.kill()
    b.wait()
    foreign = machine.Foreign()
    run = {"name": peer.name, "seconds": peer.start()}
    run["foreign"], _ = foreign.end(machine.family_seconds(peer.pid()))
    b.say(f"    {peer.name}: {run['seconds']:.2f} s")
    return run


@benchmark("B10", "restart after kill -9")
def recovery(b):
    mb = UNSEALED_MB_THOROUGH if b.thorough else UNSEALED_MB
    equal = b.headrace(name="headrace-as-it-comes")
    fill(b, equal, "stored", EQUAL_MB)
    for peer in b.others("redis"):
        Load("redis", peer.port, "stored", clients=4, records=BATCH, bytes=RECORD_BYTES, batches=batches_for(EQUAL_MB),
             seconds=600).end()
        b.compare(f"{EQUAL_MB} MB stored, killed at once, to Redis with as much",
                  lambda: restart(b, equal), lambda: restart(b, peer), "seconds", "<=0.1")
    equal.stop()
    ours = b.headrace(*KEEP_ALL)
    fill(b, ours, "unsealed", mb)
    runs = b.repeat(lambda: restart(b, ours))
    b.value(f"{mb} MB, of which nothing is sealed yet", "s", runs.of("seconds"), runs=runs)
    b.value("4 GiB of journal, as computed from this", "s", [s * GIB4_MB / mb for s in runs.of("seconds")], target="<=5",
            runs=runs)
    sealed(b)


def sealed(b):
    """The same unsealed end behind little and behind much that is sealed."""
    sizes = SEALED_MB_THOROUGH if b.thorough else SEALED_MB
    little, much = (b.headrace(*SEAL_SOON, name=f"headrace-{mb}MB") for mb in sizes)
    for server, mb in zip((little, much), sizes):
        fill(b, server, "sealed", mb)
        wait_until_sealed(server)
    b.compare(f"{sizes[1]} MB stored, to {sizes[0]} MB", lambda: restart(b, much), lambda: restart(b, little),
              "seconds", "<=1.5")


@benchmark("B11", "memory of an idle server: shards, and what is stored")
def memory(b):
    resident, there = {}, 0
    server = b.headrace()
    client = server.client()
    for shards in IDLE_SHARDS:
        while there < shards:
            more = min(shards - there, SHARDS_AT_ONCE)
            client.create_stream(f"idle-{there}", more)
            there += more
        resident[shards] = calm_rss_mb(server)
        b.value(f"{shards} idle shards", "MB", [resident[shards]], target="<=64" if shards == 10_000 else None)
    client.close()
    few, many = IDLE_SHARDS[1:]
    b.value("one idle shard, beyond the first thousand", "KB",
            [(resident[many] - resident[few]) * 1000 / (many - few)], target="<=0.3")
    b.series["rss_mb"] = list(resident.items())
    stored(b)


def stored(b):
    server = b.headrace(*SEAL_SOON, name="headrace-stored")
    before = calm_rss_mb(server)
    fill(b, server, "stored", STORED_MB)
    wait_until_sealed(server)
    b.value("an empty server", "MB", [before])
    b.value(f"{STORED_MB} MB stored, caches full", "MB", [calm_rss_mb(server)])
    server.stop()
    server.start()
    b.value(f"{STORED_MB} MB stored, after a restart", "MB", [calm_rss_mb(server)])


def calm_rss_mb(server):
    """The least of some samples: what requests under way needed has gone by then."""
    end, least = time.monotonic() + CALM_SECONDS, float("inf")
    while time.monotonic() < end:
        least = min(least, machine.memory_of(server.pid())["rss_mb"])
        time.sleep(0.1)
    return least


# ---- Overload

class Windows:
    """What the soak's generator has counted, second by second."""

    def __init__(self):
        self.lock, self.all = threading.Lock(), []

    def add(self, window):
        with self.lock:
            self.all.append(window)

    def since(self, number):
        with self.lock:
            return self.all[number:]


def rate(windows, name):
    seconds = sum(w["seconds"] for w in windows)
    return sum(w[name] for w in windows) / seconds if seconds else 0.0


@benchmark("B12", "twice the load that the server can take")
def overload(b):
    soak.build_load()
    server = b.headrace()
    streams = [("overload", OVERLOAD_SHARDS, 24, 1, "hot")]
    client = server.client()
    client.create_stream("overload", OVERLOAD_SHARDS)
    client.close()
    windows = Windows()
    generator = soak.Generator(server.port, 1, windows.add, streams, OVERLOAD_CONNECTIONS, window=1)
    b.stack.callback(generator.process.kill)
    b.wait()
    foreign = machine.Foreign(server.pid(), generator.process.pid)
    generator.tell("closed")
    time.sleep(PEAK_SECONDS)
    peak_windows = windows.since(2)
    requests, peak = rate(peak_windows, "requests"), rate(peak_windows, "records")
    b.say(f"  peak {peak:.0f} records/s, {requests:.0f} requests/s")
    rss = machine.memory_of(server.pid())["rss_mb"]
    generator.tell(f"open {2 * requests:.1f}")
    seconds = max(OVERLOAD_SECONDS_LEAST, 6 * b.options.seconds)
    first = len(windows.since(0)) + 1
    time.sleep(seconds)
    over = windows.since(first)
    b.say(f"  {seconds} s at twice that: {rate(over, 'records'):.0f} records/s, backlog of the clients "
          f"{over[-1]['backlog_us'] / 1e6:.1f} s, {sum(w['refused'] for w in over)} records refused, "
          f"{sum(w['broken'] + w['errors'] for w in over)} requests failed")
    if rate(over, "records") >= 2 * peak * OVERLOADED_SHARE_MAX:
        b.note("it was no overload: the server took nearly all that came, so that the peak was measured too low")
    runs = pairs.Runs()
    runs.disturbed = foreign.end(0)[0] > pairs.FOREIGN_MAX
    b.value("records per second under twice the load, to the peak", "rate", [rate(over, "records")], ">=0.95", scale=peak,
            runs=runs)
    b.value("memory at its end, to that at the peak", "RSS", [machine.memory_of(server.pid())["rss_mb"]], "<=1.3", scale=rss)
    b.series["records_per_s"] = [(i, w["records"] / w["seconds"]) for i, w in enumerate(windows.since(0))]
    verify(b, generator, windows)
    generator.close()


def verify(b, generator, windows):
    """Everything is read back and held against what was acknowledged: content, order, number."""
    generator.tell("pause")
    good = generator.paused.wait(VERIFY_SECONDS_MAX)
    generator.tell("verify")
    good = good and generator.verified.wait(VERIFY_SECONDS_MAX)
    acknowledged = sum(w["records"] for w in windows.since(0))
    if not good:
        raise RuntimeError("reading everything back did not end")
    if generator.violations or generator.troubles:
        raise RuntimeError((generator.violations + generator.troubles)[0])
    b.note(f"read back: {acknowledged:,} acknowledged records, none lost, changed, twice or out of order")
