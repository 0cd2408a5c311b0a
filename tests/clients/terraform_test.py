#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The calls that Terraform's AWS provider makes for aws_kinesis_stream, aws_kinesis_stream_consumer,
aws_kinesis_resource_policy, aws_kinesis_account_settings and aws_kinesis_channel: plan, apply, apply once more, change, destroy. The
provider itself cannot be had as a Go module: the versions that there are end with v1.60.0 of 2019, which knows no
capacity modes; all later ones are refused. So its sequences are made with boto3, in its order and with its waits, as
its source of 2026 has them: a state that it does not know is an error, and what it reads back must be what was
applied, or every plan would show a difference.

    tests/clients/terraform_test.py --program build/headrace
"""
import argparse
import json
import os
import sys
import time

import boto3
import botocore.config
from botocore.exceptions import ClientError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

WAIT_SECONDS_MAX = 240
POLL_SECONDS = 0.1       # the provider waits for seconds
TAGS_AT_ONCE = 10        # of AddTagsToStream and RemoveTagsFromStream
OTHER_ACCOUNT = "arn:aws:iam::111122223333:root"
CHANGE_TIME = "5m"       # of a clock that is moved when CREATING, UPDATING and DELETING have been seen
DEFAULTS = {"encryption_type": "NONE", "kms_key_id": None, "retention_period": 24, "shard_count": None,
            "shard_level_metrics": set(), "stream_mode": "PROVISIONED", "max_record_size_in_kib": None, "tags": {},
            "enforce_consumer_deletion": False}


SERVER = None            # set by main


class NotFound(Exception):
    pass


def found(call, **arguments):
    try:
        return call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise NotFound from error
        raise


def wait(status, pending, target):
    """As the provider waits: pending states are passed through, any other one is an error. target None: it is gone.
    The states that were seen. Once a state was seen, the time is over that it takes."""
    seen, end = [], time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < end:
        try:
            now = status()
        except NotFound:
            now = None
        is_known = bool(seen) and seen[-1] == now
        if not is_known:
            seen.append(now)
        if now == target:
            return seen
        assert now in pending, f"unexpected state {now}, wanted {target}"
        if not is_known:
            SERVER.advance_clock(CHANGE_TIME)
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"still {seen[-1]}, wanted {target}")


class Stream:
    """aws_kinesis_stream. `config` is what the user wrote, `state` what the provider has read."""

    def __init__(self, client, **config):
        self.client, self.config = client, {**DEFAULTS, **config}
        self.name, self.arn, self.state = config["name"], None, None
        self.states = []  # that the waits have seen

    def call(self, operation, **arguments):
        return found(getattr(self.client, operation), **arguments)

    def summary(self):
        return self.call("describe_stream_summary", StreamName=self.name)["StreamDescriptionSummary"]

    def wait(self, pending, target="ACTIVE"):
        self.states += wait(lambda: self.summary()["StreamStatus"], pending, target)

    def provisioned(self):
        return self.config["stream_mode"] == "PROVISIONED"

    def limits(self):
        """At every plan: a limit that is too low ends it."""
        try:
            limits = self.call("describe_limits")
        except ClientError:
            return  # the provider does without
        assert limits["OnDemandStreamCount"] < limits["OnDemandStreamCountLimit"], limits
        wanted = (self.config["shard_count"] or 0) - ((self.state or {}).get("shard_count") or 0)
        assert limits["OpenShardCount"] + wanted <= limits["ShardLimit"], limits

    def create(self):
        self.limits()
        config = self.config
        arguments = {"StreamName": self.name}
        if config["max_record_size_in_kib"]:
            arguments["MaxRecordSizeInKiB"] = config["max_record_size_in_kib"]
        arguments["StreamModeDetails"] = {"StreamMode": config["stream_mode"]}
        if self.provisioned():
            arguments["ShardCount"] = config["shard_count"]
        if config["tags"]:
            arguments["Tags"] = config["tags"]
        self.call("create_stream", **arguments)
        self.wait(("CREATING",))
        self.arn = self.summary()["StreamARN"]
        self.call("increase_stream_retention_period", StreamName=self.name,
                  RetentionPeriodHours=config["retention_period"])
        self.wait(("UPDATING",))
        if config["shard_level_metrics"]:
            self.metrics("enable", config["shard_level_metrics"])
        if config["encryption_type"] == "KMS":
            self.encrypt("start", config["kms_key_id"])
        self.read()

    def metrics(self, what, names):
        self.call(f"{what}_enhanced_monitoring", StreamName=self.name, ShardLevelMetrics=sorted(names))
        self.wait(("UPDATING",))

    def encrypt(self, what, key):
        self.call(f"{what}_stream_encryption", StreamName=self.name, EncryptionType="KMS", KeyId=key)
        self.wait(("UPDATING",))

    def read(self):
        about = self.summary()
        mode = about.get("StreamModeDetails", {"StreamMode": "PROVISIONED"})["StreamMode"]
        tags = self.call("list_tags_for_stream", StreamName=self.name)  # one page: all of them must be there
        assert not tags["HasMoreTags"], tags
        self.state = {
            "encryption_type": about.get("EncryptionType"), "kms_key_id": about.get("KeyId"),
            "retention_period": about["RetentionPeriodHours"],
            "shard_count": about["OpenShardCount"] if mode == "PROVISIONED" else None,
            "shard_level_metrics": {m for e in about["EnhancedMonitoring"] for m in e["ShardLevelMetrics"]},
            "stream_mode": mode, "max_record_size_in_kib": about["MaxRecordSizeInKiB"],
            "tags": {t["Key"]: t["Value"] for t in tags["Tags"]},
        }

    def drift(self):
        """What a plan shows: {name: (is, wanted)}."""
        self.read()
        self.limits()
        wanted = {k: v for k, v in self.config.items() if k in self.state}
        if wanted["max_record_size_in_kib"] is None:  # not written: whatever it is
            del wanted["max_record_size_in_kib"]
        return {k: (self.state[k], v) for k, v in wanted.items() if self.state[k] != v}

    def update(self, **changes):
        old, self.config = self.config, {**self.config, **changes}
        self.limits()
        new, changed = self.config, {k for k in self.config if old[k] != self.config[k]}
        if "stream_mode" in changed:
            self.call("update_stream_mode", StreamARN=self.arn, StreamModeDetails={"StreamMode": new["stream_mode"]})
            self.wait(("UPDATING",))
        if self.provisioned() and "shard_count" in changed:
            self.call("update_shard_count", StreamName=self.name, ScalingType="UNIFORM_SCALING",
                      TargetShardCount=new["shard_count"])
            self.wait(("UPDATING",))
        if "retention_period" in changed:
            way = "increase" if new["retention_period"] > old["retention_period"] else "decrease"
            self.call(f"{way}_stream_retention_period", StreamName=self.name,
                      RetentionPeriodHours=new["retention_period"])
            self.wait(("UPDATING",))
        self.update_metrics(old["shard_level_metrics"], new["shard_level_metrics"])
        if changed & {"encryption_type", "kms_key_id"}:
            if new["encryption_type"] == "KMS":
                self.encrypt("start", new["kms_key_id"])
            else:
                self.encrypt("stop", old["kms_key_id"])
        if "max_record_size_in_kib" in changed:
            self.call("update_max_record_size", StreamARN=self.arn, MaxRecordSizeInKiB=new["max_record_size_in_kib"])
            self.wait(("UPDATING",))
        self.update_tags(old["tags"], new["tags"])
        self.read()

    def update_metrics(self, old, new):
        if old - new:
            self.metrics("disable", old - new)
        if new - old:
            self.metrics("enable", new - old)

    def update_tags(self, old, new):
        gone = sorted(set(old) - set(new))
        added = sorted((k, v) for k, v in new.items() if old.get(k) != v)
        for at in range(0, len(gone), TAGS_AT_ONCE):
            self.call("remove_tags_from_stream", StreamName=self.name, TagKeys=gone[at:at + TAGS_AT_ONCE])
        for at in range(0, len(added), TAGS_AT_ONCE):
            self.call("add_tags_to_stream", StreamName=self.name, Tags=dict(added[at:at + TAGS_AT_ONCE]))

    def delete(self):
        self.call("delete_stream", StreamName=self.name,
                  EnforceConsumerDeletion=self.config["enforce_consumer_deletion"])
        self.wait(("DELETING",), None)


class Consumer:
    """aws_kinesis_stream_consumer."""

    def __init__(self, client, stream_arn, name, tags=None):
        self.client, self.stream_arn, self.name, self.tags = client, stream_arn, name, tags or {}
        self.arn = self.state = None
        self.states = []

    def describe(self):
        return found(self.client.describe_stream_consumer, ConsumerARN=self.arn)["ConsumerDescription"]

    def create(self):
        more = {"Tags": self.tags} if self.tags else {}
        made = self.client.register_stream_consumer(ConsumerName=self.name, StreamARN=self.stream_arn, **more)
        self.arn = made["Consumer"]["ConsumerARN"]
        self.states += wait(lambda: self.describe()["ConsumerStatus"], ("CREATING",), "ACTIVE")
        self.read()

    def read(self):
        about = self.describe()
        tags = self.client.list_tags_for_resource(ResourceARN=self.arn)["Tags"]
        self.state = {"arn": about["ConsumerARN"], "name": about["ConsumerName"], "stream_arn": about["StreamARN"],
                      "creation_timestamp": about["ConsumerCreationTimestamp"],
                      "tags": {t["Key"]: t.get("Value") for t in tags}}

    def drift(self):
        before = self.state
        self.read()
        return {k: (self.state[k], v) for k, v in before.items() if self.state[k] != v}

    def retag(self, tags):
        gone, added = sorted(set(self.tags) - set(tags)), {k: v for k, v in tags.items() if self.tags.get(k) != v}
        if gone:
            self.client.untag_resource(ResourceARN=self.arn, TagKeys=gone)
        if added:
            self.client.tag_resource(ResourceARN=self.arn, Tags=added)
        self.tags = tags
        self.read()

    def delete(self):
        self.client.deregister_stream_consumer(ConsumerARN=self.arn)
        self.states += wait(lambda: self.describe()["ConsumerStatus"], ("DELETING",), None)


class ResourcePolicy:
    """aws_kinesis_resource_policy: two documents are the same when they mean the same."""

    def __init__(self, client, arn, actions):
        self.client, self.arn, self.actions = client, arn, actions

    def document(self):
        return {"Version": "2012-10-17", "Statement": [{"Sid": "s", "Effect": "Allow", "Principal": {"AWS": OTHER_ACCOUNT},
                                                         "Action": self.actions, "Resource": self.arn}]}

    def put(self, actions=None):
        self.actions = actions or self.actions
        self.client.put_resource_policy(ResourceARN=self.arn, Policy=json.dumps(self.document()))

    def drift(self):
        there = json.loads(found(self.client.get_resource_policy, ResourceARN=self.arn)["Policy"])
        return {} if there == self.document() else {"policy": (there, self.document())}

    def delete(self):
        self.client.delete_resource_policy(ResourceARN=self.arn)


class Channel:
    """aws_kinesis_channel with an S3 destination. What was not configured and is told is remembered: it may not change."""

    RETRIED = "Unable to access the S3 bucket"  # the provider goes on for minutes: a new role takes effect after a while
    TARGET_TIMES = 2  # that it must be seen ACTIVE one after the other

    def __init__(self, client, stream_arn, bucket, role_arn, tags=None):
        self.client, self.tags, self.arn, self.state, self.freshness, self.logs = client, tags or {}, None, None, 300, None
        self.states, self.config = [], {
            "ChannelName": "delivery", "ServiceExecutionRoleARN": role_arn,
            "StreamConfigurationList": [{"StreamARN": stream_arn, "RecordConfiguration": {"RecordFormatType": "JSON"}}]}
        self.storage = {"BucketARN": f"arn:aws:s3:::{bucket}", "ExpectedBucketOwner": headrace.ACCOUNT,
                        "StorageClass": "STANDARD", "CompressionType": "NONE"}

    def describe(self):
        return found(self.client.describe_channel, ChannelARN=self.arn)["ChannelDescription"]

    def wait(self, pending, target="ACTIVE"):
        for _ in range(self.TARGET_TIMES if target else 1):
            self.states += wait(lambda: self.describe()["ChannelStatus"], pending, target)

    def create(self):
        made = self.client.create_channel(
            **self.config, **({"Tags": self.tags} if self.tags else {}), S3DestinationConfiguration={
                "DataFreshnessInSeconds": self.freshness, "StorageConfiguration": self.storage})
        self.arn = made["ChannelDescription"]["ChannelARN"]
        self.wait(("CREATING",))
        self.read()

    def read(self):
        about = self.describe()
        tags = self.client.list_tags_for_resource(ResourceARN=self.arn)["Tags"]
        self.state = {**about, "tags": {t["Key"]: t.get("Value") for t in tags}}
        if self.logs is None and not about["LoggingConfiguration"]["CloudWatchLogs"]["Enabled"]:
            del self.state["LoggingConfiguration"]
        return self.state

    def drift(self):
        before, now = self.state, self.read()
        told, storage = now["S3DestinationConfiguration"], now["S3DestinationConfiguration"]["StorageConfiguration"]
        wanted = {**self.config, "tags": self.tags, "freshness": self.freshness, **self.storage}
        wanted["StreamConfigurationList"] = [{**stream, "StreamCreationTimestamp": there["StreamCreationTimestamp"]}
                                             for stream, there in zip(wanted["StreamConfigurationList"],
                                                                      now["StreamConfigurationList"])]
        seen = {**now, **storage, "freshness": told["DataFreshnessInSeconds"]}
        return {**{k: (seen.get(k), v) for k, v in wanted.items() if seen.get(k) != v},
                **{k: (now.get(k), v) for k, v in before.items() if now.get(k) != v}}

    def update(self, freshness=None, logs=None):
        """Both blocks are sent when one of them has changed; logs that are taken out are switched off."""
        self.freshness = freshness or self.freshness
        sent = {"S3DestinationConfiguration": {"DataFreshnessInSeconds": self.freshness}}
        if logs is not None or self.logs is not None:
            sent["LoggingConfiguration"] = {"CloudWatchLogs": logs or {"Enabled": False}}
        self.logs = logs
        self.client.update_channel(ChannelARN=self.arn, **sent)
        self.wait(("UPDATING",))
        self.read()

    def retag(self, tags):
        gone, added = sorted(set(self.tags) - set(tags)), {k: v for k, v in tags.items() if self.tags.get(k) != v}
        if gone:
            self.client.untag_resource(ResourceARN=self.arn, TagKeys=gone)
        if added:
            self.client.tag_resource(ResourceARN=self.arn, Tags=added)
        self.tags = tags
        self.read()

    def delete(self):
        found(self.client.delete_channel, ChannelARN=self.arn)
        self.wait(("DELETING",), None)


def client_of(server, service="kinesis"):
    """The retries are the provider's, which has the SDK's."""
    config = botocore.config.Config(retries={"total_max_attempts": 25, "mode": "standard"}, connect_timeout=60,
                                    read_timeout=240)
    return boto3.client(service, region_name="us-east-1", endpoint_url=server.url, config=config,
                        aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)


class Terraform:
    """One server whose changes take time; the tests are stages of two configurations, in order."""

    def __init__(self, server):
        self.client, self.s3, self.iam = (client_of(server, name) for name in ("kinesis", "s3", "iam"))
        self.stream = Stream(self.client, name="plain", shard_count=2, tags={"env": "test", "team": "x y"})
        self.full = Stream(self.client, name="full", shard_count=3, retention_period=48, encryption_type="KMS",
                           kms_key_id="alias/aws/kinesis", max_record_size_in_kib=2048,
                           shard_level_metrics={"IncomingBytes", "OutgoingRecords"},
                           tags={f"tag {n}": str(n) for n in range(23)})
        self.demand = Stream(self.client, name="demand", stream_mode="ON_DEMAND", enforce_consumer_deletion=True)
        self.consumers = []

    def streams(self):
        return self.stream, self.full, self.demand

    def a_first_apply_makes_what_is_configured(self):
        for stream in self.streams():
            stream.create()
            assert "CREATING" in stream.states, stream.states
        assert self.demand.state["shard_count"] is None and self.demand.state["stream_mode"] == "ON_DEMAND"
        assert self.full.state["kms_key_id"] == "alias/aws/kinesis" and self.stream.state["kms_key_id"] is None

    def a_second_apply_finds_no_drift(self):
        for stream in self.streams():
            assert stream.drift() == {}, (stream.name, stream.drift())

    def shards_are_counted_anew(self):
        for count in (4, 2, 3):
            self.stream.update(shard_count=count)
            assert self.stream.drift() == {}, self.stream.drift()
        assert "UPDATING" in self.stream.states

    def retention_goes_up_and_down(self):
        for hours in (72, 24, 8760, 25):
            self.full.update(retention_period=hours)
            assert self.full.drift() == {}, self.full.drift()

    def metrics_of_shards_are_exchanged(self):
        for names in ({"IncomingRecords", "OutgoingRecords"}, set(), {"IteratorAgeMilliseconds"}):
            self.full.update(shard_level_metrics=names)
            assert self.full.drift() == {}, self.full.drift()

    def encryption_stops_and_starts(self):
        self.full.update(encryption_type="NONE", kms_key_id=None)
        assert self.full.drift() == {} and self.full.state["kms_key_id"] is None, self.full.drift()
        self.full.update(encryption_type="KMS", kms_key_id="alias/aws/kinesis")
        assert self.full.drift() == {}, self.full.drift()

    def record_sizes_change(self):
        self.full.update(max_record_size_in_kib=10240)
        assert self.full.drift() == {}, self.full.drift()

    def tags_change_in_tens(self):
        self.full.update(tags={**{f"tag {n}": "other" for n in range(12)}, "new": ""})
        assert self.full.drift() == {}, self.full.drift()
        self.full.update(tags={})
        assert self.full.drift() == {}, self.full.drift()

    def the_mode_changes_and_shards_are_counted_again_then(self):
        self.stream.update(stream_mode="ON_DEMAND", shard_count=None)
        assert self.stream.drift() == {}, self.stream.drift()
        open_now = self.stream.summary()["OpenShardCount"]
        self.stream.update(stream_mode="PROVISIONED", shard_count=open_now + 1)
        assert self.stream.drift() == {}, self.stream.drift()

    def everything_changes_at_once(self):
        self.full.update(shard_count=4, retention_period=168, encryption_type="NONE", kms_key_id=None,
                         shard_level_metrics=set(), max_record_size_in_kib=1024, tags={"last": "1"})
        assert self.full.drift() == {}, self.full.drift()

    def the_data_source_reads_shards(self):
        pages = self.client.get_paginator("list_shards").paginate(StreamName="plain")
        shards = [shard for page in pages for shard in page["Shards"]]
        still_open = [s for s in shards if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
        assert len(still_open) == self.stream.state["shard_count"] < len(shards), shards

    def consumers_are_made_and_show_no_drift(self):
        for stream, name, tags in ((self.stream, "one", {"a": "b"}), (self.stream, "two", {}), (self.demand, "left", {})):
            consumer = Consumer(self.client, stream.arn, name, tags)
            consumer.create()
            assert consumer.states[-1] == "ACTIVE" and consumer.drift() == {}, consumer.drift()
            self.consumers.append(consumer)
        self.consumers[0].retag({"c": "d"})
        assert self.consumers[0].state["tags"] == {"c": "d"} and self.consumers[0].drift() == {}

    def policies_of_resources_are_made_changed_and_removed(self):
        policy = ResourcePolicy(self.client, self.stream.arn, ["kinesis:PutRecord"])
        policy.put()
        assert policy.drift() == {}, policy.drift()
        policy.put(["kinesis:DescribeStreamSummary", "kinesis:GetRecords"])
        assert policy.drift() == {}, policy.drift()
        policy.delete()
        try:
            policy.delete()
        except ClientError as error:  # somebody else was first: the provider is content
            assert error.response["Error"]["Code"] == "ResourceNotFoundException", error
        assert policy.drift() != {}

    def settings_of_the_account_are_set_and_read(self):
        def status():
            return self.client.describe_account_settings()["MinimumThroughputBillingCommitment"]

        self.client.update_account_settings(MinimumThroughputBillingCommitment={"Status": "ENABLED"})
        assert status()["Status"] == "ENABLED" and status()["StartedAt"] < status()["EarliestAllowedEndAt"], status()

    def a_channel_is_made_changed_and_removed_and_shows_no_drift(self):
        self.s3.create_bucket(Bucket="terraform-lake")
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                         "Principal": {"Service": "kinesis.amazonaws.com"}}]}
        role = self.iam.create_role(RoleName="delivery", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        channel = Channel(self.client, self.demand.arn, "terraform-lake", role, {"a": "b"})
        channel.create()
        assert channel.drift() == {}, channel.drift()
        told = channel.state["S3DestinationConfiguration"]
        assert told["StorageConfiguration"]["OutputKeyTemplate"] and told["DeadLetterQueueS3Configuration"]["BucketARN"]
        channel.update(freshness=420)
        channel.update(logs={"Enabled": True, "LogGroupName": "/aws/kinesis/x", "LogStreamName": "delivery"})
        assert channel.drift() == {} and channel.state["LoggingConfiguration"]["CloudWatchLogs"] == channel.logs
        channel.update()
        channel.retag({"c": "d"})
        assert channel.drift() == {} and "UPDATING" in channel.states, channel.drift()
        channel.delete()
        again = Channel(self.client, self.demand.arn, "terraform-lake", role)
        again.storage = {**told["StorageConfiguration"], "ExpectedBucketOwner": "111122223333"}
        try:
            again.create()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ValidationException" and Channel.RETRIED in str(error), error
        else:
            raise AssertionError("it was made for a bucket of somebody else's")
        again.storage = told["StorageConfiguration"]  # what was told may be said: an import that is written down
        again.create()
        assert again.drift() == {}, again.drift()
        again.delete()

    def a_stream_that_has_consumers_is_not_destroyed_unless_that_is_configured(self):
        try:
            self.stream.call("delete_stream", StreamName="plain", EnforceConsumerDeletion=False)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ResourceInUseException", error
        else:
            raise AssertionError("it was deleted")
        self.demand.delete()
        assert self.demand.states[-1] is None

    def a_destroy_removes_consumers_and_then_streams(self):
        for consumer in self.consumers[:2]:
            consumer.delete()
        for stream in (self.stream, self.full):
            stream.delete()
            assert "DELETING" in stream.states, stream.states
        assert self.client.list_streams()["StreamNames"] == []

    def a_name_is_free_again_at_once(self):
        again = Stream(self.client, name="plain", shard_count=1)
        again.create()
        assert again.drift() == {}
        again.delete()

    def run(self, report):
        for stage in (self.a_first_apply_makes_what_is_configured, self.a_second_apply_finds_no_drift,
                      self.shards_are_counted_anew, self.retention_goes_up_and_down,
                      self.metrics_of_shards_are_exchanged, self.encryption_stops_and_starts,
                      self.record_sizes_change, self.tags_change_in_tens,
                      self.the_mode_changes_and_shards_are_counted_again_then, self.everything_changes_at_once,
                      self.the_data_source_reads_shards, self.consumers_are_made_and_show_no_drift,
                      self.policies_of_resources_are_made_changed_and_removed,
                      self.settings_of_the_account_are_set_and_read,
                      self.a_channel_is_made_changed_and_removed_and_shows_no_drift,
                      self.a_stream_that_has_consumers_is_not_destroyed_unless_that_is_configured,
                      self.a_destroy_removes_consumers_and_then_streams, self.a_name_is_free_again_at_once):
            report.run(stage.__name__.replace("_", " "), stage)


def main():
    global SERVER
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    with headrace.Server(options.program, "--change-time", CHANGE_TIME, limits="on", profile="dev") as SERVER:
        Terraform(SERVER).run(report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
