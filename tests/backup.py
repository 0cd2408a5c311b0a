#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Backups of a server that works: what was acknowledged before a backup began is in it, with its
sequence number; a second one stores only what is new; damage to any byte is found; and whoever is
killed in the middle, the repository stays usable.

    tests/backup.py --program build/headrace --seed 7
"""
import argparse
import base64
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import boto3
import botocore.config
import headrace
import tap

SMALL = ["--journal-file-size", "1MiB", "--journal-reserve", "1MiB", "--journal-seal-size", "2MiB"]
EXIT_USAGE, EXIT_NOT_FOUND, EXIT_AUTH, EXIT_CORRUPT = 2, 3, 4, 12
SECONDS_MAX = 180
MADE = re.compile(r"(\S+)\t(\d+) records, .*; (\d+) new objects, ")
PROGRAM, SEED = None, 0
STREAM = "clicks"


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE", "AWS_"))}
    return {**kept, "AWS_ACCESS_KEY_ID": headrace.KEY_ID, "AWS_SECRET_ACCESS_KEY": headrace.SECRET, **more}


def run(*arguments, status=0, **more):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=SECONDS_MAX,
                          env=environment(**more), stdin=subprocess.DEVNULL)
    assert status is None or done.returncode == status, \
        f"status {done.returncode}, not {status}\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


class World:
    """A server, a place for backups, and writers that remember what was acknowledged and when."""

    def __init__(self, *arguments):
        self.server = headrace.Server(PROGRAM, *SMALL, *arguments)
        self.repository = self.server.data_dir + "-backups"
        self.restored = self.server.data_dir + "-restored"
        self.random = random.Random(SEED)
        self.acknowledged = []  # (when, shard, sequence number, data)
        self.sent, self.lock, self.stopping, self.threads = set(), threading.Lock(), False, []

    def __enter__(self):
        self.server.start()
        self.client = self.server.client()
        self.client.create_stream(STREAM, shards=3)
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join()
        self.server.remove()
        shutil.rmtree(self.repository, ignore_errors=True)
        shutil.rmtree(self.restored, ignore_errors=True)

    def put(self, client, n=20, size=2000):
        datas = [os.urandom(self.random.randrange(8, size)) for _ in range(n)]
        with self.lock:
            self.sent.update(datas)
        answer = client.call("PutRecords", StreamName=STREAM, Records=[
            {"Data": base64.b64encode(d).decode(), "PartitionKey": d.hex()[:8]} for d in datas])
        when = time.monotonic()
        with self.lock:
            self.acknowledged += [(when, r["ShardId"], r["SequenceNumber"], d)
                                  for r, d in zip(answer["Records"], datas) if "SequenceNumber" in r]

    def fill(self, bytes_least, size=40000):
        before = sum(len(a[3]) for a in self.acknowledged)
        while sum(len(a[3]) for a in self.acknowledged) - before < bytes_least:
            self.put(self.client, 20, size)

    def load(self, threads=3):
        def work():
            client = self.server.client()
            while not self.stopping:
                try:
                    self.put(client)
                except (OSError, http.client.HTTPException):
                    time.sleep(0.05)  # it was killed; it comes again
        for _ in range(threads):
            self.threads.append(threading.Thread(target=work))
            self.threads[-1].start()

    def end_load(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()
        self.threads, self.stopping = [], False

    def backup(self, *arguments, status=0):
        out, _ = run("backup", "create", "--to", self.repository, "--endpoint", self.server.url, *arguments,
                     status=status)
        return MADE.match(out)

    def restore(self, *arguments):
        shutil.rmtree(self.restored, ignore_errors=True)
        run("backup", "restore", self.repository, "--data-dir", self.restored, *arguments)
        return headrace.Server(PROGRAM, *SMALL, data_dir=self.restored)


def read_all(client):
    return {(shard, number): data for shard in client.shards(STREAM)
            for number, data, _ in client.read_shard(STREAM, shard)}


def expect_restored(world, before, *arguments):
    """Everything acknowledged before that time is there; nothing that was never sent; it goes on."""
    server = world.restore(*arguments)
    try:
        server.start()
        client = server.client()
        found = read_all(client)
        expected = {(shard, number): data for when, shard, number, data in world.acknowledged if when < before}
        missing = [k for k in expected if k not in found]
        assert not missing, f"{len(missing)} of {len(expected)} are missing, such as {missing[0]}"
        assert all(found[k] == d for k, d in expected.items())
        assert all(d in world.sent for d in found.values())
        known = {(shard, number): data for _, shard, number, data in world.acknowledged}
        assert all(found[k] == known[k] for k in found if k in known)
        newest = {}
        for _, shard, number, _ in world.acknowledged:
            newest[shard] = max(newest.get(shard, 0), int(number))
        for i in range(30):
            answer = client.put(STREAM, b"later", str(i))
            assert int(answer["SequenceNumber"]) > newest.get(answer["ShardId"], 0), "a number was given again"
        server.stop()
        return len(expected)
    finally:
        server.kill()


@tap.test
def what_was_acknowledged_before_a_backup_under_load_is_restored_from_it():
    with World() as world:
        world.fill(3 << 20)
        world.load()
        ids = []
        for _ in range(3):
            before = time.monotonic()
            made = world.backup()
            ids.append((made[1], before))
        world.end_load()
        run("backup", "verify", world.repository)
        world.server.stop()
        for backup, before in (ids[0], ids[-1]):
            assert expect_restored(world, before, "--id", backup) > 0
        out, _ = run("store", "check", "--data-dir", world.restored)
        assert out.startswith("ok\t"), out


@tap.test
def a_second_backup_stores_only_what_is_new():
    with World() as world:
        world.fill(4 << 20)
        first = world.backup()
        objects = set(objects_of(world.repository))
        world.put(world.client)
        second = world.backup()
        new = set(objects_of(world.repository)) - objects
        assert int(second[3]) == len(new) <= 3, f"{second[3]} new objects, {len(new)} files"  # container, checkpoint, kv
        assert int(first[3]) == len(objects) >= 3
        listed = [json.loads(line) for line in
                  run("backup", "list", world.repository, "--json")[0].splitlines()]
        assert [b["id"] for b in listed] == [first[1], second[1]]
        assert listed[1]["records"] == len(world.acknowledged)
        run("backup", "prune", world.repository, "--keep", "1")
        out, _ = run("backup", "verify", world.repository)
        assert second[1] in out and first[1] not in out
        world.server.stop()
        expect_restored(world, time.monotonic())


def objects_of(repository):
    return [os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(repository, "objects"))
            for name in names]


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


@tap.test
def a_flipped_byte_in_any_object_is_found():
    with World() as world:
        world.fill(1 << 20)
        world.backup()
        world.put(world.client)
        world.backup()
        run("backup", "verify", world.repository)
        for path in objects_of(world.repository):
            at = world.random.randrange(os.path.getsize(path))
            flip(path, at)
            _, err = run("backup", "verify", world.repository, status=EXIT_CORRUPT)
            assert os.path.basename(path) in err, err
            flip(path, at)
        run("backup", "verify", world.repository)
        name = os.listdir(os.path.join(world.repository, "backups"))[0]
        flip(os.path.join(world.repository, "backups", name), 40)
        _, err = run("backup", "verify", world.repository, status=EXIT_CORRUPT)
        assert name in err, err


def all_files(folder):
    return {os.path.join(f, name) for f, _, names in os.walk(folder) for name in names}


def wait_for_change(folder):
    before, end = all_files(folder), time.monotonic() + 30
    while all_files(folder) == before and time.monotonic() < end:
        time.sleep(0.005)


def complete(repository):
    path = os.path.join(repository, "backups")
    return {n for n in os.listdir(path) if n.endswith(".json")} if os.path.isdir(path) else set()


@tap.test
def a_server_that_is_killed_in_the_middle_leaves_the_earlier_backups_and_goes_on():
    with World() as world:
        world.fill(2 << 20)
        world.backup()
        interrupted = 0
        for round in range(8):
            world.fill(2 << 20)
            before = complete(world.repository)
            cli = subprocess.Popen([PROGRAM, "backup", "create", "--to", world.repository, "--endpoint",
                                    world.server.url], env=environment(), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if round % 2:  # while it stores, else anywhere
                wait_for_change(world.repository)
            time.sleep(world.random.random() * (0.2 if round % 2 else 1.5))
            world.server.kill()
            cli.wait(SECONDS_MAX)
            interrupted += complete(world.repository) == before
            run("backup", "verify", world.repository)
            world.server.start()
            world.client = world.server.client()
        print(f"# {interrupted} of 8 backups did not end")
        world.backup()
        assert not [p for p in objects_of(world.repository) if p.endswith(".new")]
        run("backup", "verify", world.repository)
        world.server.stop()
        expect_restored(world, time.monotonic())


@tap.test
def a_command_that_is_killed_leaves_the_backup_to_the_server():
    with World() as world:
        world.fill(2 << 20)
        cli = subprocess.Popen([PROGRAM, "backup", "create", "--to", world.repository, "--endpoint",
                                world.server.url], env=environment(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        cli.kill()
        cli.wait()
        end = time.monotonic() + SECONDS_MAX
        while time.monotonic() < end:  # one at a time: until it has ended, another is refused
            out = subprocess.run([PROGRAM, "backup", "create", "--to", world.repository, "--endpoint",
                                  world.server.url], env=environment(), stdin=subprocess.DEVNULL,
                                 capture_output=True, text=True, timeout=SECONDS_MAX)
            if out.returncode == 0:
                break
            assert "running" in out.stderr, out.stderr
        run("backup", "verify", world.repository)


@tap.test
def a_stopped_server_is_backed_up_from_its_directory_and_secrets_only_when_asked():
    server = headrace.Server(PROGRAM, *SMALL)
    repository, restored = server.data_dir + "-backups", server.data_dir + "-restored"
    for name in ("HEADRACE_ACCESS_KEY_ID", "HEADRACE_SECRET_ACCESS_KEY"):
        del server.environment[name]
    try:
        server.start()
        key, secret = (next(line.split("=")[1] for line in server.log if name in line)
                       for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
        client = server.client(key_id=key, secret=secret)
        client.create_stream(STREAM)
        number = client.put(STREAM, b"hello", "k")["SequenceNumber"]
        server.stop()
        for asked in (False, True):
            shutil.rmtree(restored, ignore_errors=True)
            run("backup", "create", "--to", repository, "--data-dir", server.data_dir,
                *(["--with-credentials"] if asked else []))
            run("backup", "restore", repository, "--data-dir", restored)
            path = os.path.join(restored, "credentials")
            assert os.path.exists(path) == asked
            if asked:
                assert os.stat(path).st_mode & 0o777 == 0o600 and secret in open(path, encoding="ascii").read()
        again = headrace.Server(PROGRAM, *SMALL, data_dir=restored)
        again.environment = server.environment
        try:
            again.start()
            client = again.client(key_id=key, secret=secret)
            shard = client.shards(STREAM)[0]
            assert client.read_shard(STREAM, shard) == [(number, b"hello", "k")]
            again.stop()
        finally:
            again.kill()
    finally:
        server.remove()
        shutil.rmtree(repository, ignore_errors=True)
        shutil.rmtree(restored, ignore_errors=True)


def s3_of(server):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=SECONDS_MAX)
    return boto3.client("s3", region_name="us-east-1", endpoint_url=server.url, config=config,
                        aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)


@tap.test
def objects_are_restored_as_they_were_when_others_were_put_and_removed_meanwhile():
    with World() as world:
        s3 = s3_of(world.server)
        s3.create_bucket(Bucket="kept")
        sizes = (0, 100, 20000, 300000, 3 << 20)
        for i in range(40):
            s3.put_object(Bucket="kept", Key=f"first/{i}", Body=world.random.randbytes(sizes[i % len(sizes)]))
        world.random.seed(SEED)

        def churn():
            own, n = s3_of(world.server), 0
            while not world.stopping:
                own.put_object(Bucket="kept", Key=f"churn/{n % 7}", Body=os.urandom(200000))
                own.delete_object(Bucket="kept", Key=f"churn/{(n + 3) % 7}")
                n += 1

        world.threads.append(threading.Thread(target=churn, daemon=True))
        world.threads[-1].start()
        assert world.backup() and world.backup()
        world.stopping = True
        for thread in world.threads:
            thread.join()
        run("backup", "verify", world.repository)
        server = world.restore()
        try:
            server.start()
            restored = s3_of(server)
            found = {o["Key"]: o for o in restored.list_objects_v2(Bucket="kept")["Contents"]}
            assert all(f"first/{i}" in found for i in range(40)), sorted(found)
            for key, o in found.items():
                data = restored.get_object(Bucket="kept", Key=key)["Body"].read()
                assert hashlib.md5(data).hexdigest() == o["ETag"].strip('"') and len(data) == o["Size"], key
            restored.put_object(Bucket="kept", Key="later", Body=b"x" * 100000)
            server.stop()
        finally:
            server.kill()


@tap.test
def a_server_of_three_zones_is_backed_up_running_and_stopped():
    server = headrace.Server(PROGRAM, *SMALL)
    zones = [f"{server.data_dir}-zone-{i}" for i in range(3)]
    places = [word for zone in zones for word in ("--zones", zone)]
    server.arguments += [*places, "--zones-lag", "60s"]
    repository, restored = server.data_dir + "-backups", server.data_dir + "-restored"
    try:
        server.start()
        client = server.client()
        client.create_stream(STREAM)
        put = [client.put(STREAM, b"%d" % i, "k")["SequenceNumber"] for i in range(20)]
        run("backup", "create", "--to", repository, "--data-dir", server.data_dir, *places)
        put += [client.put(STREAM, b"%d" % i, "k")["SequenceNumber"] for i in range(20, 30)]
        server.stop()
        run("backup", "create", "--to", repository, "--data-dir", server.data_dir, *places)
        run("backup", "verify", repository)
        run("backup", "restore", repository, "--data-dir", restored)  # into one directory
        again = headrace.Server(PROGRAM, *SMALL, data_dir=restored)
        try:
            again.start()
            client = again.client()
            found = client.read_shard(STREAM, client.shards(STREAM)[0])
            assert [number for number, _, _ in found] == put
            again.stop()
        finally:
            again.kill()
    finally:
        server.remove()
        for folder in [*zones, repository, restored]:
            shutil.rmtree(folder, ignore_errors=True)


@tap.test
def what_cannot_be_is_refused_with_its_reason():
    with World() as world:
        endpoint = ["--endpoint", world.server.url]
        status, _, _ = world.client.send("POST", "/_headrace/admin/backup", {"Host": "127.0.0.1"},
                                         b'{"to":"/tmp/never"}')
        assert status == 403, status
        run("backup", "create", "--to", world.repository, *endpoint, status=EXIT_AUTH,
            AWS_SECRET_ACCESS_KEY="wrong")
        run("backup", "list", world.repository, status=EXIT_NOT_FOUND)
        world.put(world.client)
        world.backup()
        _, err = run("backup", "restore", world.repository, "--data-dir", world.server.data_dir, status=EXIT_USAGE)
        assert "not empty" in err
        _, err = run("backup", "restore", world.repository, "--data-dir", world.restored, "--id", "none",
                     status=EXIT_NOT_FOUND)
        _, err = run("backup", "create", "--to", world.server.data_dir, *endpoint, status=EXIT_USAGE)
        assert "other files" in err, err
        run("backup", "create", *endpoint, status=EXIT_USAGE)
        run("backup", "prune", world.repository, status=EXIT_USAGE)
        # What a restore has not finished is no data directory.
        shutil.copytree(os.path.join(world.server.data_dir, "journal"), os.path.join(world.restored, "journal"))
        _, err = run("serve", "--data-dir", world.restored, "--listen", "127.0.0.1:0", status=EXIT_CORRUPT)
        assert "FORMAT" in err, err


@tap.test
def a_running_server_says_what_it_holds_and_verifies_it():
    with World() as world:
        world.fill(4 << 20)
        world.backup()  # everything is sealed
        endpoint = ["--endpoint", world.server.url]
        stat = json.loads(run("store", "stat", "--json", *endpoint)[0])
        assert stat["from"] == "server" and stat["data_dir"] == world.server.data_dir
        assert stat["containers"]["day"]["records"] == len(world.acknowledged)
        out, _ = run("store", "check", *endpoint)
        assert f"{len(world.acknowledged)} records" in out, out
        path = os.path.join(world.server.data_dir, "journal", "sealed")
        first = os.path.join(path, sorted(os.listdir(path))[0])
        flip(first, 4096 + 500)
        _, err = run("store", "check", *endpoint, status=EXIT_CORRUPT)
        assert os.path.basename(first) in err, err
        flip(first, 4096 + 500)
        run("store", "check", *endpoint)
        dumped = [json.loads(line) for line in
                  run("store", "dump", "--stream", STREAM, "--json", *endpoint)[0].splitlines()]
        assert {(d["shard_id"], d["sequence_number"]) for d in dumped} == \
            {(shard, number) for _, shard, number, _ in world.acknowledged}
        world.server.process.send_signal(signal.SIGTERM)
        world.server.process.wait(SECONDS_MAX)


def main():
    global PROGRAM, SEED
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    PROGRAM, SEED = os.path.abspath(options.program), options.seed
    print(f"# seed {SEED}")
    return tap.main(options.names)


if __name__ == "__main__":
    sys.exit(main())
