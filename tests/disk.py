#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, read-only or failing: writes are refused with an AWS error, nothing acknowledged
is lost, and service resumes when the disk does, at the latest after a restart. While a disk is full,
reading goes on. When it has failed, the server ends with its own status, or serves readers, as it was
told.

The data directory is an ext4 file system in a file, mounted for the test, so root and loop devices are
needed; elsewhere every test is skipped and says so.

    tests/disk.py --program build/headrace
"""
import argparse
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import boto3
import botocore.config
import botocore.exceptions
import headrace
import tap

EXIT_DISK = 14
STAYS = ["--on-disk-failure", "read-only"]

IMAGE_MIB = 256            # sparse: takes what is written
SMALL_JOURNAL = ["--journal-file-size", "8MiB", "--journal-reserve", "16MiB"]  # soon full
LEFT_FREE_BYTES = 3 << 20  # what the filler leaves when the disk is "full"
FILL_PUTS_MAX = 400        # of RECORD_BYTES: more than the image could take
RECORD_BYTES = 900_000
RESUME_SECONDS_MAX = 240
EXT4_IOC_SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2
STREAM, SHARD = "disk", "shardId-000000000000"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


class Disk:
    """An ext4 file system of its own that can be filled, made read-only and broken."""

    def __init__(self):
        os.makedirs(headrace.DATA, exist_ok=True)
        self.folder = tempfile.mkdtemp(dir=headrace.DATA)
        self.image, self.mount_point = os.path.join(self.folder, "image"), os.path.join(self.folder, "disk")
        os.mkdir(self.mount_point)
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_MIB << 20)
        run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
        self.filler = os.path.join(self.mount_point, "filler")
        self.data_dir = os.path.join(self.mount_point, "data")
        self.mount()

    def mount(self, *options):
        run("mount", "-o", ",".join(["loop", "errors=remount-ro", *options]), self.image, self.mount_point)

    def is_mounted(self):
        with open("/proc/mounts", encoding="utf-8") as file:
            return any(line.split()[1] == self.mount_point for line in file)

    def unmount(self):
        """As soon as io_uring has let go of files: a while after its process has ended."""
        end = time.monotonic() + RESUME_SECONDS_MAX
        while self.is_mounted():
            try:
                run("umount", self.mount_point)
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def device(self):
        with open("/proc/mounts", encoding="utf-8") as file:
            return next(line.split()[0] for line in file if line.split()[1] == self.mount_point)

    def fill(self):
        space = os.statvfs(self.mount_point)
        with open(self.filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(space.f_bavail * space.f_frsize - LEFT_FREE_BYTES, 4096))

    def drain(self):
        os.unlink(self.filler)

    def make_read_only(self):
        """As ext4 does after an error of the device; it stays so until it is mounted anew."""
        name = os.path.basename(self.device())
        with open(f"/sys/fs/ext4/{name}/trigger_fs_error", "w", encoding="utf-8") as file:
            file.write("1")

    def make_fail(self):
        """Every access fails from now on, and what ext4 had not written is lost."""
        folder = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(folder)

    def repair(self):
        self.unmount()
        subprocess.run(["fsck.ext4", "-p", "-f", self.image], stdin=subprocess.DEVNULL, capture_output=True)
        self.mount()

    def remove(self):
        self.unmount()
        shutil.rmtree(self.folder, ignore_errors=True)


class Bench:
    """A server on such a disk, and what it acknowledged."""

    def __init__(self, program, *flags):
        self.disk, self.put = Disk(), []
        os.mkdir(self.disk.data_dir)
        self.server = headrace.Server(program, *SMALL_JOURNAL, *flags, data_dir=self.disk.data_dir)
        self.server.start()
        self.client = self.server.client()
        self.client.create_stream(STREAM)

    def put_one(self, size=1000):
        data = os.urandom(size)
        self.put.append((self.client.put(STREAM, data, "k")["SequenceNumber"], data, "k"))

    def is_refused(self, size=1000):
        """One put: True if it was refused with an AWS error."""
        try:
            self.put_one(size)
        except headrace.AwsError as error:
            assert error.kind is not None and error.status in (400, 500, 503), error
            return True
        return False

    def put_until_refused(self, size=RECORD_BYTES):
        for _ in range(FILL_PUTS_MAX):
            if self.is_refused(size):
                return
        raise AssertionError(f"{FILL_PUTS_MAX} records went onto a full or failed disk")

    def check_all_there(self):
        got = self.client.read_shard(STREAM, SHARD)
        promised = {number for number, _, _ in self.put}
        there = {record[0]: record for record in got}
        lost = [number for number in promised if number not in there]
        assert not lost, f"{len(lost)} of {len(promised)} acknowledged records are lost"
        wrong = [r[0] for r in self.put if there[r[0]] != r]
        assert not wrong, f"{wrong[0]} came back changed"
        numbers = [int(r[0]) for r in got]
        assert numbers == sorted(set(numbers)), "sequence numbers do not strictly increase"

    def check_resumes(self):
        end = time.monotonic() + RESUME_SECONDS_MAX
        while self.is_refused():
            assert time.monotonic() < end, f"puts are still refused after {RESUME_SECONDS_MAX} s"
            time.sleep(0.2)
        self.check_all_there()

    def check_ends(self):
        """The server ends by itself, with the status of a failed disk."""
        try:
            status = self.server.process.wait(headrace.STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise AssertionError("the disk has failed twice and the server is still there") from None
        assert status == EXIT_DISK, f"the server ended with status {status}"

    def check_is_as_promised_after_repair(self):
        self.client.close()
        self.server.kill()
        self.disk.repair()
        self.server.start()
        self.client.wait_active(STREAM)
        self.check_all_there()
        self.check_resumes()

    def restart(self):
        self.client.close()
        self.server.kill()
        self.server.start()
        self.client.wait_active(STREAM)

    def end(self):
        self.client.close()
        self.server.kill()
        self.disk.remove()


def with_bench(*flags):
    """A test gets a server with these flags on a disk of its own."""
    def register(test):
        def body():
            bench = Bench(PROGRAM, *flags)
            try:
                test(bench)
            except Exception:
                print(f"# the server said:\n{bench.server.tail()}".replace("\n", "\n#"), flush=True)
                raise
            finally:
                bench.end()

        body.__name__ = test.__name__
        return tap.test(body)
    return register


PROGRAM = None  # set by main


@with_bench()
def a_full_disk_refuses_writes_and_serves_again_when_space_returns(bench):
    bench.put_one()
    bench.disk.fill()
    bench.put_until_refused()
    bench.check_all_there()
    bench.disk.drain()
    bench.check_resumes()
    bench.server.stop()


@with_bench()
def a_full_disk_and_kill_9_lose_nothing(bench):
    bench.put_one()
    bench.disk.fill()
    bench.put_until_refused()
    bench.restart()
    bench.check_all_there()
    bench.disk.drain()
    bench.check_resumes()
    bench.restart()
    bench.check_all_there()


@with_bench()
def objects_can_be_removed_from_a_full_disk_and_then_there_is_space(bench):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=240)
    s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=bench.server.url, config=config,
                      aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)
    s3.create_bucket(Bucket="full")
    kept = []

    def put(size):
        try:
            s3.put_object(Bucket="full", Key=f"k{len(kept)}", Body=os.urandom(size))
        except botocore.exceptions.ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503, error.response
            return False
        kept.append(f"k{len(kept)}")
        return True

    assert all(put(1 << 20) for _ in range(8))
    bench.disk.fill()
    for size in (1 << 20, 50000, 1000):  # until not even a row has room
        end = time.monotonic() + RESUME_SECONDS_MAX
        while put(size):
            assert time.monotonic() < end, "the disk does not become full"
    assert len(s3.get_object(Bucket="full", Key="k0")["Body"].read()) == 1 << 20
    s3.delete_object(Bucket="full", Key="k0")
    s3.delete_objects(Bucket="full", Delete={"Objects": [{"Key": key} for key in kept[1:6]]})
    end = time.monotonic() + RESUME_SECONDS_MAX
    while not put(1 << 20):
        assert time.monotonic() < end, "there is no space though objects were removed"
        time.sleep(0.2)
    found = s3.list_objects_v2(Bucket="full")["Contents"]
    assert "k0" not in [o["Key"] for o in found] and kept[-1] in [o["Key"] for o in found]


@with_bench()
def stream_operations_on_a_full_disk_are_done_or_refused_with_an_aws_error(bench):
    bench.disk.fill()
    bench.put_until_refused()
    for number in range(20):
        try:
            bench.client.call("CreateStream", StreamName=f"more-{number}", ShardCount=1)
        except headrace.AwsError as error:
            assert error.kind is not None, error
    names = bench.client.call("ListStreams")["StreamNames"]
    bench.disk.drain()
    bench.check_resumes()
    bench.restart()
    assert bench.client.call("ListStreams")["StreamNames"] == names


@with_bench()
def a_disk_that_becomes_read_only_ends_the_server_with_its_own_status(bench):
    for _ in range(50):
        bench.put_one()
    bench.disk.make_read_only()
    bench.put_until_refused(1000)  # with an answer, not with a closed connection
    bench.check_ends()
    bench.check_is_as_promised_after_repair()


@with_bench()
def a_disk_that_fails_ends_the_server_also_while_a_client_sends_for_ever(bench):
    for _ in range(50):
        bench.put_one()
    bench.put_one(RECORD_BYTES)
    slow = socket.create_connection(("127.0.0.1", bench.server.port))
    slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    bench.client.call("ListStreams")  # the server has seen the other connection
    bench.disk.make_fail()
    bench.put_until_refused(1000)
    bench.check_ends()
    slow.close()
    bench.check_is_as_promised_after_repair()


@with_bench(*STAYS)
def a_disk_that_becomes_read_only_refuses_writes_and_loses_nothing(bench):
    for _ in range(50):
        bench.put_one()
    bench.disk.make_read_only()
    refusals = [bench.is_refused() for _ in range(20)]
    assert refusals[-1], "puts still succeed on a read-only disk"
    bench.check_all_there()
    bench.check_is_as_promised_after_repair()


@with_bench(*STAYS)
def a_disk_that_fails_refuses_writes_and_what_was_acknowledged_is_on_it(bench):
    for _ in range(50):
        bench.put_one()
    bench.put_one(RECORD_BYTES)
    bench.disk.make_fail()
    refusals = [bench.is_refused() for _ in range(20)]
    assert refusals[-1], "puts still succeed on a failed disk"
    bench.server.process.send_signal(signal.SIGTERM)  # only when it is asked to end
    bench.check_ends()
    bench.check_is_as_promised_after_repair()


@with_bench()
def a_server_does_not_start_on_a_read_only_disk_and_says_why(bench):
    bench.put_one()
    bench.client.close()
    bench.server.stop()
    run("mount", "-o", "remount,ro", bench.disk.mount_point)
    bench.server.spawn()
    status = bench.server.wait_end(headrace.READY_SECONDS_MAX)
    bench.server.kill()
    said = bench.server.tail()
    assert status > 0 and "Read-only" in said and "Ready." not in bench.server.log, f"status {status}:\n{said}"
    run("mount", "-o", "remount,rw", bench.disk.mount_point)
    bench.server.start()
    bench.check_all_there()
    bench.server.stop()


def obstacle():
    """Why no disk can be made here, or None."""
    if os.geteuid() != 0:
        return "mounting a disk needs root"
    try:
        disk = Disk()
    except (OSError, FileNotFoundError) as error:
        return f"no disk could be mounted: {error}"
    disk.remove()
    return None


def main():
    global PROGRAM
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    PROGRAM = options.program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is mounted is unmounted
    reason = obstacle()
    if reason:
        report = tap.Tap()
        for function in tap.TESTS:
            report.skipped(function.__name__.replace("_", " "), reason)
        return report.end()
    return tap.main(options.words)


if __name__ == "__main__":
    sys.exit(main())
