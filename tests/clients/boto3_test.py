#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boto3, unmodified, against the server: the whole path of a record, over plain HTTP and over TLS.

    tests/clients/boto3_test.py --program build/headrace
"""
import argparse
import os
import sys
import time
from datetime import datetime, timedelta, timezone

import boto3
import botocore.config
from botocore.exceptions import ClientError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

SHARDS, SINGLE, BATCH = 3, 20, 100
TRIES_SECONDS_MAX = 240
CLOCK_SECONDS_MAX = 10  # the arrival time of a record against this process's clock


def kinesis(server, tls, **more):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"},
                                    connect_timeout=60, read_timeout=240)
    return boto3.client("kinesis", region_name="us-east-1",
                        endpoint_url=server.tls_url if tls else server.url,
                        verify=server.certificate if tls else None,
                        aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET,
                        config=config, **more)


def refused(code, message, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        got = error.response["Error"]
        assert got["Code"] == code, got
        assert message is None or got["Message"] == message, got["Message"]
    else:
        raise AssertionError(f"{code} was expected, and the call succeeded")


def wait_active(client, name):
    client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 240})


def records_of(client, iterator):
    """Every record from an iterator to the tip."""
    found = []
    while iterator:
        page = client.get_records(ShardIterator=iterator, Limit=40)
        found += page["Records"]
        if not page["Records"] and page["MillisBehindLatest"] == 0:
            break
        assert page.get("NextShardIterator") != iterator, "an iterator came back as it was sent"
        iterator = page.get("NextShardIterator")  # none at the end of a shard
    return found


class Path:
    """One stream's life; the tests are its stages, in order."""

    def __init__(self, server, tls):
        self.server, self.client, self.name = server, kinesis(server, tls), "boto3-tls" if tls else "boto3"
        self.put, self.before = {}, datetime.now(timezone.utc)

    def arn(self):
        return f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/{self.name}"

    def a_stream_is_created_and_becomes_active(self):
        self.client.create_stream(StreamName=self.name, ShardCount=SHARDS)
        wait_active(self.client, self.name)
        about = self.client.describe_stream(StreamName=self.name)["StreamDescription"]
        assert about["StreamARN"] == self.arn() and about["RetentionPeriodHours"] == 24, about
        assert about["EncryptionType"] == "NONE" and not about["HasMoreShards"], about
        assert about["EnhancedMonitoring"] == [{"ShardLevelMetrics": []}], about
        ranges = [(int(s["HashKeyRange"]["StartingHashKey"]), int(s["HashKeyRange"]["EndingHashKey"]))
                  for s in about["Shards"]]
        assert [r[0] for r in ranges] == [0] + [r[1] + 1 for r in ranges[:-1]], ranges
        assert ranges[-1][1] == 2 ** 128 - 1 and len(ranges) == SHARDS, ranges
        summary = self.client.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
        assert summary["OpenShardCount"] == SHARDS and summary["ConsumerCount"] == 0, summary
        assert self.is_now(summary["StreamCreationTimestamp"]), summary

    def is_now(self, moment):
        """Between the beginning of this test and now; the clocks may differ a little."""
        slack = timedelta(seconds=CLOCK_SECONDS_MAX)
        return self.before - slack < moment < datetime.now(timezone.utc) + slack

    def it_is_listed(self):
        assert self.name in self.client.list_streams()["StreamNames"]
        shards = self.client.list_shards(StreamARN=self.arn())["Shards"]
        assert [s["ShardId"] for s in shards] == [f"shardId-{i:012d}" for i in range(SHARDS)]
        page = self.client.list_shards(StreamName=self.name, MaxResults=2)
        rest = self.client.list_shards(NextToken=page["NextToken"])
        assert page["Shards"] + rest["Shards"] == shards and "NextToken" not in rest

    def records_are_put(self):
        before = self.server.scans("PutRecord")
        for number in range(SINGLE):
            data = f"single-{number}".encode()
            reply = self.client.put_record(StreamName=self.name, Data=data, PartitionKey=f"k{number}")
            assert "EncryptionType" not in reply
            self.put.setdefault(reply["ShardId"], []).append((reply["SequenceNumber"], data, f"k{number}"))
        assert self.server.scans("PutRecord") == (before[0] + SINGLE, before[1]), "the binder was needed"
        self.put_batch("key")
        self.put_batch("schlüssel", fast=False)  # json.dumps escapes what is not ASCII
        assert len(self.put) == SHARDS, "some shard got no record"

    def put_batch(self, key, fast=True):
        entries = [{"Data": os.urandom(50) + str(n).encode(), "PartitionKey": f"{key}-{n}"} for n in range(BATCH)]
        before = self.server.scans("PutRecords")
        reply = self.client.put_records(StreamARN=self.arn(), Records=entries)
        assert self.server.scans("PutRecords") == (before[0] + fast, before[1] + (not fast)), "the other way was taken"
        assert reply["FailedRecordCount"] == 0 and len(reply["Records"]) == BATCH
        for entry, result in zip(entries, reply["Records"]):
            self.put.setdefault(result["ShardId"], []).append(
                (result["SequenceNumber"], entry["Data"], entry["PartitionKey"]))

    def an_explicit_hash_key_chooses_the_shard(self):
        for number in range(SHARDS):
            key = str(2 ** 128 // SHARDS * number)
            reply = self.client.put_record(StreamName=self.name, Data=b"x", PartitionKey="p", ExplicitHashKey=key)
            assert reply["ShardId"] == f"shardId-{number:012d}", reply
            self.put[reply["ShardId"]].append((reply["SequenceNumber"], b"x", "p"))

    def iterator(self, shard, kind, **more):
        return self.client.get_shard_iterator(StreamName=self.name, ShardId=shard, ShardIteratorType=kind,
                                              **more)["ShardIterator"]

    def read(self, shard, kind, **more):
        return [(r["SequenceNumber"], r["Data"], r["PartitionKey"])
                for r in records_of(self.client, self.iterator(shard, kind, **more))]

    def all_five_iterator_types_read_them_in_order(self):
        for shard, put in self.put.items():
            put.sort(key=lambda r: int(r[0]))
            middle = put[len(put) // 2][0]
            assert self.read(shard, "TRIM_HORIZON") == put
            assert self.read(shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=middle) == put[len(put) // 2:]
            assert self.read(shard, "AFTER_SEQUENCE_NUMBER",
                             StartingSequenceNumber=middle) == put[len(put) // 2 + 1:]
            hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
            assert self.read(shard, "AT_TIMESTAMP", Timestamp=hour_ago) == put
            latest = self.iterator(shard, "LATEST")
            key = str(2 ** 128 // SHARDS * int(shard[-1]))
            reply = self.client.put_record(StreamName=self.name, Data=b"late", PartitionKey="l", ExplicitHashKey=key)
            put.append((reply["SequenceNumber"], b"late", "l"))
            assert [r["SequenceNumber"] for r in records_of(self.client, latest)] == [reply["SequenceNumber"]]

    def arrival_times_are_true_and_do_not_go_back(self):
        for shard, put in self.put.items():
            records = records_of(self.client, self.iterator(shard, "TRIM_HORIZON"))
            times = [r["ApproximateArrivalTimestamp"] for r in records]
            assert times == sorted(times)
            assert self.is_now(times[0]) and self.is_now(times[-1]), times
            second = times[-1].replace(microsecond=0)  # boto3 sends no fractions of a second
            first = next(i for i, time in enumerate(times) if time >= second)
            assert self.read(shard, "AT_TIMESTAMP", Timestamp=second) == put[first:]

    def a_consumer_is_pushed_the_records(self):
        about = self.client.register_stream_consumer(StreamARN=self.arn(), ConsumerName="c",
                                                     Tags={"team": "rivers"})["Consumer"]
        assert about["ConsumerStatus"] == "CREATING", about
        arn = about["ConsumerARN"]
        assert arn == f"{self.arn()}/consumer/c:{int(about['ConsumerCreationTimestamp'].timestamp())}", arn
        described = self.client.describe_stream_consumer(ConsumerARN=arn)["ConsumerDescription"]
        assert described["ConsumerStatus"] == "ACTIVE" and described["StreamARN"] == self.arn(), described
        assert [c["ConsumerName"] for page in self.client.get_paginator("list_stream_consumers").paginate(
            StreamARN=self.arn()) for c in page["Consumers"]] == ["c"]
        assert self.client.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "rivers"}]
        for shard, put in self.put.items():
            position = {"Type": "TRIM_HORIZON"}
            stream = self.client.subscribe_to_shard(ConsumerARN=arn, ShardId=shard, StartingPosition=position)
            found = []
            for message in stream["EventStream"]:
                event = message["SubscribeToShardEvent"]
                assert event["ContinuationSequenceNumber"] and "ChildShards" not in event, event
                found += [(r["SequenceNumber"], r["Data"], r["PartitionKey"]) for r in event["Records"]]
                if len(found) >= len(put):
                    break
            stream["EventStream"].close()
            assert found == put, (shard, len(found), len(put))
        self.a_second_subscription_is_refused(arn)
        self.client.deregister_stream_consumer(ConsumerARN=arn)
        refused("ResourceNotFoundException", f"Consumer c, account {headrace.ACCOUNT} not found.",
                self.client.describe_stream_consumer, ConsumerARN=arn)

    def a_second_subscription_is_refused(self, arn):
        """Within five seconds of the one before, which is then taken over: so it may need another try."""
        end = time.monotonic() + TRIES_SECONDS_MAX
        shard, position = "shardId-000000000000", {"Type": "TRIM_HORIZON"}
        while True:
            try:
                taken = self.client.subscribe_to_shard(ConsumerARN=arn, ShardId=shard, StartingPosition=position)
                taken["EventStream"].close()
            except ClientError as error:
                got = error.response["Error"]
                assert (got["Code"], got["Message"]) == (
                    "ResourceInUseException", "Another active subscription exists for this consumer: "
                    f"{headrace.ACCOUNT}:{self.name}:{shard}:c"), got
                return
            assert time.monotonic() < end, "a second subscription is always taken"

    def tags_are_kept(self):
        self.client.add_tags_to_stream(StreamName=self.name, Tags={"team": "rivers", "env": "test"})
        self.client.remove_tags_from_stream(StreamName=self.name, TagKeys=["team"])
        self.client.add_tags_to_stream(StreamName=self.name, Tags={"a": ""})
        got = self.client.list_tags_for_stream(StreamName=self.name)
        assert got["Tags"] == [{"Key": "a", "Value": ""}, {"Key": "env", "Value": "test"}], got
        assert got["HasMoreTags"] is False

    def retention_is_raised_and_lowered(self):
        for change, hours in ((self.client.increase_stream_retention_period, 24),
                              (self.client.increase_stream_retention_period, 48),
                              (self.client.decrease_stream_retention_period, 30)):
            change(StreamName=self.name, RetentionPeriodHours=hours)
            wait_active(self.client, self.name)
            about = self.client.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
            assert about["RetentionPeriodHours"] == hours, about
        refused("InvalidArgumentException", "Minimum allowed retention period is 24 hours. Requested "
                "retention period (23 hours) is too short.",
                self.client.decrease_stream_retention_period, StreamName=self.name, RetentionPeriodHours=23)

    def limits_are_described(self):
        limits = self.client.describe_limits()
        assert limits["OpenShardCount"] >= SHARDS and limits["ShardLimit"] > 0, limits

    def mistakes_get_the_errors_of_aws(self):
        account = headrace.ACCOUNT
        refused("ResourceNotFoundException", f"Stream nothing under account {account} not found.",
                self.client.put_record, StreamName="nothing", Data=b"x", PartitionKey="p")
        refused("ResourceInUseException", f"Stream {self.name} under account {account} already exists.",
                self.client.create_stream, StreamName=self.name, ShardCount=1)
        refused("ResourceNotFoundException", f"Shard shardId-000000000009 in stream {self.name} under account "
                f"{account} does not exist", self.client.get_shard_iterator, StreamName=self.name,
                ShardId="shardId-000000000009", ShardIteratorType="LATEST")
        refused("InvalidArgumentException", "Invalid ShardIterator.", self.client.get_records, ShardIterator="AAAA")
        refused("InvalidArgumentException", "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: "
                f"[0, 2^128-1]. Specified value was {2 ** 128}", self.client.put_record, StreamName=self.name,
                Data=b"x", PartitionKey="p", ExplicitHashKey=str(2 ** 128))
        refused("ValidationException", "1 validation error detected: Value 'X' at 'shardIteratorType' failed "
                "to satisfy constraint: Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, "
                "AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]", self.client.get_shard_iterator,
                StreamName=self.name, ShardId="shardId-000000000000", ShardIteratorType="X")

    def a_wrong_secret_is_refused(self):
        stranger = boto3.client("kinesis", region_name="us-east-1", endpoint_url=self.server.url,
                                aws_access_key_id=headrace.KEY_ID, aws_secret_access_key="wrong" * 8)
        refused("InvalidSignatureException", None, stranger.list_streams)

    def other_regions_see_nothing(self):
        elsewhere = boto3.client("kinesis", region_name="eu-west-1", endpoint_url=self.server.url,
                                 aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)
        assert elsewhere.list_streams()["StreamNames"] == []

    def what_was_acknowledged_survives_kill_9(self):
        shard = "shardId-000000000000"
        data = os.urandom(1000)
        reply = self.client.put_record(StreamName=self.name, Data=data, PartitionKey="p", ExplicitHashKey="0")
        self.server.kill()
        self.server.start()
        wait_active(self.client, self.name)
        assert self.read(shard, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=self.put[shard][-1][0]) == [
            (reply["SequenceNumber"], data, "p")]
        for number, put in self.put.items():
            expected = put + [(reply["SequenceNumber"], data, "p")] if number == shard else put
            assert self.read(number, "TRIM_HORIZON") == expected
        tags = self.client.list_tags_for_stream(StreamName=self.name)["Tags"]
        assert tags == [{"Key": "a", "Value": ""}, {"Key": "env", "Value": "test"}], tags

    def open_shards(self):
        shards = self.client.list_shards(StreamName=self.name, ShardFilter={"Type": "AT_LATEST"})["Shards"]
        return [s["ShardId"] for s in shards]

    def end_of(self, shard):
        page = self.client.get_records(ShardIterator=self.iterator(shard, "LATEST"))
        assert "NextShardIterator" not in page and page["Records"] == [], page
        return [(c["ShardId"], c["ParentShards"]) for c in page["ChildShards"]]

    def shards_are_split_merged_and_scaled(self):
        zero, one, two, low, high, merged = (f"shardId-{i:012d}" for i in range(6))
        self.client.split_shard(StreamName=self.name, ShardToSplit=zero, NewStartingHashKey="1000")
        wait_active(self.client, self.name)
        assert self.end_of(zero) == [(low, [zero]), (high, [zero])]
        reply = self.client.put_record(StreamName=self.name, Data=b"x", PartitionKey="p", ExplicitHashKey="999")
        assert reply["ShardId"] == low and self.read(low, "TRIM_HORIZON") == [(reply["SequenceNumber"], b"x", "p")]
        self.client.merge_shards(StreamARN=self.arn(), ShardToMerge=high, AdjacentShardToMerge=one)
        wait_active(self.client, self.name)
        assert self.end_of(high) == self.end_of(one) == [(merged, [high, one])]
        assert self.open_shards() == [two, low, merged]
        assert int(reply["SequenceNumber"]) > int(self.put[zero][-1][0])
        reply = self.client.update_shard_count(StreamName=self.name, TargetShardCount=6,
                                               ScalingType="UNIFORM_SCALING")
        assert (reply["CurrentShardCount"], reply["TargetShardCount"]) == (3, 6), reply
        wait_active(self.client, self.name)
        about = self.client.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
        assert about["OpenShardCount"] == 6 == len(self.open_shards()), about
        refused("InvalidArgumentException", f"Shard {zero} in stream {self.name} under account {headrace.ACCOUNT} "
                "has already been merged or split, and thus is not eligible for merging or splitting.",
                self.client.split_shard, StreamName=self.name, ShardToSplit=zero, NewStartingHashKey="5")
        for number, put in self.put.items():  # parents are readable as before
            assert [r[0] for r in self.read(number, "TRIM_HORIZON")][:len(put)] == [r[0] for r in put]

    def the_stream_is_deleted(self):
        self.client.delete_stream(StreamName=self.name)
        end = time.monotonic() + 240
        while self.name in self.client.list_streams()["StreamNames"]:
            assert time.monotonic() < end, "the stream is still listed"
            time.sleep(0.1)
        refused("ResourceNotFoundException", f"Stream {self.name} under account {headrace.ACCOUNT} not found.",
                self.client.describe_stream_summary, StreamName=self.name)

    def a_new_stream_of_that_name_is_empty(self):
        self.client.create_stream(StreamName=self.name, ShardCount=1)
        wait_active(self.client, self.name)
        assert self.read("shardId-000000000000", "TRIM_HORIZON") == []
        assert self.client.list_tags_for_stream(StreamName=self.name)["Tags"] == []


STAGES = [function for name, function in vars(Path).items()
          if callable(function) and
          name not in ("__init__", "arn", "iterator", "put_batch", "read", "is_now", "open_shards", "end_of",
                      "a_second_subscription_is_refused")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    with headrace.Server(options.program) as server:
        for tls in (False, True):
            path = Path(server, tls)
            for stage in STAGES:
                report.run(f"{'TLS' if tls else 'HTTP'}: {stage.__name__.replace('_', ' ')}",
                           lambda s=stage, p=path: s(p))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
