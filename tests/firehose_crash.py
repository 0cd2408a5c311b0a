#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The crash loop of deliveries: records are put, the server is killed at random moments and started again, and at the
end everything that was acknowledged is in objects, whole.

Four delivery streams: plain objects, GZIP, one object for each partition, and the records of a Kinesis stream whose
shards are split meanwhile. No record may be missing, and no line may be there that nobody put. One of a partition may
come twice (an object was there, its position not yet), others not: object and position are one commit. Besides, a bucket that is deleted and made again while records wait for it.

    tests/firehose_crash.py --program build/headrace --rounds 15 --seed 7

A failed run says its seed and keeps its data directory.
"""
import argparse
import collections
import gzip
import json
import random
import sys
import threading
import time

import boto3
import botocore.config
from botocore.exceptions import BotoCoreError, ClientError

import headrace
import tap

BUCKET, AWAY = "deliveries", "away"
ROLE = f"arn:aws:iam::{headrace.ACCOUNT}:role/firehose"
ROUND_SECONDS = (0.3, 2.0)
ARRIVAL_SECONDS_MAX = 240
BATCH = 40
DIRECT = ("plain", "gzip", "parted", "moved")
SPLITS_MAX = 3


def client(server, service):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=240,
                                    s3={"addressing_style": "path"})
    return boto3.client(service, region_name="us-east-1", endpoint_url=server.url, config=config,
                        aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)


def destination(name, bucket=BUCKET, **more):
    return {"RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{bucket}", "Prefix": f"{name}/",
            "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 1}, **more}


def partitions():
    query = [{"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{p:.p}"},
             {"ParameterName": "JsonParsingEngine", "ParameterValue": "JQ-1.6"}]
    return {"Prefix": "parted/!{partitionKeyFromQuery:p}/", "ErrorOutputPrefix": "errors/!{firehose:error-output-type}/",
            "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 1},
            "DynamicPartitioningConfiguration": {"Enabled": True},
            "ProcessingConfiguration": {"Enabled": True, "Processors": [{"Type": "MetadataExtraction",
                                                                         "Parameters": query}]}}


class Writer(threading.Thread):
    """Puts numbered lines into one stream until the server is gone; knows which were acknowledged."""

    def __init__(self, server, name, first):
        super().__init__(daemon=True)
        self.server, self.name, self.next = server, name, first
        self.acknowledged, self.put, self.trouble = set(), set(), None

    def lines(self):
        numbers = range(self.next, self.next + BATCH)
        self.next += BATCH
        return [json.dumps({"n": n, "p": n % 5, "s": self.name}) for n in numbers]

    def run(self):
        calls = {"stream": self.put_stream}.get(self.name, self.put_direct)
        try:
            service = client(self.server, "kinesis" if self.name == "stream" else "firehose")
            while True:
                lines = self.lines()
                self.put.update(lines)
                codes = calls(service, [line.encode() + b"\n" for line in lines])
                self.acknowledged.update(line for line, code in zip(lines, codes) if code is None)
        except BotoCoreError:
            pass  # killed: what was not acknowledged may or may not be there
        except ClientError as error:
            self.trouble = f"a put was refused: {error}"

    def put_direct(self, service, data):
        reply = service.put_record_batch(DeliveryStreamName=self.name, Records=[{"Data": d} for d in data])
        return [entry.get("ErrorCode") for entry in reply["RequestResponses"]]

    def put_stream(self, service, data):
        records = [{"Data": d, "PartitionKey": str(n)} for n, d in enumerate(data)]
        reply = service.put_records(StreamName=self.name, Records=records)
        return [entry.get("ErrorCode") for entry in reply["Records"]]


class Loop:
    def __init__(self, program, seed):
        self.random, self.seed = random.Random(seed), seed
        self.server = headrace.Server(program, profile="dev")
        self.acknowledged = {name: set() for name in (*DIRECT, "stream")}
        self.put = {name: set() for name in self.acknowledged}
        self.splits = 0

    def fail(self, text):
        raise AssertionError(f"{text} (seed {self.seed}, data in {self.server.data_dir})")

    def make(self):
        self.server.start()
        s3, firehose, kinesis = (client(self.server, name) for name in ("s3", "firehose", "kinesis"))
        s3.create_bucket(Bucket=BUCKET)
        s3.create_bucket(Bucket=AWAY)
        kinesis.create_stream(StreamName="stream", ShardCount=1)
        kinesis.get_waiter("stream_exists").wait(StreamName="stream", WaiterConfig={"Delay": 1, "MaxAttempts": 240})
        more = {"gzip": {"CompressionFormat": "GZIP"}, "parted": partitions()}
        for name in DIRECT:
            place = destination(name, AWAY if name == "moved" else BUCKET)
            firehose.create_delivery_stream(DeliveryStreamName=name, ExtendedS3DestinationConfiguration={
                **place, **more.get(name, {})})
        source = {"KinesisStreamARN": f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/stream", "RoleARN": ROLE}
        firehose.create_delivery_stream(DeliveryStreamName="stream", DeliveryStreamType="KinesisStreamAsSource",
                                        KinesisStreamSourceConfiguration=source,
                                        ExtendedS3DestinationConfiguration=destination("stream"))
        for name in self.acknowledged:
            self.wait_active(firehose, name)

    def wait_active(self, firehose, name):
        end = time.monotonic() + ARRIVAL_SECONDS_MAX
        while True:
            status = firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]
            if status["DeliveryStreamStatus"] == "ACTIVE":
                return
            assert time.monotonic() < end, f"{name} is {status['DeliveryStreamStatus']}"
            time.sleep(0.1)

    def split(self):
        """One of the open shards, if there are not many yet."""
        if self.splits >= SPLITS_MAX:
            return
        kinesis = client(self.server, "kinesis")
        shards = [s for s in kinesis.list_shards(StreamName="stream")["Shards"]
                  if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
        shard = self.random.choice(shards)
        low, high = (int(shard["HashKeyRange"][f"{end}HashKey"]) for end in ("Starting", "Ending"))
        kinesis.split_shard(StreamName="stream", ShardToSplit=shard["ShardId"], NewStartingHashKey=str((low + high) // 2))
        self.splits += 1

    @staticmethod
    def wait_puts(writers):
        """A client takes its time to begin: each has put something before the server is killed."""
        end = time.monotonic() + ARRIVAL_SECONDS_MAX
        while not all(w.acknowledged or w.trouble for w in writers) and time.monotonic() < end:
            time.sleep(0.05)

    def round(self, number):
        writers = [Writer(self.server, name, len(self.put[name])) for name in self.acknowledged]
        for writer in writers:
            writer.start()
        self.wait_puts(writers)
        time.sleep(self.random.uniform(*ROUND_SECONDS))
        if number % 4 == 1:
            self.split()
        self.server.kill()
        for writer in writers:
            writer.join(240)
            if writer.trouble:
                self.fail(writer.trouble)
            self.acknowledged[writer.name] |= writer.acknowledged
            self.put[writer.name] |= writer.put
        self.server.start()

    def delivered(self, s3, name):
        """How often each line is in the objects of a delivery stream."""
        lines = collections.Counter()
        bucket = AWAY if name == "moved" else BUCKET
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{name}/"):
            for entry in page.get("Contents", ()):
                data = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                lines.update((gzip.decompress(data) if name == "gzip" else data).decode().splitlines())
        return lines

    def check(self):
        s3, end = client(self.server, "s3"), time.monotonic() + ARRIVAL_SECONDS_MAX
        for name, wanted in self.acknowledged.items():
            while True:
                lines = self.delivered(s3, name)
                missing = wanted - set(lines)
                if not missing:
                    break
                if time.monotonic() > end:
                    self.fail(f"{len(missing)} of {len(wanted)} records of {name} are missing: {sorted(missing)[:3]}")
                time.sleep(0.5)
            if set(lines) - self.put[name]:
                self.fail(f"{name} has lines that nobody put: {sorted(set(lines) - self.put[name])[:3]}")
            twice = sum(n - 1 for n in lines.values())
            print(f"# {name}: {len(wanted)} acknowledged, {twice} of {sum(lines.values())} came again", flush=True)
            if twice > 0 and name != "parted":
                self.fail(f"{twice} records of {name} came again, whose batches are one object each")
        errors = s3.list_objects_v2(Bucket=BUCKET, Prefix="errors/").get("KeyCount", 0)
        assert errors == 0, f"{errors} objects with errors"

    def run(self, rounds):
        self.make()
        for number in range(rounds):
            self.round(number)
        self.check()
        assert min(map(len, self.acknowledged.values())) > rounds, "hardly anything was put"

    @staticmethod
    def is_removed(s3):
        """Unless one more object came meanwhile: what a kill interrupted comes twice."""
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=AWAY):
            for entry in page.get("Contents", ()):
                s3.delete_object(Bucket=AWAY, Key=entry["Key"])
        try:
            s3.delete_bucket(Bucket=AWAY)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "BucketNotEmpty", error
            return False
        return True

    def move_bucket(self):
        """The bucket goes while records wait for it, and comes back empty: they are delivered then."""
        s3, firehose = client(self.server, "s3"), client(self.server, "firehose")
        end = time.monotonic() + ARRIVAL_SECONDS_MAX
        while not self.is_removed(s3):
            assert time.monotonic() < end, "the bucket is never empty"
        lines = [json.dumps({"n": n, "s": "away"}) for n in range(100)]
        for line in lines:
            firehose.put_record(DeliveryStreamName="moved", Record={"Data": line.encode() + b"\n"})
        time.sleep(3)
        self.server.kill()
        self.server.start()
        s3 = client(self.server, "s3")
        s3.create_bucket(Bucket=AWAY)
        end = time.monotonic() + ARRIVAL_SECONDS_MAX
        while set(lines) - set(self.delivered(s3, "moved")):
            assert time.monotonic() < end, "records that waited for a bucket were not delivered"
            time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report, loop = tap.Tap(), Loop(options.program, options.seed)
    report.run("everything acknowledged is delivered through every kill", lambda: loop.run(options.rounds))
    if not report.failures:
        report.run("records wait for a bucket that is deleted and made again", loop.move_bucket)
        report.run("the server stops well", loop.server.stop)
    if report.failures:
        loop.server.kill()
        print(f"# {loop.server.data_dir} is kept", flush=True)
    else:
        loop.server.remove()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
