#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ext4 and XFS cut in the middle of a write, below the real program.

The server's file system is in an image, on a loop device, over a file on the disk of tests/lossyfs: a
flush of the device becomes a sync of that file, and a cut loses what the device had not flushed, sector
by sector. Then the image that is left is mounted, the file system replays its own journal, the server
starts on what it finds, and what lossy.py checks must hold.

    tests/images.py --program build-asan/headrace --rounds 100 --seed 7 ext4

Needs root, loop devices and the tools of the file systems; what is missing is skipped and said.
"""
import os
import subprocess
import sys
import time

import lossy
import tap

IMAGE_MIB = 320  # sparse; XFS takes no less than 300
ROUNDS = 5       # of each file system
OPERATIONS_MAX = {"write": 600, "fsync": 300}  # of the device: after how many a cut may come


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


class Image(lossy.Mount):
    """A file system in an image on a loop device over the lossy disk."""

    operations_max = OPERATIONS_MAX
    kind, make, check = None, None, None  # of the file system

    def __init__(self):
        super().__init__()
        self.path, self.device = os.path.join(self.folder, "disk"), None
        os.mkdir(self.path)
        image = os.path.join(self.backing, "image")
        with open(image, "wb") as file:
            file.truncate(IMAGE_MIB << 20)
        try:
            run(*self.make, image)
        except OSError:  # it is not there, or will not
            self.remove()
            raise

    def start(self):
        super().start()
        # Direct, so that no page cache but the one of the file system in the image is in between.
        self.device = run("losetup", "--find", "--show", "--direct-io=on", os.path.join(self.fuse, "image"))
        run("mount", "-t", self.kind, self.device, self.path)

    def end(self):
        end = time.monotonic() + lossy.END_SECONDS_MAX
        while lossy.is_mounted(self.path):
            try:
                run("umount", self.path)
            except OSError:  # io_uring lets go of files a while after its process has ended
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        if self.device is not None:
            run("losetup", "--detach", self.device)
            self.device = None
        super().end()

    def verify(self):
        """The file system is whole after all its cuts: else the disk below was no fair one."""
        run(*self.check, os.path.join(self.backing, "image"))


class Ext4(Image):
    kind = "ext4"
    make = ("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard")
    check = ("fsck.ext4", "-f", "-n")


class Xfs(Image):
    """A machine whose power is gone answers nobody; here it runs on over a dead device for a moment. In
    it fdatasync of a file that has grown was seen to succeed on XFS (Linux 6.18) although the file's new
    size was not on the device, also for a program of ten lines. So answers from then do not count."""

    kind = "xfs"
    keeps_errors = False
    make = ("mkfs.xfs", "-q", "-f", "-K")
    check = ("xfs_repair", "-n")


def rounds_of(report, kind):
    name = f"{kind.kind} power cuts"
    reason = lossy.obstacle(kind)
    if reason:
        report.skipped(name, reason)
        report.skipped(f"{kind.kind}: a device that ignores flushes is found", reason)
        return
    lossy.power_cuts(report, name, kind())

    def ignored_flushes():
        assert lossy.is_found(kind(), "op=fsync"), "acknowledged records were lost and nobody noticed"

    report.run(f"{kind.kind}: a device that ignores flushes is found", ignored_flushes)


def main():
    lossy.set_options(lossy.parser(rounds=ROUNDS).parse_args())
    report = tap.Tap()
    for kind in (Ext4, Xfs):
        if lossy.is_wanted(kind.kind):
            rounds_of(report, kind)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
