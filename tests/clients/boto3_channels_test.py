#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boto3, unmodified, with channels: streams that become objects, also when the server is killed.

    tests/clients/boto3_channels_test.py --program build/headrace
"""
import argparse
import gzip
import json
import os
import subprocess
import sys
import time

import boto3
import botocore.config
from botocore.exceptions import ClientError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

SECONDS_MAX = 240
BUCKET = "channel-lake"
ROLE = f"arn:aws:iam::{headrace.ACCOUNT}:role/channels"
KILLS, RECORDS = 3, 400


def unzstd(content):
    return subprocess.run(["zstd", "-dc"], input=content, capture_output=True, check=True).stdout


class Path:
    """A stream with channels of each format; the tests are stages, in order."""

    def __init__(self, server):
        self.server = server
        self.kinesis, self.s3, self.iam = (self.client(name) for name in ("kinesis", "s3", "iam"))
        self.stream = f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/clicks"
        self.channels = {}

    def client(self, name, key=(headrace.KEY_ID, headrace.SECRET)):
        config = botocore.config.Config(retries={"total_max_attempts": 3, "mode": "standard"}, read_timeout=240)
        return boto3.client(name, region_name="us-east-1", endpoint_url=self.server.url, config=config,
                            aws_access_key_id=key[0], aws_secret_access_key=key[1])

    def make(self, name, form, compression, kinesis=None, **storage):
        made = (kinesis or self.kinesis).create_channel(
            ChannelName=name, ServiceExecutionRoleARN=ROLE,
            StreamConfigurationList=[{"StreamARN": self.stream, "RecordConfiguration": {"RecordFormatType": form}}],
            S3DestinationConfiguration={
                "DataFreshnessInSeconds": 1,
                "StorageConfiguration": {"BucketARN": f"arn:aws:s3:::{BUCKET}", "CompressionType": compression,
                                         "ExpectedBucketOwner": headrace.ACCOUNT, **storage}})["ChannelDescription"]
        assert made["ChannelStatus"] == "CREATING", made
        self.channels[name] = made["ChannelARN"]

    def objects(self, prefix):
        """Keys and contents."""
        found = {}
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for entry in page.get("Contents", []):
                found[entry["Key"]] = self.s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
        return found

    def until(self, prefix, read, wanted):
        """Waits for the objects below a prefix to hold what is wanted."""
        end = time.monotonic() + SECONDS_MAX
        while True:
            got = read(self.objects(prefix))
            if wanted(got):
                return got
            assert time.monotonic() < end, f"{prefix}: {str(got)[:2000]}"
            time.sleep(0.2)

    def a_stream_gets_a_channel_for_each_format(self):
        self.kinesis.create_stream(StreamName="clicks", StreamModeDetails={"StreamMode": "ON_DEMAND"})
        self.kinesis.get_waiter("stream_exists").wait(StreamName="clicks", WaiterConfig={"Delay": 1, "MaxAttempts": 240})
        self.s3.create_bucket(Bucket=BUCKET)
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                         "Principal": {"Service": "kinesis.amazonaws.com"}}]}
        permits = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "kinesis:*"],
                                                           "Resource": "*"}]}
        self.iam.create_role(RoleName="channels", AssumeRolePolicyDocument=json.dumps(trust))
        self.iam.put_role_policy(RoleName="channels", PolicyName="all", PolicyDocument=json.dumps(permits))
        self.make("json", "JSON", "GZIP", OutputKeyTemplate="json/!{timestamp:yyyy}/")
        self.make("text", "STRING", "ZSTD", OutputKeyTemplate="text/")
        self.make("bytes", "BYTE_ARRAY", "NONE", OutputKeyTemplate="bytes/", StorageClass="INTELLIGENT_TIERING")
        listed = self.kinesis.list_channels()["ChannelSummaries"]
        assert [c["ChannelName"] for c in listed] == ["bytes", "json", "text"], listed

    def who_may_not_pass_the_role_makes_no_channel(self):
        def allow(*actions):
            document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
            self.iam.put_user_policy(UserName="operator", PolicyName="p", PolicyDocument=json.dumps(document))

        self.iam.create_user(UserName="operator")
        key = self.iam.create_access_key(UserName="operator")["AccessKey"]
        operator = self.client("kinesis", (key["AccessKeyId"], key["SecretAccessKey"]))
        allow("kinesis:*")
        try:
            self.make("passed", "STRING", "NONE", kinesis=operator, OutputKeyTemplate="passed/")
        except ClientError as error:
            told = error.response["Error"]
            assert told["Code"] == "AccessDeniedException" and "iam:PassRole" in told["Message"], told
        else:
            raise AssertionError("a channel was made with a role that its maker may not pass")
        allow("kinesis:*", "iam:PassRole")
        self.make("passed", "STRING", "NONE", kinesis=operator, OutputKeyTemplate="passed/")
        self.kinesis.delete_channel(ChannelARN=self.channels.pop("passed"))

    def records_become_lines_text_and_bytes(self):
        documents = [json.dumps({"n": n}).encode() for n in range(20)]
        for number, data in enumerate(documents):
            self.kinesis.put_record(StreamName="clicks", PartitionKey=str(number), Data=data)
        self.until("json/", lambda o: sorted(l for c in o.values() for l in gzip.decompress(c).splitlines()),
                   lambda got: got == sorted(documents))
        self.until("text/", lambda o: sorted(l for c in o.values() for l in unzstd(c).splitlines()),
                   lambda got: got == sorted(documents))
        self.until("bytes/", lambda o: sum(len(c) for c in o.values()), lambda got: got == sum(map(len, documents)))
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix="bytes/")["Contents"]
        assert {o["StorageClass"] for o in listed} == {"INTELLIGENT_TIERING"}, listed

    def what_is_no_json_goes_to_the_dead_letters(self):
        self.kinesis.put_record(StreamName="clicks", PartitionKey="bad", Data=b"{no json")
        self.until("errors/", lambda o: [json.loads(l) for c in o.values() for l in c.splitlines()],
                   lambda got: [g["rawData"] for g in got] == ["e25vIGpzb24="])

    def a_killed_server_loses_nothing_that_it_acknowledged(self):
        self.kinesis.delete_channel(ChannelARN=self.channels.pop("json"))
        self.kinesis.delete_channel(ChannelARN=self.channels.pop("bytes"))
        sent = set()
        for kill in range(KILLS):
            for number in range(RECORDS):
                data = f"{kill}-{number}"
                self.kinesis.put_record(StreamName="clicks", PartitionKey=data, Data=data.encode())
                sent.add(data)
            self.server.kill()
            self.server.start()

        def lines(found):
            return [l.decode() for c in found.values() for l in unzstd(c).splitlines()]

        got = self.until("text/", lines, lambda got: sent <= set(got))
        again = len(got) - len(set(got))
        assert again <= KILLS * RECORDS, again  # at least once: only what a kill interrupted comes twice

    def a_stream_goes_after_its_channels(self):
        self.kinesis.delete_channel(ChannelARN=self.channels.pop("text"))
        assert self.kinesis.list_channels()["ChannelSummaries"] == []
        self.kinesis.delete_stream(StreamName="clicks")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    result = tap.Tap()
    with headrace.Server(options.program) as server:
        path = Path(server)
        for stage in (path.a_stream_gets_a_channel_for_each_format, path.who_may_not_pass_the_role_makes_no_channel,
                      path.records_become_lines_text_and_bytes,
                      path.what_is_no_json_goes_to_the_dead_letters,
                      path.a_killed_server_loses_nothing_that_it_acknowledged, path.a_stream_goes_after_its_channels):
            result.run(stage.__name__.replace("_", " "), stage)
    return result.end()


if __name__ == "__main__":
    sys.exit(main())
