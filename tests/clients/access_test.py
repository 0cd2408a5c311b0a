#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Access and encryption with unmodified clients: boto3 and the AWS command line make users, roles, policies
and keys, and are permitted and refused by them.

    tests/clients/access_test.py --program build/headrace
"""
import argparse
import json
import os
import subprocess
import sys

import boto3
import botocore.config
from botocore.exceptions import ClientError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

AWS = os.path.join(os.path.dirname(sys.executable), "aws")
CALL_SECONDS_MAX = 60
ACCOUNT = headrace.ACCOUNT
ROOT = {"aws_access_key_id": headrace.KEY_ID, "aws_secret_access_key": headrace.SECRET}


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def client(server, service, keys, region="us-east-1"):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=10,
                                    read_timeout=30)
    return boto3.client(service, region_name=region, endpoint_url=server.url, config=config, **keys)


def refused(code, text, call, **arguments):
    """The call must be refused with this code, and its message must end so; gives the request id."""
    try:
        call(**arguments)
    except ClientError as error:
        got = error.response["Error"]
        assert got["Code"] == code, got
        assert got.get("Message", "").endswith(text), got["Message"]
        return error.response["ResponseMetadata"]["RequestId"]
    raise AssertionError(f"{code} was expected, and the call succeeded")


OTHER = "111122223333"
EVE = {"aws_access_key_id": "AKIAOTHERACCOUNT0001", "aws_secret_access_key": "another/SECRET+of+forty+characters+12345"}


class Access:
    """One server; the tests are stages, in order."""

    def __init__(self, server):
        self.server = server
        self.iam, self.kms = client(server, "iam", ROOT), client(server, "kms", ROOT)
        self.root = client(server, "kinesis", ROOT)
        self.arn = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/clicks"
        self.keys = self.session = None

    def bob(self, service="kinesis"):
        return client(self.server, service, self.keys)

    def put(self, kinesis, **more):
        return kinesis.put_record(StreamName="clicks", Data=b"x", PartitionKey="k", **more)

    def the_root_is_who_it_is_and_may_everything(self):
        who = client(self.server, "sts", ROOT).get_caller_identity()
        assert (who["Account"], who["Arn"]) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root"), who
        self.root.create_stream(StreamName="clicks", ShardCount=1)
        self.root.get_waiter("stream_exists").wait(StreamName="clicks",
                                                   WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        self.put(self.root)

    def a_new_user_may_nothing_and_is_told_why(self):
        self.iam.create_user(UserName="bob")
        key = self.iam.create_access_key(UserName="bob")["AccessKey"]
        self.keys = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        who = self.bob("sts").get_caller_identity()
        assert who["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/bob" and who["UserId"].startswith("AIDA"), who
        refused("AccessDeniedException", f"User: {who['Arn']} is not authorized to perform: kinesis:PutRecord on "
                f"resource: {self.arn} because no identity-based policy allows the kinesis:PutRecord action",
                self.put, kinesis=self.bob())
        refused("AccessDenied", "because no identity-based policy allows the iam:ListUsers action",
                self.bob("iam").list_users)

    def an_inline_policy_allows_at_once(self):
        self.iam.put_user_policy(UserName="bob", PolicyName="puts", PolicyDocument=policy(
            allow("kinesis:Put*", self.arn), allow("kinesis:GetShardIterator", self.arn)))
        self.put(self.bob())
        refused("AccessDeniedException", "because no identity-based policy allows the kinesis:DescribeStream action",
                self.bob().describe_stream, StreamName="clicks")
        refused("AccessDeniedException", "because no identity-based policy allows the kinesis:PutRecord action",
                self.bob().put_record, StreamName="other", Data=b"x", PartitionKey="k")

    def an_iterator_is_asked_about_like_its_stream(self):
        iterator = self.bob().get_shard_iterator(StreamName="clicks", ShardId="shardId-000000000000",
                                                 ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        refused("AccessDeniedException", f"on resource: {self.arn} because no identity-based policy allows the "
                "kinesis:GetRecords action", self.bob().get_records, ShardIterator=iterator)
        self.iam.put_user_policy(UserName="bob", PolicyName="gets",
                                 PolicyDocument=policy(allow("kinesis:GetRecords", self.arn)))
        assert len(self.bob().get_records(ShardIterator=iterator)["Records"]) == 2

    def a_deny_wins_and_is_explained(self):
        made = self.iam.create_policy(PolicyName="frozen", PolicyDocument=policy(
            {"Sid": "Frozen", "Effect": "Deny", "Action": "kinesis:PutRecord", "Resource": "*"}))["Policy"]
        self.iam.attach_user_policy(UserName="bob", PolicyArn=made["Arn"])
        request = refused("AccessDeniedException", "with an explicit deny in an identity-based policy", self.put,
                          kinesis=self.bob())
        told = self.headrace("access", "explain", request)
        assert f"statement 1 (Frozen) of {made['Arn']}" in told, told
        assert any("Frozen" in line for line in self.server.log), "the log does not say what decided"
        refused_to_bob = self.headrace("access", "explain", keys=self.keys, good=False)
        assert "only the root key" in refused_to_bob, refused_to_bob
        self.iam.detach_user_policy(UserName="bob", PolicyArn=made["Arn"])
        self.put(self.bob())

    def headrace(self, *words, keys=None, good=True):
        keys = keys or ROOT
        run = subprocess.run([self.server.program, *words, "--endpoint", self.server.url], capture_output=True, text=True,
                             timeout=CALL_SECONDS_MAX, stdin=subprocess.DEVNULL,
                             env={**os.environ, "AWS_ACCESS_KEY_ID": keys["aws_access_key_id"],
                                  "AWS_SECRET_ACCESS_KEY": keys["aws_secret_access_key"]})
        assert (run.returncode == 0) == good, run.stdout + run.stderr
        return run.stdout + run.stderr

    def a_condition_on_a_tag_of_the_stream_decides(self):
        self.iam.put_user_policy(UserName="bob", PolicyName="tagged", PolicyDocument=policy(
            allow("kinesis:DescribeStreamSummary", Condition={"StringEquals": {"aws:ResourceTag/team": "a"}})))
        refused("AccessDeniedException", "", self.bob().describe_stream_summary, StreamName="clicks")
        self.root.add_tags_to_stream(StreamName="clicks", Tags={"team": "a"})
        self.bob().describe_stream_summary(StreamName="clicks")

    def a_resource_policy_is_enough_in_the_same_account(self):
        self.root.put_resource_policy(ResourceARN=self.arn, Policy=policy(
            allow("kinesis:ListShards", self.arn, Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/bob"})))
        assert len(self.bob().list_shards(StreamName="clicks")["Shards"]) == 1
        self.root.delete_resource_policy(ResourceARN=self.arn)
        refused("AccessDeniedException", "", self.bob().list_shards, StreamName="clicks")

    def another_account_sees_nothing_until_a_policy_shares_it(self):
        eve = client(self.server, "kinesis", EVE)
        assert eve.list_streams()["StreamNames"] == []
        refused("ResourceNotFoundException", f"Stream clicks under account {OTHER} not found.", self.put, kinesis=eve)
        refused("AccessDeniedException", "because no resource-based policy allows the kinesis:PutRecord action",
                eve.put_record, StreamARN=self.arn, Data=b"x", PartitionKey="k")
        self.root.put_resource_policy(ResourceARN=self.arn, Policy=policy(
            allow(["kinesis:PutRecord", "kinesis:GetShardIterator", "kinesis:GetRecords"], self.arn,
                  Principal={"AWS": OTHER})))
        eve.put_record(StreamARN=self.arn, Data=b"x", PartitionKey="k")
        iterator = eve.get_shard_iterator(StreamARN=self.arn, ShardId="shardId-000000000000",
                                          ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        assert len(eve.get_records(StreamARN=self.arn, ShardIterator=iterator)["Records"]) >= 3
        refused("AccessDeniedException", "because no resource-based policy allows the kinesis:DeleteStream action",
                eve.delete_stream, StreamARN=self.arn)
        self.root.delete_resource_policy(ResourceARN=self.arn)
        refused("AccessDeniedException", "", eve.get_records, StreamARN=self.arn, ShardIterator=iterator)

    def a_consumer_has_tags_and_a_policy_of_its_own(self):
        arn = self.root.register_stream_consumer(StreamARN=self.arn, ConsumerName="c", Tags={"team": "b"})[
            "Consumer"]["ConsumerARN"]
        for team in ("a", "b"):  # the stream's is a
            self.iam.put_user_policy(UserName="bob", PolicyName="tagged", PolicyDocument=policy(
                allow("kinesis:DescribeStreamConsumer", Condition={"StringEquals": {"aws:ResourceTag/team": team}})))
            if team == "a":
                refused("AccessDeniedException", "", self.bob().describe_stream_consumer, ConsumerARN=arn)
        assert self.bob().describe_stream_consumer(ConsumerARN=arn)["ConsumerDescription"]["ConsumerName"] == "c"
        eve = client(self.server, "kinesis", EVE)
        position = {"ConsumerARN": arn, "ShardId": "shardId-000000000000", "StartingPosition": {"Type": "TRIM_HORIZON"}}
        refused("AccessDeniedException", "because no resource-based policy allows the kinesis:SubscribeToShard action",
                eve.subscribe_to_shard, **position)
        self.root.put_resource_policy(ResourceARN=arn, Policy=policy(
            allow("kinesis:SubscribeToShard", arn, Principal={"AWS": OTHER})))
        events = eve.subscribe_to_shard(**position)["EventStream"]
        assert len(next(iter(events))["SubscribeToShardEvent"]["Records"]) >= 3
        events.close()
        self.root.deregister_stream_consumer(ConsumerARN=arn)

    def who_is_not_the_root_looks_on_as_a_consumer(self):
        tail = ("stream", "tail", "clicks", "--from", "trim", "--no-follow", "--data")
        assert "AccessDeniedException" in self.headrace(*tail, keys=self.keys, good=False)  # ListShards
        self.iam.put_user_policy(UserName="bob", PolicyName="lists",
                                 PolicyDocument=policy(allow("kinesis:ListShards", self.arn)))
        assert self.headrace(*tail, keys=self.keys) == self.headrace(*tail) != ""
        assert "only the root key" in self.headrace("stream", "lag", "clicks", keys=self.keys, good=False)
        assert "GetRecords\treads\tshardId-000000000000\t0\t" in self.headrace("stream", "lag", "clicks")
        self.iam.delete_user_policy(UserName="bob", PolicyName="lists")

    def a_role_is_assumed_by_who_may_and_its_session_is_narrowed(self):
        trust = policy({"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/bob"},
                        "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": "17"}}})
        role = self.iam.create_role(RoleName="Reader", AssumeRolePolicyDocument=trust)["Role"]
        self.iam.attach_role_policy(RoleName="Reader",
                                    PolicyArn="arn:aws:iam::aws:policy/AmazonKinesisReadOnlyAccess")
        sts = self.bob("sts")
        refused("AccessDenied", "", sts.assume_role, RoleArn=role["Arn"], RoleSessionName="s1")
        made = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="s1", ExternalId="17",
                               Policy=policy(allow("kinesis:Describe*")))
        assert made["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader/s1", made
        c = made["Credentials"]
        self.session = {"aws_access_key_id": c["AccessKeyId"], "aws_secret_access_key": c["SecretAccessKey"],
                        "aws_session_token": c["SessionToken"]}
        kinesis = client(self.server, "kinesis", self.session)
        kinesis.describe_stream(StreamName="clicks")
        refused("AccessDeniedException", "because no session policy allows the kinesis:ListShards action",
                kinesis.list_shards, StreamName="clicks")
        who = client(self.server, "sts", self.session).get_caller_identity()
        assert who["Arn"] == made["AssumedRoleUser"]["Arn"], who
        wrong = {**self.session, "aws_session_token": "x" * 128}
        refused("UnrecognizedClientException", "", client(self.server, "kinesis", wrong).list_streams)

    def records_are_encrypted_and_the_key_decides_who_reads(self):
        key = self.kms.create_key(Description="clicks")["KeyMetadata"]
        self.kms.create_alias(AliasName="alias/clicks", TargetKeyId=key["KeyId"])
        self.root.start_stream_encryption(StreamName="clicks", EncryptionType="KMS", KeyId="alias/clicks")
        assert self.put(self.root)["EncryptionType"] == "KMS"
        refused("KMSAccessDeniedException", "because no identity-based policy allows the kms:GenerateDataKey action",
                self.put, kinesis=self.bob())
        self.iam.put_user_policy(UserName="bob", PolicyName="keys",
                                 PolicyDocument=policy(allow("kms:GenerateDataKey", key["Arn"])))
        assert self.put(self.bob())["EncryptionType"] == "KMS"
        iterator = self.root.get_shard_iterator(StreamName="clicks", ShardId="shardId-000000000000",
                                                ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        refused("KMSAccessDeniedException", "because no identity-based policy allows the kms:Decrypt action",
                self.bob().get_records, ShardIterator=iterator)
        records = self.root.get_records(ShardIterator=iterator)["Records"]
        assert {r["Data"] for r in records} == {b"x"} and records[-1]["EncryptionType"] == "KMS", records
        self.kms.disable_key(KeyId=key["KeyId"])
        refused("KMSDisabledException", "is disabled.", self.put, kinesis=self.root)
        refused("KMSDisabledException", "is disabled.", self.root.get_records, ShardIterator=iterator)
        tail = ("stream", "tail", "clicks", "--from", "trim", "--no-follow", "--data")
        assert "is disabled." in self.headrace(*tail, good=False)
        self.kms.enable_key(KeyId=key["KeyId"])
        assert self.headrace(*tail) == "x\n" * len(records)
        self.put(self.root)

    def a_blob_of_the_key_service_comes_back(self):
        blob = self.kms.encrypt(KeyId="alias/clicks", Plaintext=b"hello", EncryptionContext={"a": "b"})
        back = self.kms.decrypt(CiphertextBlob=blob["CiphertextBlob"], EncryptionContext={"a": "b"})
        assert back["Plaintext"] == b"hello", back
        refused("InvalidCiphertextException", "", self.kms.decrypt, CiphertextBlob=blob["CiphertextBlob"])
        data = self.kms.generate_data_key(KeyId="alias/clicks", KeySpec="AES_256")
        assert self.kms.decrypt(CiphertextBlob=data["CiphertextBlob"])["Plaintext"] == data["Plaintext"]

    def a_bucket_policy_denies_its_owner_too_who_can_always_mend_it(self):
        s3 = client(self.server, "s3", ROOT)
        s3.create_bucket(Bucket="guarded")
        s3.put_object(Bucket="guarded", Key="k", Body=b"x")
        resources = ["arn:aws:s3:::guarded", "arn:aws:s3:::guarded/*"]
        s3.put_bucket_policy(Bucket="guarded", Policy=policy(
            {"Effect": "Deny", "Principal": "*", "Action": ["s3:GetObject", "s3:*Policy"], "Resource": resources}))
        refused("AccessDenied", "with an explicit deny in a resource-based policy", s3.get_object, Bucket="guarded", Key="k")
        refused("AccessDenied", "", s3.copy_object, Bucket="guarded", Key="l", CopySource="guarded/k")
        refused("AccessDenied", "", client(self.server, "s3", self.keys).list_objects_v2, Bucket="guarded")
        s3.head_bucket(Bucket="guarded")
        assert "Deny" in s3.get_bucket_policy(Bucket="guarded")["Policy"]
        s3.delete_bucket_policy(Bucket="guarded")
        assert s3.get_object(Bucket="guarded", Key="k")["Body"].read() == b"x"

    def lists_let_in_whom_they_name_unless_a_policy_denies(self):
        s3, bob = client(self.server, "s3", ROOT), client(self.server, "s3", self.keys)
        eve = client(self.server, "s3", EVE)
        s3.create_bucket(Bucket="listed", ObjectOwnership="ObjectWriter")
        s3.put_object(Bucket="listed", Key="k", Body=b"x")
        for who in (bob, eve):
            refused("AccessDenied", "", who.get_object, Bucket="listed", Key="k")
        eve_id = eve.list_buckets()["Owner"]["ID"]
        s3.put_object_acl(Bucket="listed", Key="k", GrantRead=f'id="{eve_id}"')
        assert eve.get_object(Bucket="listed", Key="k")["Body"].read() == b"x"
        refused("AccessDenied", "", bob.get_object, Bucket="listed", Key="k")
        refused("AccessDenied", "", eve.get_object_acl, Bucket="listed", Key="k")
        refused("AccessDenied", "", eve.list_objects_v2, Bucket="listed")
        s3.put_bucket_acl(Bucket="listed", GrantRead=f'id="{eve_id}"', GrantWrite='uri="http://acs.amazonaws.com/groups/global/AllUsers"')
        eve.list_objects_v2(Bucket="listed")
        bob.put_object(Bucket="listed", Key="bobs", Body=b"x")
        refused("AccessDenied", "", bob.list_objects_v2, Bucket="listed")
        granted = s3.get_object_acl(Bucket="listed", Key="k")
        granted["Grants"].append({"Grantee": {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"},
                                  "Permission": "READ_ACP"})
        s3.put_object_acl(Bucket="listed", Key="k",
                          AccessControlPolicy={"Owner": granted["Owner"], "Grants": granted["Grants"]})
        assert len(bob.get_object_acl(Bucket="listed", Key="k")["Grants"]) == 3
        s3.put_bucket_policy(Bucket="listed", Policy=policy(
            {"Effect": "Deny", "Principal": "*", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::listed/*"}))
        refused("AccessDenied", "with an explicit deny in a resource-based policy", eve.get_object, Bucket="listed", Key="k")
        refused("AccessDenied", "with an explicit deny in a resource-based policy", bob.put_object, Bucket="listed", Key="bobs", Body=b"y")
        s3.delete_bucket_policy(Bucket="listed")
        assert eve.get_object(Bucket="listed", Key="k")["Body"].read() == b"x"
        s3.put_public_access_block(Bucket="listed", PublicAccessBlockConfiguration={"BlockPublicAcls": True})
        refused("AccessDenied", "", s3.put_object_acl, Bucket="listed", Key="k", ACL="public-read")

    def tags_in_a_request_decide(self):
        self.iam.put_user_policy(UserName="bob", PolicyName="maker", PolicyDocument=policy(
            allow(["kinesis:CreateStream", "kinesis:AddTagsToStream", "kinesis:RemoveTagsFromStream"], Condition={
                "ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost"]},
                "StringEqualsIfExists": {"aws:RequestTag/team": "a"}})))
        refused("AccessDeniedException", "allows the kinesis:CreateStream action", self.bob().create_stream,
                StreamName="tagged", ShardCount=1, Tags={"team": "b"})
        refused("AccessDeniedException", "", self.bob().create_stream, StreamName="tagged", ShardCount=1,
                Tags={"team": "a", "other": "x"})
        self.bob().create_stream(StreamName="tagged", ShardCount=1, Tags={"team": "a"})
        self.root.get_waiter("stream_exists").wait(StreamName="tagged", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        refused("AccessDeniedException", "", self.bob().add_tags_to_stream, StreamName="tagged", Tags={"x": "y"})
        self.bob().add_tags_to_stream(StreamName="tagged", Tags={"cost": "7"})
        refused("AccessDeniedException", "", self.bob().remove_tags_from_stream, StreamName="tagged", TagKeys=["x"])
        self.bob().remove_tags_from_stream(StreamName="tagged", TagKeys=["cost"])
        self.root.delete_stream(StreamName="tagged")
        self.iam.delete_user_policy(UserName="bob", PolicyName="maker")

    def a_consumer_and_a_queue_have_tags_of_their_own(self):
        consumer = self.root.register_stream_consumer(StreamARN=self.arn, ConsumerName="c",
                                                      Tags={"team": "pushed"})["Consumer"]["ConsumerARN"]
        self.root.create_stream(StreamName="queued", StreamModeDetails={"StreamMode": "ON_DEMAND"})
        self.root.get_waiter("stream_exists").wait(StreamName="queued", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        queue = self.root.create_queue(QueueName="q", Tags={"team": "queued"}, StreamConfigurationList=[
            {"StreamARN": self.arn.replace("clicks", "queued")}])["QueueDescription"]["QueueARN"]
        for team, allowed in (("a", False), ("pushed", True)):
            self.allow_team(team)
            self.is_allowed(allowed, self.bob().describe_stream_consumer, ConsumerARN=consumer)
        for team, allowed in (("pushed", False), ("queued", True)):
            self.allow_team(team)
            self.is_allowed(allowed, self.bob().describe_queue, QueueARN=queue)
        self.iam.delete_user_policy(UserName="bob", PolicyName="team")
        self.root.delete_queue(QueueARN=queue)
        self.root.delete_stream(StreamName="queued")
        self.root.deregister_stream_consumer(ConsumerARN=consumer)

    def allow_team(self, team):
        self.iam.put_user_policy(UserName="bob", PolicyName="team", PolicyDocument=policy(
            allow(["kinesis:DescribeStreamConsumer", "kinesis:DescribeQueue"],
                  Condition={"StringEquals": {"aws:ResourceTag/team": team}})))

    def is_allowed(self, allowed, call, **arguments):
        if allowed:
            call(**arguments)
        else:
            refused("AccessDeniedException", "", call, **arguments)

    def tags_of_a_session_are_those_of_its_principal(self):
        trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
        role = self.iam.create_role(RoleName="Tagged", AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
        self.iam.put_role_policy(RoleName="Tagged", PolicyName="own", PolicyDocument=policy(
            allow("kinesis:Describe*", Condition={"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}),
            allow("sts:*")))
        self.iam.put_user_policy(UserName="bob", PolicyName="assume", PolicyDocument=policy(allow("sts:*", role)))
        sts, team = self.bob("sts"), [{"Key": "team", "Value": "a"}]
        refused("AccessDenied", f"is not authorized to perform: sts:TagSession on resource: {role} because no "
                "resource-based policy allows the sts:TagSession action", sts.assume_role, RoleArn=role,
                RoleSessionName="s1", Tags=team)
        self.iam.update_assume_role_policy(RoleName="Tagged", PolicyDocument=policy(
            trust, {**trust, "Action": "sts:TagSession", "Condition": {"StringEquals": {"aws:RequestTag/team": ["a", "b"]}}}))
        refused("AccessDenied", "", sts.assume_role, RoleArn=role, RoleSessionName="s1",
                Tags=[{"Key": "team", "Value": "c"}])
        refused("AccessDenied", "sts:SetSourceIdentity action", sts.assume_role, RoleArn=role, RoleSessionName="s1",
                SourceIdentity="bob")
        for value, allowed in (("a", True), ("b", False)):
            c = sts.assume_role(RoleArn=role, RoleSessionName="s1", TransitiveTagKeys=["team"],
                                Tags=[{"Key": "team", "Value": value}])["Credentials"]
            keys = {"aws_access_key_id": c["AccessKeyId"], "aws_secret_access_key": c["SecretAccessKey"],
                    "aws_session_token": c["SessionToken"]}
            kinesis = client(self.server, "kinesis", keys)
            if allowed:
                kinesis.describe_stream(StreamName="clicks")
            else:
                refused("AccessDeniedException", "", kinesis.describe_stream, StreamName="clicks")
        refused("InvalidParameterValue", "conflicts with a transitive tag key from the calling session.",
                client(self.server, "sts", keys).assume_role, RoleArn=role, RoleSessionName="s2", Tags=team)
        self.iam.delete_user_policy(UserName="bob", PolicyName="assume")

    def no_secret_is_in_the_database(self):
        secrets = [self.keys["aws_secret_access_key"], self.session["aws_secret_access_key"],
                   self.session["aws_session_token"]]
        for name in ("headrace.db", "headrace.db-wal"):
            with open(os.path.join(self.server.data_dir, name), "rb") as file:
                content = file.read()
            for secret in secrets:
                assert secret.encode() not in content, f"{name} holds a secret in plain"

    def all_of_it_outlives_a_kill(self):
        self.server.kill()
        self.server.start()
        self.put(self.bob())
        client(self.server, "kinesis", self.session).describe_stream(StreamName="clicks")
        iterator = self.root.get_shard_iterator(StreamName="clicks", ShardId="shardId-000000000000",
                                                ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        assert {r["Data"] for r in self.root.get_records(ShardIterator=iterator)["Records"]} == {b"x"}

    def aws(self, *words):
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": headrace.KEY_ID, "AWS_SECRET_ACCESS_KEY": headrace.SECRET,
                       "AWS_DEFAULT_REGION": "us-east-1", "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1",
                       "AWS_ENDPOINT_URL": self.server.url, "AWS_EC2_METADATA_DISABLED": "true"}
        run = subprocess.run([AWS, *words, "--output", "json"], env=environment, capture_output=True, text=True,
                             stdin=subprocess.DEVNULL, timeout=CALL_SECONDS_MAX)
        assert run.returncode == 0, f"aws {' '.join(words)}: {run.stderr.strip()}"
        return json.loads(run.stdout) if run.stdout.strip() else None

    def the_command_line_sees_the_same(self):
        assert self.aws("sts", "get-caller-identity")["Account"] == ACCOUNT
        assert [u["UserName"] for u in self.aws("iam", "list-users")["Users"]] == ["bob"]
        assert self.aws("iam", "list-user-policies", "--user-name", "bob")["PolicyNames"] == [
            "gets", "keys", "puts", "tagged"]
        document = self.aws("iam", "get-user-policy", "--user-name", "bob", "--policy-name", "gets")["PolicyDocument"]
        assert document["Statement"][0]["Action"] == "kinesis:GetRecords", document
        aliases = [a["AliasName"] for a in self.aws("kms", "list-aliases")["Aliases"]]
        assert aliases == ["alias/clicks"], aliases
        assert self.aws("kinesis", "describe-stream-summary", "--stream-name",
                        "clicks")["StreamDescriptionSummary"]["KeyId"] == "alias/clicks"

    def a_key_that_is_deleted_does_not_sign(self):
        self.iam.delete_access_key(UserName="bob", AccessKeyId=self.keys["aws_access_key_id"])
        refused("UnrecognizedClientException", "", self.put, kinesis=self.bob())


STAGES = [
    Access.the_root_is_who_it_is_and_may_everything, Access.a_new_user_may_nothing_and_is_told_why,
    Access.an_inline_policy_allows_at_once, Access.an_iterator_is_asked_about_like_its_stream,
    Access.a_deny_wins_and_is_explained, Access.a_condition_on_a_tag_of_the_stream_decides,
    Access.a_resource_policy_is_enough_in_the_same_account,
    Access.another_account_sees_nothing_until_a_policy_shares_it, Access.a_consumer_has_tags_and_a_policy_of_its_own,
    Access.who_is_not_the_root_looks_on_as_a_consumer,
    Access.a_role_is_assumed_by_who_may_and_its_session_is_narrowed,
    Access.records_are_encrypted_and_the_key_decides_who_reads, Access.a_blob_of_the_key_service_comes_back,
    Access.a_bucket_policy_denies_its_owner_too_who_can_always_mend_it,
    Access.lists_let_in_whom_they_name_unless_a_policy_denies,
    Access.tags_in_a_request_decide, Access.a_consumer_and_a_queue_have_tags_of_their_own,
    Access.tags_of_a_session_are_those_of_its_principal,
    Access.no_secret_is_in_the_database,
    Access.all_of_it_outlives_a_kill, Access.the_command_line_sees_the_same, Access.a_key_that_is_deleted_does_not_sign,
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    server = headrace.Server(options.program)
    with open(os.path.join(server.data_dir, "credentials"), "w", encoding="utf-8") as file:
        file.write(f"[{OTHER}]\n" + "".join(f"{name} = {value}\n" for name, value in EVE.items()))
    os.chmod(file.name, 0o600)
    with server:
        access = Access(server)
        for stage in STAGES:
            report.run(stage.__name__.replace("_", " "), lambda s=stage: s(access))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
