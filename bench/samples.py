# SPDX-License-Identifier: Apache-2.0
"""Where a server's processor time goes: samples of perf, put into groups that mean something to a reader."""
import os
import re
import shutil
import signal
import subprocess

SAMPLES_A_SECOND = 999
LEAST_SHARE = 0.005

# Name, thread, shared object, symbol: the first that fits all of them.
GROUPS = [(name, *(re.compile(pattern) for pattern in patterns)) for name, *patterns in (
    ("sealing (its own thread): packing", "log-expiry", "libzstd", ""),
    ("sealing (its own thread): everything else", "log-expiry", "", ""),
    ("SHA-256 of bodies, signatures", "", "libcrypto|headrace", "(?i)sha256|sha_ni|hmac"),
    ("MD5 of partition keys", "", "", "(?i)md5"),
    ("CRC32C of blocks", "", "", "(?i)crc32"),
    ("base64", "", "headrace", "base64"),
    ("copying in user space", "", "libc", "mem(move|cpy|set)"),
    ("kernel: copying to and from sockets", "", r"\[kernel", "copy_user|copyin|copyout|rep_movs|_copy_(to|from)_iter"),
    ("kernel: TCP and sockets", "", r"\[kernel", "tcp|skb|sock|inet|ip_|__ip|net_|netif|dev_|loopback|nf_|sk_"),
    ("kernel: waiting for events and switching tasks", "", r"\[kernel",
     "epoll|futex|sched|switch|pick_next|dequeue|enqueue|wake|select_task|update_(load|curr|rq)|eventfd|idle"),
    ("kernel: the disk", "", r"\[kernel", "blk|bio|dio|ext4|jbd2|iomap|virtio|io_(uring|submit|req|issue)|pin_user|gup|xfs"),
    ("kernel: memory", "", r"\[kernel", "page|fault|alloc|free|lru|rcu|zap|mmap|clear_"),
    ("kernel: entering, leaving, interrupts and the rest", "", r"\[kernel|\[vdso|hypercall", ""),
    ("JSON, checks, routing, the journal's blocks", "", "headrace", ""),
    ("libraries: the rest", "", "", ""),
)]


def group_of(thread, library, symbol):
    for name, *patterns in GROUPS:
        if all(pattern.search(text) for pattern, text in zip(patterns, (thread, library, symbol))):
            return name
    raise AssertionError("the last group takes everything")


def missing():
    """Why there can be no profile; None: there can."""
    if shutil.which("perf") is None:
        return "there is no perf"
    return None


def grouped(lines):
    """{group: share} of perf's report, a line each: share;thread;library;symbol."""
    shares = {}
    for line in lines:
        parts = [part.strip() for part in line.split(";")]
        if len(parts) < 4 or not parts[0].endswith("%"):
            continue
        name = group_of(*parts[1:4])
        shares[name] = shares.get(name, 0.0) + float(parts[0][:-1]) / 100
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


class Sampling:
    """Samples of one process and its threads while it is open."""

    def __init__(self, pid, folder):
        self.file = os.path.join(folder, "perf.data")
        self.process = subprocess.Popen(["perf", "record", "-F", str(SAMPLES_A_SECOND), "-p", str(pid), "-o", self.file],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        report = subprocess.run(["perf", "report", "-i", self.file, "--no-children", "--stdio", "-t", ";",
                                 "--percent-limit", "0", "-F", "overhead,comm,dso,sym"],
                                capture_output=True, text=True, check=False).stdout
        os.remove(self.file)
        return grouped(report.splitlines())
