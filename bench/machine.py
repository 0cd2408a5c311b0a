# SPDX-License-Identifier: Apache-2.0
"""What the machine does: who uses its processors, whether it is quiet, how much memory a program holds."""
import functools
import hashlib
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor

TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()
MB = 1e6
IS_KERNEL_THREAD = 0x00200000  # of a process's flags
QUIET_IDLE_LEAST, QUIET_SECONDS = 0.94, 0.25


def stat_of(pid):
    """The fields of /proc/PID/stat behind the name; None if it has gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None


def all_stats():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_of(entry)
            if fields:
                yield int(entry), fields


def processor_seconds(pid):
    """User and system time of one process; OSError if it has gone."""
    fields = stat_of(pid)
    if fields is None:
        raise ProcessLookupError(f"process {pid} has gone")
    return sum(map(int, fields[11:13])) / TICKS


def family_seconds(pid):
    """User and system time of a process with its children, those that have ended included."""
    total = 0.0
    for other, fields in all_stats():
        if other == pid:
            total += sum(map(int, fields[11:15])) / TICKS
        elif int(fields[1]) == pid:
            total += sum(map(int, fields[11:13])) / TICKS
    return total


def family(pid):
    return [pid] + [other for other, fields in all_stats() if int(fields[1]) == pid]


def kernel_threads():
    """Processor seconds of each of the kernel's own threads: they work for whoever uses the disk."""
    return {pid: sum(map(int, fields[11:13])) / TICKS for pid, fields in all_stats()
            if int(fields[6]) & IS_KERNEL_THREAD}


def growth(before, after):
    """What the threads that still are there have used since, and new ones in all."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def cpu_line():
    with open("/proc/stat", encoding="utf-8") as file:
        return list(map(int, file.readline().split()[1:9]))


def machine_seconds():
    """Processor time that any program has used, what a hypervisor took away included."""
    user, nice, system, _, _, irq, softirq, steal = cpu_line()
    return (user + nice + system + irq + softirq + steal) / TICKS


def program_seconds():
    """The same without interrupts, which nobody can be charged with."""
    user, nice, system, _, _, _, _, steal = cpu_line()
    return (user + nice + system + steal) / TICKS


def memory_of(pid):
    found = {}
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            name, value = line.split(":", 1)
            if name in ("VmRSS", "RssAnon", "RssFile"):
                found[name] = int(value.split()[0]) * 1024 / MB
    return {"rss_mb": found["VmRSS"], "anon_mb": found["RssAnon"], "file_mb": found["RssFile"]}


def family_rss_mb(pid):
    """Resident memory of a process and its children; what they share counts once, in shares."""
    children = family(pid)
    if len(children) == 1:
        return memory_of(pid)["rss_mb"]
    total = 0
    for child in children:
        try:
            with open(f"/proc/{child}/smaps_rollup", encoding="utf-8") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024 / MB
        except (OSError, StopIteration):
            pass  # it ended meanwhile
    return total


# ---- Quiet and disturbed

def idle_share(before, after):
    spent = [b - a for a, b in zip(before, after)]
    total = sum(spent)
    return (spent[3] + spent[4]) / total if total else 1.0


def wait_until_quiet(seconds_max):
    """Waits until the machine was idle for a quarter of a second, or gives up: (it was, idle share)."""
    end = time.monotonic() + seconds_max
    while True:
        before = cpu_line()
        time.sleep(QUIET_SECONDS)
        idle = idle_share(before, cpu_line())
        if idle > QUIET_IDLE_LEAST:
            return True, idle
        if time.monotonic() >= end:
            return False, idle


class Foreign:
    """Processor time that neither the measured servers nor their clients nor we have used, as a share of the
    whole machine."""

    def __init__(self, *processes):
        self.processes = processes
        self.begin = time.monotonic()
        self.before = self.read()

    def read(self):
        ours = os.times()
        return {"programs": program_seconds(), "kernel": kernel_threads(), "ours": ours.user + ours.system,
                "servers": [family_seconds(pid) for pid in self.processes]}

    def end(self, clients_seconds):
        """(foreign share, processor seconds of each server)"""
        before, after, wall = self.before, self.read(), time.monotonic() - self.begin
        servers = [b - a for a, b in zip(before["servers"], after["servers"])]
        spent = {"programs": after["programs"] - before["programs"], "ours": after["ours"] - before["ours"],
                 "kernel": growth(before["kernel"], after["kernel"]), "servers": sum(servers)}
        return foreign_share(spent, clients_seconds, wall, CORES), servers


UNRESOLVED_TICKS = 2  # of each processor: at the begin and at the end


def foreign_share(spent, clients_seconds, wall_seconds, cores):
    """What the kernel's clock does not resolve is nobody's: in a run of a tenth of a second it would decide."""
    known = spent["kernel"] + spent["servers"] + spent["ours"] + clients_seconds + UNRESOLVED_TICKS * cores / TICKS
    return max(spent["programs"] - known, 0.0) / (wall_seconds * cores)


TOGETHER_SECONDS = 0.4
THREADS_OF_A_CORE = 1.5  # processors that together do less than so many times the work of one share a core


def hashed_bytes(seconds):
    """How much one thread hashes; hashlib lets others run meanwhile."""
    block, end, count = b"h" * (1 << 20), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        hashlib.sha256(block).digest()
        count += len(block)
    return count


@functools.lru_cache
def together(seconds=TOGETHER_SECONDS):
    """How many times the work of one the processors do when all are busy: the whole number of them if each is a core,
    little more than half of it if two are the threads of one. The best of three, for others may be at work."""
    best = 0
    for _ in range(3):
        alone = hashed_bytes(seconds)
        with ThreadPoolExecutor(CORES) as pool:
            best = max(best, sum(pool.map(hashed_bytes, [seconds] * CORES)) / alone)
    return best


def threads_of_a_core(measured):
    return 2 if CORES > 1 and measured < CORES / 2 * THREADS_OF_A_CORE else 1


def describe():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {"processors": CORES, "model": model, "memory_gib": round(memory), "kernel": platform.release(),
            "together": round(together(), 2)}
