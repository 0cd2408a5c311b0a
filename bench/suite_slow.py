# SPDX-License-Identifier: Apache-2.0
"""B17: the same on a disk whose flush takes 2.6 ms (network block storage) or 10 ms (a hard disk).

The disk is tests/lossyfs, a FUSE file system, with a delay of everything that makes data durable. It is
slower than the device also where it need not be, so that only ratios on it mean anything."""
import os
import subprocess
from types import SimpleNamespace

import fetch
import headrace
import lossy
import peers
from suite import benchmark

LOSSYFS = os.path.join("tests", "lossyfs", "headrace-lossyfs")
DELAYS_US = (2600, 10000)
BATCH = 500


def build(b):
    """Whether there is the disk."""
    folder = os.path.dirname(os.path.abspath(b.options.program))
    done = subprocess.run(["ninja", "-C", folder, LOSSYFS], capture_output=True, text=True)
    program = os.path.join(folder, LOSSYFS)
    if done.returncode != 0 or not os.path.exists(program):
        return None
    lossy.OPTIONS = SimpleNamespace(lossyfs=program)
    return program


@benchmark("B17", "disks whose flush takes 2.6 and 10 ms")
def slow_disk(b):
    if build(b) is None:
        b.note("left out: there is no libfuse 3 to build tests/lossyfs with")
        return
    for delay_us in DELAYS_US:
        mount = lossy.Mount()
        try:
            mount.start()
            b.helpers = [mount.process.pid]
        except OSError as why:
            b.note(f"left out: no FUSE file system can be mounted: {why}")
            mount.remove()
            return
        try:
            on_disk(b, mount, delay_us)
        finally:
            mount.remove()
    b.note("PostgreSQL is left out: it would not run as root, and the mount is root's alone")


def on_disk(b, mount, delay_us):
    name = f"{delay_us / 1000:g} ms"
    mount.command(f"delay op=sync us={delay_us}")
    b.disk = {}
    b.probe_disk(mount.fuse)
    ours = peers.Headrace(mount.fuse, b.options.program)
    ours.start()
    try:
        compare_with_redis(b, mount, ours, name)
        runs = b.repeat(lambda: b.run(ours, BATCH, clients=64))
        b.value(f"{name}: MB/s of 64 clients, of the raw disk's at 1 MiB", "rate", runs.of("mb_s"), ">=0.5",
                scale=b.disk_median(1 << 20, "mb_s"), runs=runs)
        runs = b.repeat(lambda: b.run(ours))
        b.value(f"{name}: p50 of single puts, of a raw durable write", "us", runs.of("p50_us"), "<=1.5",
                scale=b.disk_median(4096, "p50_us"), runs=runs)
    finally:
        ours.stop()


def compare_with_redis(b, mount, ours, name):
    try:
        peers.Redis.install()
    except fetch.NotInstalled as why:
        b.note(f"redis is left out: {why}")
        return
    theirs = peers.Redis(mount.fuse)
    theirs.start()
    try:
        b.compare(f"{name}: redis, batches, 4 clients", lambda: b.run(ours, BATCH, clients=4),
                  lambda: b.run(theirs, BATCH, clients=4), target=">=15")
    finally:
        theirs.stop()
