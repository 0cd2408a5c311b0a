#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The crash loop on a stream whose encryption changes under load: it is started, stopped, begun with
another key, and keys are rotated, while writers write and the server is killed.

What the crash loop (crash.py) says must hold holds here, too; besides, after every restart:
  - the stream is encrypted, or not, as the last acknowledged change says (or one that was under way);
  - what is put then is told to be encrypted or not accordingly.
In the end records of both states are there, and data and keys of encrypted ones are in no file.

    tests/crash_encrypted.py --program build/headrace --rounds 30 --seed 7
"""
import glob
import os
import random
import sys
import threading
import time

import crash
import headrace

KEYS = 2
OTHER_BYTES, SEALED_MIN = 400_000, 2  # of records that push the journal on; containers that must be made then
SEALED_SECONDS_MAX = 300
PAUSE_SECONDS = (0.0, 0.04)
REFUSED = ("LimitExceededException", "ResourceInUseException")  # too many changes a day, or one is under way
SECRET = b"this text is put into an encrypted stream only"
SECRET_KEY = "and this is the partition key of it"


class Keymaster(threading.Thread):
    """Changes the encryption of the stream and the keys; knows what is sure of it."""

    def __init__(self, server, keys, states, seed):
        super().__init__(daemon=True)
        self.kinesis = server.client(timeout=120)
        self.kms = server.client(timeout=120, target="TrentService", service="kms")
        self.keys, self.random = keys, random.Random(seed)
        self.states = set(states)  # what the stream's encryption may be: key ids as given, or None
        self.count, self.trouble, self.stopping = 0, None, False
        self.wait = threading.Event()

    def change(self):
        key = self.random.choice([None, "alias/aws/kinesis", *self.keys])
        before = set(self.states)
        self.states.add(key)
        if key is None:
            self.call(self.kinesis, "StopStreamEncryption", before, StreamName=crash.STREAM, EncryptionType="KMS",
                      KeyId="alias/aws/kinesis")
        else:
            self.call(self.kinesis, "StartStreamEncryption", before, StreamName=crash.STREAM, EncryptionType="KMS",
                      KeyId=key)
        self.states = {key} if self.done else before

    def call(self, client, operation, before, **members):
        self.done = False
        try:
            client.call(operation, **members)
            self.done = True
            self.count += 1
        except headrace.AwsError as error:
            if error.kind not in REFUSED:
                raise

    def rotate(self):
        self.call(self.kms, "RotateKeyOnDemand", None, KeyId=self.random.choice(self.keys))

    def run(self):
        try:
            while not self.stopping:
                if self.random.random() < 0.6:
                    self.change()
                else:
                    self.rotate()
                self.wait.wait(self.random.uniform(*PAUSE_SECONDS))
        except crash.GONE:
            pass
        except headrace.AwsError as error:
            if not self.stopping:
                self.trouble = f"a change of the encryption was refused: {error}"
        finally:
            self.kinesis.close()
            self.kms.close()


class EncryptedLoop(crash.Loop):
    def __init__(self, options):
        super().__init__(options)
        self.states, self.keys, self.changes = {None}, [], 0
        self.keymaster = None

    def begin(self):
        super().begin()
        self.new_keys()

    def new_keys(self):
        kms = self.server.client(target="TrentService", service="kms")
        self.keys = [kms.call("CreateKey")["KeyMetadata"]["KeyId"] for _ in range(KEYS)]
        kms.close()

    def others(self):
        if self.random.random() < 0.2:
            self.new_keys()
        self.keymaster = Keymaster(self.server, self.keys, self.states, self.random.random())
        return [self.keymaster]

    def verify_others(self, client):
        self.changes += self.keymaster.count
        summary = client.call("DescribeStreamSummary", StreamName=crash.STREAM)["StreamDescriptionSummary"]
        state = summary.get("KeyId")
        assert state in self.keymaster.states, f"the stream has the key {state}, not one of {self.keymaster.states}"
        assert summary["EncryptionType"] == ("NONE" if state is None else "KMS"), summary
        self.states = {state}

    def types(self, client):
        """How many records there are of each state."""
        found = {}
        for shard in self.history.records:
            iterator = client.iterator(crash.STREAM, shard)
            while True:
                page = client.call("GetRecords", ShardIterator=iterator)
                for record in page["Records"]:
                    kind = record.get("EncryptionType", "NONE")
                    found[kind] = found.get(kind, 0) + 1
                if not page["Records"] and page.get("MillisBehindLatest", 0) == 0:
                    break
                iterator = page["NextShardIterator"]
        return found

    def files_hold(self, text):
        for folder, _, names in os.walk(self.data_dir):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    if text in file.read():
                        return name
        return None

    def put_secret(self, client):
        """An encrypted record that is received from a queue, sealed and moved by merging. Its shard and what follows."""
        client.call("CreateStream", StreamName="secret")
        client.wait_active("secret")
        client.call("StartStreamEncryption", StreamName="secret", EncryptionType="KMS", KeyId=self.keys[0])
        arn = client.call("DescribeStreamSummary", StreamName="secret")["StreamDescriptionSummary"]["StreamARN"]
        queue = client.call("CreateQueue", QueueName="secret", StreamConfigurationList=[
            {"StreamARN": arn, "StartingPosition": {"Type": "TRIM_HORIZON"}}])["QueueDescription"]["QueueARN"]
        shard, got, others = client.put("secret", SECRET, SECRET_KEY)["ShardId"], [], []
        while not got:
            got = client.call("ReceiveQueueRecords", QueueARN=queue)["QueueRecords"]
        assert got[0]["PartitionKey"] == SECRET_KEY, got
        before, end = set(self.containers()), time.monotonic() + SEALED_SECONDS_MAX
        while len(set(self.containers()) - before) < SEALED_MIN:
            assert time.monotonic() < end, "nothing is sealed"
            others.append((os.urandom(OTHER_BYTES), SECRET_KEY))
            client.put("secret", *others[-1])
        return shard, others

    def containers(self):
        return glob.glob(os.path.join(self.data_dir, "**", "*.hrc"), recursive=True)

    def lacks(self, rounds):
        if self.changes <= rounds:
            return "the encryption has hardly changed"
        client = self.server.client()
        found = self.types(client)
        client.close()
        if not found.get("KMS") or not found.get("NONE"):
            return f"there are records of one state only: {found}"
        return super().lacks(rounds)

    def run(self, rounds, report):
        super().run(rounds, report)
        self.server.start()
        client = self.server.client()
        found = self.types(client)
        report.ok(f"after {self.changes} changes of encryption and keys {found['KMS']} records are encrypted and "
                  f"{found['NONE']} are not, and all can be read")
        shard, others = self.put_secret(client)
        self.server.kill()
        for text in (SECRET, SECRET_KEY.encode()):
            name = self.files_hold(text)
            assert name is None, f"{name} holds what is encrypted in plain: {text}"
        self.server.start()
        client = self.server.client()
        read = client.read_shard("secret", shard)
        assert [(data, key) for _, data, key in read] == [(SECRET, SECRET_KEY), *others], "not what was put"
        client.close()
        self.server.stop()
        report.ok("data and key of an encrypted record are in no file of the journal, of containers, of queues and of "
                  "the database, and are read after a kill")


if __name__ == "__main__":
    sys.exit(crash.main(EncryptedLoop))
