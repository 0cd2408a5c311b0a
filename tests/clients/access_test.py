#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Access and encryption with unmodified clients: boto3 and the AWS command line make users, roles, policies
and keys, and are permitted and refused by them.

    tests/clients/access_test.py --program build/headrace
"""
import argparse
import base64
import hmac
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

AWS = os.path.join(os.path.dirname(sys.executable), "aws")
CALL_SECONDS_MAX = 240
ACCOUNT = headrace.ACCOUNT
ROOT = {"aws_access_key_id": headrace.KEY_ID, "aws_secret_access_key": headrace.SECRET}


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def client(server, service, keys, region="us-east-1"):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=60,
                                    read_timeout=240)
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


def code(seed, steps):
    """The six digits of a device now, so many half minutes later (RFC 6238)."""
    counter = headrace.code_step(seed, steps)
    mac = hmac.digest(base64.b32decode(seed), counter.to_bytes(8, "big"), "sha1")
    at = mac[-1] & 15
    return f"{(int.from_bytes(mac[at:at + 4], 'big') & 0x7fffffff) % 10**6:06}"


OTHER = "111122223333"
EVE = {"aws_access_key_id": "AKIAOTHERACCOUNT0001", "aws_secret_access_key": "another/SECRET+of+forty+characters+12345"}


def session_keys(credentials):
    return {"aws_access_key_id": credentials["AccessKeyId"], "aws_secret_access_key": credentials["SecretAccessKey"],
            "aws_session_token": credentials["SessionToken"]}


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
                                                   WaiterConfig={"Delay": 1, "MaxAttempts": 240})
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
        self.server.wait_said("Frozen")  # what decided
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
        used = self.iam.get_role(RoleName="Reader")["Role"]["RoleLastUsed"]
        assert used["Region"] == "us-east-1" and used["LastUsedDate"] >= role["CreateDate"], used
        key = self.iam.get_access_key_last_used(AccessKeyId=self.keys["aws_access_key_id"])
        assert key["UserName"] == "bob" and key["AccessKeyLastUsed"]["Region"] == "us-east-1", key
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

    def objects_belong_to_whoever_writes_them_where_the_bucket_says_so(self):
        s3, eve = client(self.server, "s3", ROOT), client(self.server, "s3", EVE)
        root_id, eve_id = s3.list_buckets()["Owner"]["ID"], eve.list_buckets()["Owner"]["ID"]
        for bucket, ownership in (("writers", "ObjectWriter"), ("preferred", "BucketOwnerPreferred")):
            s3.create_bucket(Bucket=bucket, ObjectOwnership=ownership)
            s3.put_bucket_acl(Bucket=bucket, GrantWrite=f'id="{eve_id}"', GrantRead=f'id="{eve_id}"')
            s3.put_bucket_policy(Bucket=bucket, Policy=policy(
                {"Effect": "Allow", "Principal": {"AWS": OTHER}, "Action": "s3:*Multipart*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}))
            s3.put_object(Bucket=bucket, Key="a ours", Body=b"x")
            eve.put_object(Bucket=bucket, Key="b eves", Body=b"x")
            for key, acl in (("c full", "bucket-owner-full-control"), ("d read", "bucket-owner-read")):
                eve.put_object(Bucket=bucket, Key=key, Body=b"x", ACL=acl)
            given = root_id if ownership == "BucketOwnerPreferred" else eve_id
            listed = {o["Key"]: o["Owner"]["ID"] for o in s3.list_objects(Bucket=bucket)["Contents"]}
            assert listed == {"a ours": root_id, "b eves": eve_id, "c full": given, "d read": eve_id}, listed
            versions = {o["Key"]: o["Owner"]["ID"] for o in s3.list_object_versions(Bucket=bucket)["Versions"]}
            assert versions == listed, versions
            refused("AccessDenied", "", s3.get_object, Bucket=bucket, Key="b eves")
            refused("AccessDenied", "", s3.copy_object, Bucket=bucket, Key="z", CopySource=f"{bucket}/b eves")
            refused("403", "", s3.head_object, Bucket=bucket, Key="b eves")
            refused("AccessDenied", "", s3.get_object_acl, Bucket=bucket, Key="d read")
            for key in ("c full", "d read"):
                assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"
            assert eve.get_object(Bucket=bucket, Key="b eves")["Body"].read() == b"x"
            refused("AccessDenied", "", eve.get_object, Bucket=bucket, Key="a ours")
            found = eve.get_object_acl(Bucket=bucket, Key="d read")
            assert found["Owner"]["ID"] == eve_id, found
            assert [(g["Grantee"]["ID"], g["Permission"]) for g in found["Grants"]] == [
                (eve_id, "FULL_CONTROL"), (root_id, "READ")], found
            found = s3.get_object_acl(Bucket=bucket, Key="c full")
            assert found["Owner"]["ID"] == given and len(found["Grants"]) == (1 if given == root_id else 2), found
            eve.put_object_acl(Bucket=bucket, Key="b eves", ACL="bucket-owner-full-control")
            assert s3.get_object(Bucket=bucket, Key="b eves")["Body"].read() == b"x"
            upload = eve.create_multipart_upload(Bucket=bucket, Key="e")["UploadId"]
            parts = s3.list_parts(Bucket=bucket, Key="e", UploadId=upload)
            assert parts["Owner"]["ID"] == parts["Initiator"]["ID"] == eve_id, parts
            eve.abort_multipart_upload(Bucket=bucket, Key="e", UploadId=upload)
            s3.delete_object(Bucket=bucket, Key="b eves")
            enforced = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
            refused("InvalidBucketAclWithObjectOwnership", "", s3.put_bucket_ownership_controls, Bucket=bucket, OwnershipControls=enforced)
            s3.put_bucket_acl(Bucket=bucket, ACL="private")
            s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=enforced)
            owners = {o["Owner"]["ID"] for o in s3.list_objects(Bucket=bucket)["Contents"]}
            assert owners == {root_id}, owners
            assert s3.get_object(Bucket=bucket, Key="d read")["Body"].read() == b"x"
            refused("AccessControlListNotSupported", "", s3.put_object, Bucket=bucket, Key="f", Body=b"x", ACL="authenticated-read")
            s3.put_object(Bucket=bucket, Key="f", Body=b"x", ACL="private")
            s3.put_object(Bucket=bucket, Key="f", Body=b"x", ACL="bucket-owner-full-control")

    def versions_go_for_ever_with_a_code_of_the_roots_device_where_the_bucket_wants_it(self):
        s3, bob = client(self.server, "s3", ROOT), client(self.server, "s3", self.keys)
        self.iam.put_user_policy(UserName="bob", PolicyName="s3", PolicyDocument=policy(allow("s3:*")))
        made = client(self.server, "iam", ROOT).create_virtual_mfa_device(VirtualMFADeviceName="root-account-mfa-device")["VirtualMFADevice"]
        serial, seed = made["SerialNumber"], made["Base32StringSeed"]
        s3.create_bucket(Bucket="coded")
        on = {"Status": "Enabled", "MFADelete": "Enabled"}
        refused("AccessDenied", "Mfa Authentication must be used for this request", s3.put_bucket_versioning, Bucket="coded", VersioningConfiguration=on)
        refused("AccessDenied", "Access Denied", s3.put_bucket_versioning, Bucket="coded", VersioningConfiguration=on, MFA=f"{serial} 12345x")
        refused("AccessDenied", "only be performed by the bucket owner", bob.put_bucket_versioning, Bucket="coded",
                VersioningConfiguration=on, MFA=f"{serial} {code(seed, 0)}")
        first = code(seed, 0)
        s3.put_bucket_versioning(Bucket="coded", VersioningConfiguration=on, MFA=f"{serial} {first}")
        assert {k: v for k, v in s3.get_bucket_versioning(Bucket="coded").items() if k in ("Status", "MFADelete")} == on
        refused("AccessDenied", "Access Denied", s3.put_bucket_versioning, Bucket="coded", VersioningConfiguration={"Status": "Suspended"},
                MFA=f"{serial} {first}")  # it has counted
        refused("AccessDenied", "must be used for this request", s3.put_bucket_versioning, Bucket="coded", VersioningConfiguration={"Status": "Suspended"})
        refused("InvalidBucketState", "", s3.put_bucket_lifecycle_configuration, Bucket="coded", LifecycleConfiguration={"Rules": [
            {"ID": "a", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 1}}]})
        ids = [s3.put_object(Bucket="coded", Key="k", Body=b"x")["VersionId"] for _ in range(3)]
        marker = s3.delete_object(Bucket="coded", Key="k")["VersionId"]  # a marker needs none
        everything = [{"Key": "k", "VersionId": v} for v in [*ids, marker]]
        refused("AccessDenied", "must be used for this request", s3.delete_object, Bucket="coded", Key="k", VersionId=ids[0])
        refused("AccessDenied", "must be used for this request", s3.delete_objects, Bucket="coded", Delete={"Objects": everything})
        refused("AccessDenied", "Access Denied", s3.delete_object, Bucket="coded", Key="k", VersionId=ids[0], MFA=f"{serial} {first}")
        refused("AccessDenied", "only be performed by the bucket owner", bob.delete_object, Bucket="coded", Key="k", VersionId=ids[0],
                MFA=f"{serial} {code(seed, 1)}")
        assert len(s3.list_object_versions(Bucket="coded")["Versions"]) == 3
        gone = s3.delete_objects(Bucket="coded", Delete={"Objects": everything}, MFA=f"{serial} {code(seed, 1)}")
        assert len(gone["Deleted"]) == 4, gone
        assert "Versions" not in s3.list_object_versions(Bucket="coded")
        self.iam.delete_user_policy(UserName="bob", PolicyName="s3")

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
        self.root.get_waiter("stream_exists").wait(StreamName="tagged", WaiterConfig={"Delay": 1, "MaxAttempts": 240})
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
        self.root.get_waiter("stream_exists").wait(StreamName="queued", WaiterConfig={"Delay": 1, "MaxAttempts": 240})
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

    def device(self, name):
        made = self.iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
        serial, seed = made["SerialNumber"], made["Base32StringSeed"]
        self.iam.enable_mfa_device(UserName="mia", SerialNumber=serial, AuthenticationCode1=code(seed, -1),
                                   AuthenticationCode2=code(seed, 0))
        return serial, seed

    def what_needs_a_code_is_closed_without_one(self):
        self.iam.create_user(UserName="mia")
        key = self.iam.create_access_key(UserName="mia")["AccessKey"]
        self.mia = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        shown = {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}
        self.iam.put_user_policy(UserName="mia", PolicyName="p", PolicyDocument=policy(
            allow("kinesis:*", **shown), allow("kms:*"), allow(["sts:AssumeRole", "sts:GetFederationToken"])))
        self.iam.create_role(RoleName="careful", AssumeRolePolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT},
                                                     "Action": "sts:AssumeRole", **shown}]}))
        sts = client(self.server, "sts", self.mia)
        serial, seed = self.device("phone")
        role = f"arn:aws:iam::{ACCOUNT}:role/careful"
        assert [d["SerialNumber"] for d in self.iam.list_mfa_devices(UserName="mia")["MFADevices"]] == [serial]
        refused("AccessDeniedException", "the kinesis:PutRecord action", self.put, kinesis=client(self.server, "kinesis", self.mia))
        refused("AccessDenied", "invalid MFA one time pass code. ", sts.get_session_token, SerialNumber=serial,
                TokenCode=code(seed, 0))  # it has counted when the device was enabled
        refused("AccessDenied", "one time pass code.", sts.get_session_token, TokenCode=code(seed, 1))
        made = sts.get_session_token(SerialNumber=serial, TokenCode=code(seed, 1))["Credentials"]
        self.put(client(self.server, "kinesis", session_keys(made)))
        refused("AccessDenied", "the sts:AssumeRole action", sts.assume_role, RoleArn=role, RoleSessionName="safe")
        serial, seed = self.device("tablet")
        assumed = sts.assume_role(RoleArn=role, RoleSessionName="safe", SerialNumber=serial, TokenCode=code(seed, 1))
        assert assumed["AssumedRoleUser"]["Arn"].endswith("assumed-role/careful/safe"), assumed

    def a_federated_user_may_less_than_who_made_it(self):
        self.iam.put_user_policy(UserName="mia", PolicyName="p", PolicyDocument=policy(
            allow("kinesis:*"), allow("sts:GetFederationToken")))
        made = client(self.server, "sts", self.mia).get_federation_token(Name="fred", Policy=policy(allow("kinesis:Describe*")))
        keys = session_keys(made["Credentials"])
        arn = f"arn:aws:sts::{ACCOUNT}:federated-user/fred"
        assert made["FederatedUser"] == {"FederatedUserId": f"{ACCOUNT}:fred", "Arn": arn}, made
        who = client(self.server, "sts", keys).get_caller_identity()
        assert (who["Arn"], who["UserId"]) == (arn, f"{ACCOUNT}:fred"), who
        kinesis = client(self.server, "kinesis", keys)
        kinesis.describe_stream_summary(StreamName="clicks")
        refused("AccessDeniedException", "the kinesis:PutRecord action", self.put, kinesis=kinesis)
        refused("AccessDenied", "", client(self.server, "iam", keys).list_users)
        refused("AccessDenied", "Cannot call GetFederationToken with session credentials",
                client(self.server, "sts", session_keys(client(self.server, "sts", ROOT).get_session_token()["Credentials"]))
                .get_federation_token, Name="other")

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
        assert [u["UserName"] for u in self.aws("iam", "list-users")["Users"]] == ["bob", "mia"]
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
    Access.objects_belong_to_whoever_writes_them_where_the_bucket_says_so,
    Access.versions_go_for_ever_with_a_code_of_the_roots_device_where_the_bucket_wants_it,
    Access.tags_in_a_request_decide, Access.a_consumer_and_a_queue_have_tags_of_their_own,
    Access.tags_of_a_session_are_those_of_its_principal,
    Access.what_needs_a_code_is_closed_without_one, Access.a_federated_user_may_less_than_who_made_it,
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
