#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The virtual clock: what takes minutes or days on a server happens when its clock is moved.

    tests/clock.py --program build-asan/headrace
"""
import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error

import headrace
import tap
from tap import test

PROGRAM = None


def status_of(server, duration, guard=True):
    try:
        server.advance_clock(duration, guard)
        return 200
    except urllib.error.HTTPError as error:
        return error.code


def dev_server(**options):
    return headrace.Server(PROGRAM, profile="dev", **options)


def iterator(client, kind, **more):
    return client.call("GetShardIterator", StreamName="s", ShardId="0", ShardIteratorType=kind,
                       **more)["ShardIterator"]


def records(client, at):
    return [r["Data"] for r in client.call("GetRecords", ShardIterator=at)["Records"]]


@test
def records_are_gone_after_their_retention_and_not_before():
    with dev_server() as server:
        client = server.client()
        client.call("CreateStream", StreamName="s", ShardCount=1)
        client.call("PutRecord", StreamName="s", Data="b2xk", PartitionKey="k")
        server.advance_clock("23h")
        assert records(client, iterator(client, "TRIM_HORIZON")) == ["b2xk"]
        server.advance_clock("1h")
        client.call("PutRecord", StreamName="s", Data="bmV3", PartitionKey="k")
        server.advance_clock("1m")
        assert records(client, iterator(client, "TRIM_HORIZON")) == ["bmV3"]
        assert records(client, iterator(client, "AT_TIMESTAMP", Timestamp=1000)) == ["bmV3"]


@test
def a_longer_retention_keeps_records_and_a_shorter_one_drops_them():
    with dev_server() as server:
        client = server.client()
        client.call("CreateStream", StreamName="s", ShardCount=1)
        client.call("IncreaseStreamRetentionPeriod", StreamName="s", RetentionPeriodHours=168)
        client.call("PutRecord", StreamName="s", Data="b2xk", PartitionKey="k")
        server.advance_clock("100h")
        assert records(client, iterator(client, "TRIM_HORIZON")) == ["b2xk"]
        client.call("DecreaseStreamRetentionPeriod", StreamName="s", RetentionPeriodHours=24)
        assert records(client, iterator(client, "TRIM_HORIZON")) == []


@test
def what_was_gone_stays_gone_when_the_retention_grows_and_after_a_restart():
    with dev_server() as server:
        client = server.client()
        client.call("CreateStream", StreamName="s", ShardCount=1)
        client.call("PutRecord", StreamName="s", Data="b2xk", PartitionKey="k")
        server.advance_clock("25h")
        client.call("PutRecord", StreamName="s", Data="bmV3", PartitionKey="k")
        client.call("IncreaseStreamRetentionPeriod", StreamName="s", RetentionPeriodHours=168)
        assert records(client, iterator(client, "TRIM_HORIZON")) == ["bmV3"]
        client.close()
        server.kill()
        server.start()
        client = server.client()
        assert records(client, iterator(client, "TRIM_HORIZON")) == ["bmV3"]
        client.call("DecreaseStreamRetentionPeriod", StreamName="s", RetentionPeriodHours=48)
        server.advance_clock("30h")
        assert records(client, iterator(client, "TRIM_HORIZON")) == ["bmV3"]


@test
def an_iterator_lives_for_five_minutes():
    with dev_server() as server:
        client = server.client()
        client.call("CreateStream", StreamName="s", ShardCount=1)
        at = iterator(client, "LATEST")
        server.advance_clock("240s")  # its clock goes on besides
        assert records(client, at) == []
        server.advance_clock("61s")
        try:
            records(client, at)
            raise AssertionError("an expired iterator was taken")
        except headrace.AwsError as error:
            assert error.kind == "ExpiredIteratorException", error
            assert error.message.startswith("Iterator expired. The iterator was created at time "), error
            assert error.message.endswith(" which is further in the future than the tolerated delay of "
                                          "300000 milliseconds."), error


@test
def a_page_token_lives_for_five_minutes():
    with dev_server() as server:
        client = server.client()
        client.call("CreateStream", StreamName="s", ShardCount=2)
        token = client.call("ListShards", StreamName="s", MaxResults=1)["NextToken"]
        server.advance_clock("301s")
        try:
            client.call("ListShards", NextToken=token)
            raise AssertionError("an expired token was taken")
        except headrace.AwsError as error:
            assert error.kind == "ExpiredNextTokenException", error


@test
def the_limits_of_a_shard_refill_with_the_clock():
    with dev_server(limits="on") as server:
        client = server.client()
        client.call("CreateStream", StreamName="s", ShardCount=1)
        megabyte = {"StreamName": "s", "Records": [{"Data": "A" * 699048, "PartitionKey": "k"}] * 3}
        for _ in range(3):
            assert client.call("PutRecords", **megabyte)["FailedRecordCount"] >= 1
            server.advance_clock("1s")


def queue_on(client, **attributes):
    client.call("CreateStream", StreamName="s")
    made = client.call("CreateQueue", QueueName="q", QueueAttributes=attributes, StreamConfigurationList=[
        {"StreamARN": f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/s"}])
    return made["QueueDescription"]["QueueARN"]


def received(client, arn, operation="ReceiveQueueRecords", wait_s=20):
    """What is there, or comes while it is waited for."""
    reply = client.call(operation, QueueARN=arn, WaitTimeSeconds=wait_s)
    return [(r["Data"], r["ReceiveCount"]) for r in reply["QueueRecords"]]


def is_nothing(client, arn, operation="ReceiveQueueRecords"):
    return received(client, arn, operation, wait_s=1) == []


@test
def a_record_of_a_queue_comes_again_when_its_visibility_is_over_and_not_before():
    with dev_server() as server:
        client = server.client()
        arn = queue_on(client, VisibilityTimeoutSeconds=3600,
                       DeadLetterConfiguration={"TargetType": "BUILT_IN", "MaxReceiveCount": 2})
        client.call("PutRecord", StreamName="s", Data="eA==", PartitionKey="k")
        assert received(client, arn) == [("eA==", 1)]
        server.advance_clock("59m")
        assert is_nothing(client, arn)
        server.advance_clock("1m")
        assert received(client, arn) == [("eA==", 2)]
        server.kill()
        server.start()
        client = server.client()
        server.advance_clock("1h")
        assert is_nothing(client, arn)
        assert received(client, arn, "ReceiveDeadLetterQueueRecords") == [("eA==", 3)]
        server.advance_clock("23h")  # past the retention
        assert is_nothing(client, arn, "ReceiveDeadLetterQueueRecords")


@test
def a_token_of_a_list_of_queues_is_good_for_five_minutes():
    with dev_server() as server:
        client = server.client()
        queue_on(client)
        client.call("CreateQueue", QueueName="r", StreamConfigurationList=[
            {"StreamARN": f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/s"}])
        token = client.call("ListQueues", MaxResults=1)["NextToken"]
        server.advance_clock("240s")
        assert [q["QueueName"] for q in client.call("ListQueues", NextToken=token)["QueueSummaries"]] == ["r"]
        server.advance_clock("61s")
        try:
            client.call("ListQueues", NextToken=token)
        except headrace.AwsError as error:
            assert error.kind == "ExpiredNextTokenException", error
        else:
            raise AssertionError("an old token was taken")


@test
def queues_take_the_time_that_changes_take():
    with headrace.Server(PROGRAM, "--change-time", "1h", profile="dev") as server:
        client = server.client()
        client.call("CreateStream", StreamName="s")
        server.advance_clock("1h")
        client.wait_active("s")
        arn = client.call("CreateQueue", QueueName="q", StreamConfigurationList=[
            {"StreamARN": f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/s"}])["QueueDescription"]["QueueARN"]

        def status():
            return client.call("DescribeQueue", QueueARN=arn)["QueueDescription"]["QueueStatus"]
        assert status() == "CREATING"
        server.advance_clock("1h")
        assert status() == "ACTIVE"
        client.call("UpdateQueue", QueueARN=arn, QueueAttributes={"VisibilityTimeoutSeconds": 1})
        assert status() == "UPDATING"
        client.call("PutRecord", StreamName="s", Data="eA==", PartitionKey="k")
        assert received(client, arn) == [("eA==", 1)]
        server.advance_clock("1h")
        assert status() == "ACTIVE"
        client.call("DeleteQueue", QueueARN=arn)
        assert status() == "DELETING"
        server.kill()
        server.start()
        client = server.client()
        assert status() == "DELETING"
        server.advance_clock("1h")
        end = time.monotonic() + 240
        while client.call("ListQueues")["QueueSummaries"]:
            assert time.monotonic() < end, "the queue is still listed"
            time.sleep(0.1)


def consumer(client):
    client.call("CreateStream", StreamName="s", ShardCount=1)
    arn = f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/s"
    return client.call("RegisterStreamConsumer", StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]


@test
def a_subscription_lives_for_five_minutes():
    with dev_server() as server:
        client = server.client()
        subscription = client.subscribe(consumer(client), Type="LATEST")
        first = subscription.event()
        server.advance_clock("5s")
        second = subscription.event()
        assert first["Records"] == second["Records"] == []
        assert int(first["ContinuationSequenceNumber"]) < int(second["ContinuationSequenceNumber"])
        server.advance_clock("295s")
        message = subscription.message()
        while message is not None:
            assert message[0] == "SubscribeToShardEvent", message
            message = subscription.message()
        subscription.close()


@test
def a_subscription_is_taken_over_after_five_seconds():
    with dev_server() as server:
        client = server.client()
        arn = consumer(client)
        first = client.subscribe(arn, Type="LATEST")
        first.event()
        server.advance_clock("6s")
        second = client.subscribe(arn, Type="LATEST")
        second.event()
        message = first.news()
        assert message == ("ResourceInUseException", {
            "message": f"Another active subscription exists for this consumer: {headrace.ACCOUNT}:s:"
                       "shardId-000000000000:c"}), message
        assert first.message() is None
        client.put("s", b"to the second", "k")
        assert len(second.news()[1]["Records"]) == 1
        first.close()
        second.close()


@test
def a_moved_clock_stays_moved_after_kill_9():
    server = dev_server()
    try:
        server.start()
        before = server.advance_clock("25h")["offset_seconds"]
        assert before == 25 * 3600, before
        server.kill()
        server.start()
        client = server.client()
        client.call("CreateStream", StreamName="s", ShardCount=1)
        client.call("PutRecord", StreamName="s", Data="eA==", PartitionKey="k")
        got = client.call("GetRecords", ShardIterator=iterator(client, "TRIM_HORIZON"))["Records"]
        ahead = got[0]["ApproximateArrivalTimestamp"] - time.time()
        assert 24.9 * 3600 < ahead < 25.1 * 3600, ahead
        server.stop()
    finally:
        server.remove()


@test
def the_command_line_moves_the_clock():
    with dev_server() as server:
        def run(*arguments):
            return subprocess.run([os.path.abspath(PROGRAM), "clock", *arguments, "--endpoint", server.url],
                                  capture_output=True, text=True, timeout=240)
        assert json.loads(run("advance", "90s").stdout)["offset_seconds"] == 90
        assert json.loads(run("show").stdout)["offset_seconds"] == 90
        assert run("advance", "yesterday").returncode == 2


@test
def only_the_profile_dev_moves_the_clock_and_no_foreign_page_does():
    with headrace.Server(PROGRAM) as server:
        assert status_of(server, "1s") == 403
    with dev_server() as server:
        assert status_of(server, "1s", guard=False) == 403
        assert status_of(server, "-1s") == 400
        assert status_of(server, "99999999h") == 400
        assert status_of(server, "1s") == 200


def main():
    global PROGRAM
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    PROGRAM = options.program
    return tap.main(options.names)


if __name__ == "__main__":
    sys.exit(main())
