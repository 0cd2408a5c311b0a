#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The crash loop of objects: writers over HTTP, kill -9 at random moments, restart, compare.

Each writer has keys of its own, so that what a key may hold is known: what was acknowledged last or, of the
call that was under way when the server was killed, what it would have made. After every restart:
  - every key holds exactly that, whole; a key that was removed is gone;
  - the listing shows those keys and no other, with their sizes and ETags;
  - an upload that was not completed is listed and can be completed; nothing of one that was is left;
  - in a versioned bucket every acknowledged version is there;
and at the end, when everything is removed, nothing is left of it on the disk.

    tests/s3_crash.py --program build/headrace --rounds 25 --seed 7

A failed run says its seed and keeps its data directory.
"""
import argparse
import hashlib
import os
import random
import sys
import threading
import time

import boto3
import botocore.config
from botocore.exceptions import BotoCoreError, ClientError

import headrace
import tap

PLAIN, VERSIONED = "plain", "versioned"
WRITERS, KEYS = 4, 12
ROUND_SECONDS = (0.2, 1.5)
SLOW_FACTOR = 4  # as many rounds at most, on a busy machine, until enough was done in them
PART = 5 << 20
SIZES = (0, 1, 1000, 16 << 10, (16 << 10) + 1, 128 << 10, 300_000, 2 << 20)
GONE_SECONDS_MAX = 240
LEFT_BYTES_MAX = 64 << 10  # directories


def client(server):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=240,
                                    s3={"addressing_style": "path"})
    return boto3.client("s3", region_name="us-east-1", endpoint_url=server.url, config=config,
                        aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)


def digest(data):
    return len(data), hashlib.md5(data).hexdigest()


ABSENT = None


class Writer(threading.Thread):
    """Changes its own keys until the server is gone; knows what each may hold."""

    def __init__(self, server, number, rng, held):
        super().__init__(daemon=True)
        self.s3, self.random, self.held = client(server), rng, held  # held: key -> the states it may be in
        self.keys = [f"w{number}/{'ü' * (n % 3)}{n}/key {n}" for n in range(KEYS)]
        self.uploads, self.versions, self.trouble, self.acknowledged = {}, {}, None, 0

    def content(self):
        return self.random.randbytes(self.random.choice(SIZES))

    def state_of(self, key):
        return self.held.get(key, {ABSENT})

    def change(self, key, after, call):
        """One call that, when it is acknowledged, leaves the key with `after`."""
        self.held[key] = self.state_of(key) | {after}
        reply = call()
        self.held[key] = {after}
        self.acknowledged += 1
        return reply

    def put(self, key):
        data = self.content()
        self.change(key, digest(data), lambda: self.s3.put_object(Bucket=PLAIN, Key=key, Body=data))

    def remove(self, key):
        self.change(key, ABSENT, lambda: self.s3.delete_object(Bucket=PLAIN, Key=key))

    def copy(self, key):
        source = self.random.choice(self.keys)
        states = self.state_of(source)
        if source == key or len(states) != 1 or ABSENT in states:
            return
        self.change(key, next(iter(states)), lambda: self.s3.copy_object(
            Bucket=PLAIN, Key=key, CopySource={"Bucket": PLAIN, "Key": source}))

    def upload(self, key):
        data = self.random.randbytes(PART + self.random.choice(SIZES))
        made = self.s3.create_multipart_upload(Bucket=PLAIN, Key=key)["UploadId"]
        self.uploads[made] = (key, [])
        parts = []
        for n, at in enumerate(range(0, len(data), PART), 1):
            etag = self.s3.upload_part(Bucket=PLAIN, Key=key, UploadId=made, PartNumber=n, Body=data[at:at + PART])["ETag"]
            parts.append({"PartNumber": n, "ETag": etag})
            self.uploads[made] = (key, list(parts))
        if self.random.random() < 0.2:
            return  # left to be found by the checks
        self.change(key, digest(data), lambda: self.s3.complete_multipart_upload(
            Bucket=PLAIN, Key=key, UploadId=made, MultipartUpload={"Parts": parts}))
        del self.uploads[made]

    def version(self, key):
        data = self.content()
        made = self.s3.put_object(Bucket=VERSIONED, Key=key, Body=data)["VersionId"]
        self.versions[made] = (key, digest(data))
        self.acknowledged += 1

    def run(self):
        acts = (self.put, self.put, self.put, self.remove, self.copy, self.upload, self.version)
        try:
            while True:
                self.random.choice(acts)(self.random.choice(self.keys))
        except BotoCoreError:
            pass  # killed: what was not acknowledged may or may not be there
        except ClientError as error:
            self.trouble = f"a call was refused: {error}"
        except Exception as error:
            self.trouble = f"a call was answered badly: {type(error).__name__}: {error}"


class Loop:
    def __init__(self, program, seed):
        self.random, self.seed = random.Random(seed), seed
        self.server = headrace.Server(program)
        self.held, self.versions, self.uploads = {}, {}, {}
        self.acknowledged = self.kills = 0

    def fail(self, text):
        raise AssertionError(f"{text} (seed {self.seed}, data in {self.server.data_dir})")

    def round(self):
        writers = [Writer(self.server, n, random.Random(self.random.random()), self.held) for n in range(WRITERS)]
        for writer in writers:
            writer.start()
        time.sleep(self.random.uniform(*ROUND_SECONDS))
        self.server.kill()
        self.kills += 1
        for writer in writers:
            writer.join(240)
            if writer.trouble:
                self.fail(writer.trouble)
            self.acknowledged += writer.acknowledged
            self.versions.update(writer.versions)
            self.uploads.update(writer.uploads)
        self.server.start()
        self.check()

    def check(self):
        s3 = client(self.server)
        listed = {}
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=PLAIN, PaginationConfig={"PageSize": 7}):
            for entry in page.get("Contents", ()):
                if entry["Key"] in listed:
                    self.fail(f"{entry['Key']} is listed twice")
                listed[entry["Key"]] = entry
        for key in set(listed) - set(self.held):
            self.fail(f"{key} is listed and was never written")
        for key, states in self.held.items():
            self.held[key] = {self.look(s3, key, states, listed.get(key))}
        self.check_versions(s3)
        self.check_uploads(s3)

    def look(self, s3, key, states, entry):
        """The state that the key turns out to be in."""
        try:
            reply = s3.get_object(Bucket=PLAIN, Key=key)
            found = digest(reply["Body"].read())
        except s3.exceptions.NoSuchKey:
            found = ABSENT
        if found not in states:
            self.fail(f"{key} holds {found}, and may hold {states}")
        if (entry is None) != (found is ABSENT):
            self.fail(f"{key} holds {found} and is listed as {entry}")
        if entry is not None and (entry["Size"] != found[0] or entry["ETag"] != reply["ETag"]):
            self.fail(f"{key} holds {found} and is listed as {entry}")
        return found

    def check_versions(self, s3):
        listed = set()
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=VERSIONED):
            listed |= {(v["VersionId"], v["Key"], v["Size"]) for v in page.get("Versions", ())}
        for version, (key, (size, _)) in self.versions.items():
            if (version, key, size) not in listed:
                self.fail(f"version {version} of {key} is gone")
        for version in self.random.sample(sorted(self.versions), min(5, len(self.versions))):
            key, wanted = self.versions[version]
            got = digest(s3.get_object(Bucket=VERSIONED, Key=key, VersionId=version)["Body"].read())
            if got != wanted:
                self.fail(f"version {version} of {key} holds {got}, not {wanted}")

    def check_uploads(self, s3):
        """Completes what was left, or gives it up; afterwards there are none."""
        open_uploads = {}
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=PLAIN):
            open_uploads.update({u["UploadId"]: u["Key"] for u in page.get("Uploads", ())})
        for upload, key in open_uploads.items():
            parts = s3.list_parts(Bucket=PLAIN, Key=key, UploadId=upload).get("Parts", [])
            known = self.uploads.get(upload, (key, []))[1]
            for part in known:
                if part["ETag"] not in [p["ETag"] for p in parts]:
                    self.fail(f"part {part} of an upload of {key} is gone")
            s3.abort_multipart_upload(Bucket=PLAIN, Key=key, UploadId=upload)
        for upload, (key, parts) in self.uploads.items():
            # Else it was completed, the answer to which was lost: look() has seen whether that may be.
            if upload not in open_uploads and parts and len(self.held[key]) != 1:
                self.fail(f"an upload of {key} is gone")
        self.uploads = {}

    def remove_all(self):
        s3 = client(self.server)
        for key in self.held:
            s3.delete_object(Bucket=PLAIN, Key=key)
        for version, (key, _) in self.versions.items():
            s3.delete_object(Bucket=VERSIONED, Key=key, VersionId=version)
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=VERSIONED):  # of lost answers
            for v in page.get("Versions", ()):
                s3.delete_object(Bucket=VERSIONED, Key=v["Key"], VersionId=v["VersionId"])
        s3.delete_bucket(Bucket=PLAIN)
        s3.delete_bucket(Bucket=VERSIONED)
        end = time.monotonic() + GONE_SECONDS_MAX
        while headrace.blob_bytes(self.server) > LEFT_BYTES_MAX:
            if time.monotonic() > end:
                self.fail(f"{headrace.blob_bytes(self.server)} bytes are left of objects that were removed")
            time.sleep(0.2)

    def run(self, rounds):
        self.server.start()
        s3 = client(self.server)
        s3.create_bucket(Bucket=PLAIN)
        s3.create_bucket(Bucket=VERSIONED)
        s3.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})
        while self.kills < rounds or (self.acknowledged <= rounds and self.kills < SLOW_FACTOR * rounds):
            self.round()
        print(f"# {self.kills} kills, {self.acknowledged} changes acknowledged", flush=True)
        assert self.acknowledged > rounds, "hardly anything was written"
        assert headrace.blob_bytes(self.server) > LEFT_BYTES_MAX, "objects lie somewhere else"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report, loop = tap.Tap(), Loop(options.program, options.seed)
    report.run("objects are whole or absent, and listed, through every kill", lambda: loop.run(options.rounds))
    if not report.failures:
        report.run("nothing is left of what was removed", loop.remove_all)
        report.run("the server stops well", loop.server.stop)
    if report.failures:
        loop.server.kill()
        print(f"# {loop.server.data_dir} is kept", flush=True)
    else:
        loop.server.remove()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
