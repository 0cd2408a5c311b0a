#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boto3, unmodified, with queues on streams: made, drained, dead letters restored, deleted.

    tests/clients/boto3_queues_test.py --program build/headrace
"""
import argparse
import os
import sys
import threading
import time

import boto3
import botocore.config
from botocore.exceptions import ClientError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

RECORDS, CONSUMERS = 200, 4
STATUS_SECONDS_MAX = 240


def kinesis(server):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=240)
    return boto3.client("kinesis", region_name="us-east-1", endpoint_url=server.url, config=config,
                        aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)


def handles(records):
    return [{"ReceiptHandle": r["ReceiptHandle"]} for r in records]


class Path:
    """One queue's life; the tests are its stages, in order."""

    def __init__(self, server):
        self.server, self.client = server, kinesis(server)
        self.stream = f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/boto3-queues"
        self.arn = None

    def status(self, wanted):
        end = time.monotonic() + STATUS_SECONDS_MAX
        while True:
            about = self.client.describe_queue(QueueARN=self.arn)["QueueDescription"]
            if about["QueueStatus"] == wanted:
                return about
            assert time.monotonic() < end, about
            time.sleep(0.05)

    def receive(self, **more):
        return self.client.receive_queue_records(QueueARN=self.arn, **more)["QueueRecords"]

    def dead_letters(self, **more):
        return self.client.receive_dead_letter_queue_records(QueueARN=self.arn, **more)["QueueRecords"]

    def a_queue_is_made_and_becomes_active(self):
        self.client.create_stream(StreamName="boto3-queues", StreamModeDetails={"StreamMode": "ON_DEMAND"})
        self.client.get_waiter("stream_exists").wait(StreamName="boto3-queues",
                                                     WaiterConfig={"Delay": 1, "MaxAttempts": 240})
        made = self.client.create_queue(
            QueueName="work", StreamConfigurationList=[{"StreamARN": self.stream}], Tags={"team": "rivers"},
            QueueAttributes={"VisibilityTimeoutSeconds": 600,
                             "DeadLetterConfiguration": {"TargetType": "BUILT_IN", "MaxReceiveCount": 2}})
        self.arn = made["QueueDescription"]["QueueARN"]
        assert made["QueueDescription"]["QueueStatus"] == "CREATING", made
        about = self.status("ACTIVE")
        assert about["StreamConfigurationList"][0]["StartingPosition"]["Type"] == "LATEST", about
        summary = self.client.describe_stream_summary(StreamName="boto3-queues")["StreamDescriptionSummary"]
        assert summary["QueueCount"] == 1 and summary["ConsumerCount"] == 0, summary
        tags = self.client.list_tags_for_resource(ResourceARN=self.arn)["Tags"]
        assert tags == [{"Key": "team", "Value": "rivers"}], tags

    def several_consumers_drain_it_and_each_record_is_done_once(self):
        self.client.put_records(StreamARN=self.stream, Records=[
            {"Data": f"record-{n}".encode(), "PartitionKey": f"key-{n}"} for n in range(RECORDS)])
        done, lock, trouble, end = {}, threading.Lock(), [], time.monotonic() + STATUS_SECONDS_MAX

        def consume():
            client = kinesis(self.server)
            try:
                while len(done) < RECORDS and time.monotonic() < end:
                    records = client.receive_queue_records(QueueARN=self.arn, WaitTimeSeconds=1)["QueueRecords"]
                    if not records:
                        continue
                    reply = client.acknowledge_queue_records(QueueARN=self.arn, Entries=handles(records))
                    assert len(reply["Successful"]) == len(records) and not reply["Failed"], reply
                    with lock:
                        for r in records:
                            assert r["ReceiveCount"] == 1, r
                            done[r["RecordId"]] = (r["Data"], r["PartitionKey"])
            except Exception as error:
                trouble.append(error)

        consumers = [threading.Thread(target=consume) for _ in range(CONSUMERS)]
        for consumer in consumers:
            consumer.start()
        for consumer in consumers:
            consumer.join()
        assert not trouble, trouble
        assert sorted(done.values()) == sorted((f"record-{n}".encode(), f"key-{n}") for n in range(RECORDS))
        assert self.receive(WaitTimeSeconds=1) == []

    def a_waiting_call_gets_a_record_as_soon_as_it_is_put(self):
        got = []
        waiter = threading.Thread(target=lambda: got.extend(kinesis(self.server).receive_queue_records(
            QueueARN=self.arn, WaitTimeSeconds=20)["QueueRecords"]))
        waiter.start()
        time.sleep(0.3)
        self.client.put_record(StreamARN=self.stream, Data=b"late", PartitionKey="p")
        waiter.join()
        assert [r["Data"] for r in got] == [b"late"], got
        self.client.acknowledge_queue_records(QueueARN=self.arn, Entries=handles(got))

    def a_record_that_fails_twice_is_a_dead_letter_and_can_be_restored(self):
        self.client.put_record(StreamARN=self.stream, Data=b"poison", PartitionKey="p")
        for count in (1, 2):
            records = self.receive(WaitTimeSeconds=20)
            assert [(r["Data"], r["ReceiveCount"]) for r in records] == [(b"poison", count)], records
            reply = self.client.update_queue_records_visibility(QueueARN=self.arn, Entries=[
                {"ReceiptHandle": records[0]["ReceiptHandle"], "VisibilityTimeoutSeconds": 0}])
            assert len(reply["Successful"]) == 1, reply
        assert self.receive(WaitTimeSeconds=1) == []
        letters = self.dead_letters(WaitTimeSeconds=20)
        assert [r["Data"] for r in letters] == [b"poison"], letters
        assert letters[0]["RecordId"] == records[0]["RecordId"]
        reply = self.client.restore_dead_letter_queue_records(QueueARN=self.arn, Entries=handles(letters))
        assert len(reply["Successful"]) == 1, reply
        again = self.receive(WaitTimeSeconds=20)
        assert [(r["Data"], r["ReceiveCount"]) for r in again] == [(b"poison", 1)], again
        self.client.acknowledge_queue_records(QueueARN=self.arn, Entries=handles(again))

    def attributes_are_updated(self):
        self.client.update_queue(QueueARN=self.arn, QueueAttributes={"VisibilityTimeoutSeconds": 7})
        about = self.status("ACTIVE")
        assert about["QueueAttributes"] == {"VisibilityTimeoutSeconds": 7, "DeadLetterConfiguration": {
            "TargetType": "BUILT_IN", "MaxReceiveCount": 2}}, about
        assert [q["QueueName"] for q in self.client.list_queues()["QueueSummaries"]] == ["work"]

    def what_is_done_and_what_is_in_flight_outlive_kill_9(self):
        self.client.put_records(StreamARN=self.stream, Records=[
            {"Data": b"a", "PartitionKey": "p"}, {"Data": b"b", "PartitionKey": "p"}])
        records = self.receive(WaitTimeSeconds=20, VisibilityTimeoutSeconds=600)
        assert [r["Data"] for r in records] == [b"a", b"b"], records
        self.client.acknowledge_queue_records(QueueARN=self.arn, Entries=handles(records[:1]))
        self.server.kill()
        self.server.start()
        assert self.receive(WaitTimeSeconds=1) == []
        reply = self.client.acknowledge_queue_records(QueueARN=self.arn, Entries=handles(records))
        assert [e["ErrorCode"] for e in reply["Failed"]] == ["ResourceNotFoundException"], reply
        assert len(reply["Successful"]) == 1, reply

    def the_stream_is_deleted_after_its_queue(self):
        try:
            self.client.delete_stream(StreamName="boto3-queues")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ResourceInUseException", error
        else:
            raise AssertionError("a stream with a queue was deleted")
        self.client.delete_queue(QueueARN=self.arn)
        end = time.monotonic() + STATUS_SECONDS_MAX
        while self.client.list_queues()["QueueSummaries"]:
            assert time.monotonic() < end, "the queue is still listed"
            time.sleep(0.05)
        self.client.delete_stream(StreamName="boto3-queues")


STAGES = [function for name, function in vars(Path).items()
          if callable(function) and name not in ("__init__", "status", "receive", "dead_letters")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    with headrace.Server(options.program) as server:
        path = Path(server)
        for stage in STAGES:
            report.run(stage.__name__.replace("_", " "), lambda s=stage: s(path))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
