# SPDX-License-Identifier: Apache-2.0
"""What the clients of races.py do: operations of every kind of eight services, against a few names.

A deed is a function of a racer: it asks one operation, and notes what it learns for others, in the world that all
racers share. What is refused is refused: the racer has looked whether the refusal is one that the operation declares.
"""
import base64
import json

ACCOUNT = "000000000000"
REGION = "us-east-1"
DEEDS = {}  # by service: [(function, weight)]
STREAMS = ("race-a", "race-b", "race-c")
SHARDED, QUEUED = "kept-sharded", "kept-queued"  # streams that nobody deletes
KEPT_SECRET, KEPT_HOSE = "kept-secret", "kept-hose"
ALIASES = ("alias/race-0", "alias/race-1")
BUCKET = "races"
FUNCTION_NAME = "race"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{FUNCTION_NAME}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/service"
MANY = 40  # of each kind of thing that is known at most
KEYS_MAX = 6  # all of them are enabled again in the end


def deed(service, weight=1):
    def register(function):
        DEEDS.setdefault(service, []).append((function, weight))
        return function
    return register


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def trust(**principal):
    return policy({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal})


def stream_arn(name):
    return f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"


def note(known, *things):
    """Into a list that all racers share; the oldest goes."""
    known.extend(things)
    del known[:-MANY]


def one_of(rng, known):
    """One of what is known, or None: others may empty the list meanwhile."""
    known = list(known)
    return rng.choice(known) if known else None


# ---- Kinesis: streams

def any_stream(r):
    return r.random.choice([*STREAMS, *STREAMS, SHARDED, QUEUED])


@deed("kinesis", 8)
def create_stream(r):
    members = {"ShardCount": r.random.randint(1, 3)} if r.random.random() < 0.5 else \
        {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
    r.ask("kinesis", "CreateStream", StreamName=r.random.choice(STREAMS), Tags={"made": "by a race"}, **members)


@deed("kinesis", 4)
def delete_stream(r):
    r.ask("kinesis", "DeleteStream", StreamName=r.random.choice(STREAMS), EnforceConsumerDeletion=r.random.random() < 0.7)


@deed("kinesis", 24)
def put(r):
    name, data = any_stream(r), r.data()
    key = f"k{r.random.randrange(99)}"
    if r.random.random() < 0.5:
        reply = r.ask("kinesis", "PutRecord", StreamName=name, Data=data, PartitionKey=key)
        stored = [data] if reply else []
    else:
        batch = [data] + [r.data() for _ in range(r.random.randrange(8))]
        reply = r.ask("kinesis", "PutRecords", StreamName=name,
                      Records=[{"Data": d, "PartitionKey": key} for d in batch])
        codes = [e.get("ErrorCode") for e in reply["Records"]] if reply else []
        r.check_codes("kinesis", "PutRecords", codes)
        stored = [d for d, code in zip(batch, codes) if code is None]
    if name in (SHARDED, QUEUED):
        r.kept[name] += stored


@deed("kinesis", 6)
def get_iterator(r):
    name = any_stream(r)
    shard = one_of(r.random, r.world.shards.get(name, ())) or "shardId-000000000000"
    reply = r.ask("kinesis", "GetShardIterator", StreamName=name, ShardId=shard,
                  ShardIteratorType=r.random.choice(["TRIM_HORIZON", "LATEST"]))
    if reply:
        note(r.world.iterators, reply["ShardIterator"])


@deed("kinesis", 16)
def get_records(r):
    iterator = one_of(r.random, r.world.iterators)
    reply = iterator and r.ask("kinesis", "GetRecords", ShardIterator=iterator, Limit=r.random.choice([1, 10, 1000]))
    if reply and "NextShardIterator" in reply:
        note(r.world.iterators, reply["NextShardIterator"])


@deed("kinesis", 8)
def describe_stream(r):
    name = any_stream(r)
    op = r.random.choice(["DescribeStream", "DescribeStreamSummary", "ListShards", "ListTagsForStream"])
    reply = r.ask("kinesis", op, StreamName=name)
    if reply and op == "ListShards":
        r.world.shards[name] = [s["ShardId"] for s in reply["Shards"]
                                if "EndingSequenceNumber" not in s["SequenceNumberRange"]][:MANY]


@deed("kinesis", 2)
def look_around(r):
    r.ask("kinesis", r.random.choice(["ListStreams", "DescribeLimits", "DescribeAccountSettings", "ListQueues", "ListChannels"]))


@deed("kinesis", 3)
def ask_page(r):
    """What is for operators."""
    page, body = r.random.choice([("stream/read", {"from": "trim", "limit": 10}), ("stream/lag", {}), ("stat", {}), ("access", {})])
    r.page(page, {**body, "stream": any_stream(r)})


@deed("kinesis", 6)
def change_shards(r):
    name = r.random.choice([*STREAMS, SHARDED])
    shards = list(r.world.shards.get(name, ()))
    if len(shards) < 2 or r.random.random() < 0.3:
        r.ask("kinesis", "UpdateShardCount", StreamName=name, TargetShardCount=r.random.randint(1, 4), ScalingType="UNIFORM_SCALING")
    elif r.random.random() < 0.5:
        r.ask("kinesis", "SplitShard", StreamName=name, ShardToSplit=r.random.choice(shards),
              NewStartingHashKey=str(r.random.randrange(2, 1 << 128)))
    else:
        one, other = r.random.sample(shards, 2)
        r.ask("kinesis", "MergeShards", StreamName=name, ShardToMerge=one, AdjacentShardToMerge=other)


@deed("kinesis", 6)
def change_encryption(r):
    name = any_stream(r)
    if r.random.random() < 0.25:
        r.ask("kinesis", "StopStreamEncryption", StreamName=name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    else:
        r.ask("kinesis", "StartStreamEncryption", StreamName=name, EncryptionType="KMS",
              KeyId=r.random.choice([*ALIASES, "alias/aws/kinesis"]))


@deed("kinesis", 6)
def change_stream(r):
    name, n = any_stream(r), r.random
    arn = stream_arn(name)
    op, members = n.choice([
        ("IncreaseStreamRetentionPeriod", {"StreamName": name, "RetentionPeriodHours": n.randint(24, 99)}),
        ("DecreaseStreamRetentionPeriod", {"StreamName": name, "RetentionPeriodHours": 24}),
        ("UpdateMaxRecordSize", {"StreamARN": arn, "MaxRecordSizeInKiB": n.randint(1024, 2048)}),
        ("EnableEnhancedMonitoring", {"StreamName": name, "ShardLevelMetrics": ["ALL"]}),
        ("DisableEnhancedMonitoring", {"StreamName": name, "ShardLevelMetrics": ["IncomingBytes"]}),
        ("AddTagsToStream", {"StreamName": name, "Tags": {f"t{n.randrange(9)}": "v"}}),
        ("RemoveTagsFromStream", {"StreamName": name, "TagKeys": [f"t{n.randrange(9)}"]})])
    r.ask("kinesis", op, **members)


@deed("kinesis", 3)
def change_mode(r):
    name, n = r.random.choice(STREAMS), r.random
    arn = stream_arn(name)
    op, members = n.choice([
        ("UpdateStreamMode", {"StreamModeDetails": {"StreamMode": n.choice(["ON_DEMAND", "PROVISIONED"])}}),
        ("UpdateStreamWarmThroughput", {"WarmThroughputMiBps": 4}),
        ("UpdateStreamRecordDistributionStrategy", {"RecordDistributionStrategy": n.choice(["AUTO", "USER_PARTITION_KEY"])})])
    r.ask("kinesis", op, StreamARN=arn, **members)


def any_resource(r):
    """A stream, or one of what belongs to one."""
    return r.random.choice([stream_arn(any_stream(r)), *r.world.queues, *r.world.channels, *r.world.consumers])


@deed("kinesis", 5)
def tag_resource(r):
    op, members = r.random.choice([("TagResource", {"Tags": {f"t{r.random.randrange(9)}": "v"}}),
                                   ("UntagResource", {"TagKeys": [f"t{r.random.randrange(9)}"]}), ("ListTagsForResource", {})])
    r.ask("kinesis", op, ResourceARN=any_resource(r), **members)


@deed("kinesis", 4)
def change_policy(r):
    arn = stream_arn(any_stream(r))
    document = policy(allow("kinesis:PutRecord", arn, Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}))
    op, members = r.random.choice([("PutResourcePolicy", {"Policy": document}), ("GetResourcePolicy", {}), ("DeleteResourcePolicy", {})])
    r.ask("kinesis", op, ResourceARN=arn, **members)


# ---- Kinesis: consumers, queues, channels

@deed("kinesis", 6)
def change_consumer(r):
    arn = stream_arn(any_stream(r))
    op = r.random.choice(["RegisterStreamConsumer", "RegisterStreamConsumer", "DeregisterStreamConsumer", "DescribeStreamConsumer"])
    reply = r.ask("kinesis", op, StreamARN=arn, ConsumerName=f"c{r.random.randrange(2)}")
    if reply and op == "RegisterStreamConsumer":
        note(r.world.consumers, reply["Consumer"]["ConsumerARN"])


@deed("kinesis", 2)
def list_consumers(r):
    r.ask("kinesis", "ListStreamConsumers", StreamARN=stream_arn(any_stream(r)))


@deed("kinesis", 5)
def change_queue(r):
    arn = one_of(r.random, r.world.queues)
    op = r.random.choice(["CreateQueue", "DescribeQueue", "UpdateQueue", "DeleteQueue"])
    attributes = {"VisibilityTimeoutSeconds": r.random.choice([0, 1, 30]),
                  "DeadLetterConfiguration": {"TargetType": "BUILT_IN", "MaxReceiveCount": r.random.randint(1, 3)}}
    if op == "CreateQueue" or arn is None:
        reply = r.ask("kinesis", "CreateQueue", QueueName=f"q{r.random.randrange(3)}", QueueAttributes=attributes,
                      StreamConfigurationList=[{"StreamARN": stream_arn(r.random.choice(STREAMS)),
                                                "StartingPosition": {"Type": "TRIM_HORIZON"}}])
        if reply:
            note(r.world.queues, reply["QueueDescription"]["QueueARN"])
    else:
        r.ask("kinesis", op, QueueARN=arn, **({"QueueAttributes": attributes} if op == "UpdateQueue" else {}))


@deed("kinesis", 5)
def receive(r):
    dead = r.random.random() < 0.2
    arn = one_of(r.random, r.world.queues) if r.random.random() < 0.7 else r.world.kept_queue
    if arn is None:
        return
    reply = r.ask("kinesis", "ReceiveDeadLetterQueueRecords" if dead else "ReceiveQueueRecords", QueueARN=arn,
                  WaitTimeSeconds=1)
    records = reply["QueueRecords"] if reply else []
    if arn == r.world.kept_queue:
        r.received += [record["Data"] for record in records]
    note(r.world.receipts, *[(arn, dead, record["ReceiptHandle"]) for record in records])


@deed("kinesis", 10)
def settle_receipt(r):
    arn, dead, handle = one_of(r.random, r.world.receipts) or (None, None, None)
    if arn is None:
        return
    deeds = [("Acknowledge{}QueueRecords", {}), ("Update{}QueueRecordsVisibility", {"VisibilityTimeoutSeconds": 0})]
    op, members = r.random.choice(deeds + [("Restore{}QueueRecords", {})] * dead)
    op = op.format("DeadLetter" if dead else "")
    reply = r.ask("kinesis", op, QueueARN=arn, Entries=[{"ReceiptHandle": handle, **members}])
    r.check_codes("kinesis", op, [e["ErrorCode"] for e in reply["Failed"]] if reply else [])


@deed("kinesis", 4)
def change_channel(r):
    arn = one_of(r.random, r.world.channels)
    op = r.random.choice(["CreateChannel", "DescribeChannel", "UpdateChannel", "DeleteChannel"])
    if op == "CreateChannel" or arn is None:
        reply = r.ask("kinesis", "CreateChannel", ChannelName=f"ch{r.random.randrange(2)}", ServiceExecutionRoleARN=ROLE,
                      StreamConfigurationList=[{"StreamARN": stream_arn(r.random.choice(STREAMS)),
                                                "RecordConfiguration": {"RecordFormatType": "STRING"}}],
                      S3DestinationConfiguration={"DataFreshnessInSeconds": 1, "StorageConfiguration": {
                          "BucketARN": f"arn:aws:s3:::{BUCKET}", "CompressionType": "NONE", "ExpectedBucketOwner": ACCOUNT,
                          "OutputKeyTemplate": "channels/"}})
        if reply:
            note(r.world.channels, reply["ChannelDescription"]["ChannelARN"])
    else:
        r.ask("kinesis", op, ChannelARN=arn,
              **({"S3DestinationConfiguration": {"DataFreshnessInSeconds": r.random.randint(1, 9)}} if op == "UpdateChannel" else {}))


# ---- KMS

def any_key(r):
    return r.random.choice([*ALIASES, *r.world.keys])


@deed("kms", 2)
def create_key(r):
    if len(r.world.keys) < KEYS_MAX:
        reply = r.ask("kms", "CreateKey", Tags=[{"TagKey": "of", "TagValue": "race"}])
        note(r.world.keys, reply["KeyMetadata"]["KeyId"])


@deed("kms", 4)
def change_alias(r):
    target, alias = one_of(r.random, r.world.keys), r.random.choice(ALIASES)
    op = r.random.choice(["CreateAlias", "CreateAlias", "UpdateAlias", "UpdateAlias", "DeleteAlias"])
    r.ask("kms", op, AliasName=alias, **({} if op == "DeleteAlias" else {"TargetKeyId": target}))


@deed("kms", 7)
def change_state(r):
    op, members = r.random.choice([
        ("DisableKey", {}), *[("EnableKey", {})] * 4, *[("CancelKeyDeletion", {})] * 2, ("ScheduleKeyDeletion", {"PendingWindowInDays": 7})])
    r.ask("kms", op, KeyId=any_id(r), **members)


def any_id(r):
    return one_of(r.random, r.world.keys)


@deed("kms", 4)
def change_key(r):
    op, members = r.random.choice([
        ("RotateKeyOnDemand", {}), ("EnableKeyRotation", {}), ("DisableKeyRotation", {}), ("UpdateKeyDescription", {"Description": "d"}),
        ("TagResource", {"Tags": [{"TagKey": f"t{r.random.randrange(9)}", "TagValue": "v"}]}),
        ("UntagResource", {"TagKeys": [f"t{r.random.randrange(9)}"]}),
        ("PutKeyPolicy", {"PolicyName": "default", "Policy": policy(
            allow("kms:*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}))})])
    r.ask("kms", op, KeyId=any_id(r), **members)


@deed("kms", 3)
def look_at_key(r):
    op = r.random.choice(["GetKeyRotationStatus", "ListKeyRotations", "ListKeyPolicies", "ListResourceTags", "DescribeKey",
                          "ListKeys", "ListAliases", "GetKeyPolicy"])
    members = {} if op in ("ListKeys", "ListAliases") else {"KeyId": any_id(r)}
    r.ask("kms", op, **members, **({"PolicyName": "default"} if op == "GetKeyPolicy" else {}))


@deed("kms", 8)
def encrypt(r):
    text = r.data()
    if r.random.random() < 0.4:
        reply = r.ask("kms", r.random.choice(["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"]), KeyId=any_key(r),
                      KeySpec="AES_256", EncryptionContext={"a": "b", "c": "d"})
        if reply and "Plaintext" in reply:
            r.blobs.append((reply["CiphertextBlob"], reply["Plaintext"]))
        return
    reply = r.ask("kms", "Encrypt", KeyId=any_key(r), Plaintext=text, EncryptionContext={"a": "b", "c": "d"})
    if reply:
        r.blobs.append((reply["CiphertextBlob"], text))


@deed("kms", 6)
def decrypt(r):
    if not r.blobs:
        return
    blob, text = r.random.choice(r.blobs)
    if r.random.random() < 0.5:
        reply = r.ask("kms", "Decrypt", CiphertextBlob=blob, EncryptionContext={"a": "b", "c": "d"})
        assert reply is None or reply["Plaintext"] == text, "what was decrypted is not what was encrypted"
        return
    reply = r.ask("kms", "ReEncrypt", CiphertextBlob=blob, SourceEncryptionContext={"a": "b", "c": "d"}, DestinationKeyId=any_key(r),
                  DestinationEncryptionContext={"a": "b", "c": "d"})
    if reply:
        r.blobs.append((reply["CiphertextBlob"], text))


# ---- Secrets Manager

SECRETS = ("race-a", "race-b")


def token_of(r):
    """One of few, so that two ask for the same version at once."""
    return f"token-of-a-race-that-is-long-enough-{r.random.randrange(5)}"


@deed("secretsmanager", 4)
def create_secret(r):
    r.ask("secretsmanager", "CreateSecret", Name=r.random.choice(SECRETS), ClientRequestToken=token_of(r), SecretString="s",
          **({"KmsKeyId": r.random.choice(ALIASES)} if r.random.random() < 0.3 else {}))


@deed("secretsmanager", 6)
def put_secret(r):
    if r.random.random() < 0.3:
        token, text = f"{r.random.getrandbits(160):040x}", r.data()
        if r.ask("secretsmanager", "PutSecretValue", SecretId=KEPT_SECRET, ClientRequestToken=token, SecretString=text):
            r.versions.append((token, text))
        return
    r.ask("secretsmanager", "PutSecretValue", SecretId=r.random.choice(SECRETS), ClientRequestToken=token_of(r), SecretString="s")


@deed("secretsmanager", 3)
def update_secret(r):
    members = {"KmsKeyId": r.random.choice([*ALIASES, "alias/aws/secretsmanager"])} if r.random.random() < 0.5 else \
        {"SecretString": "s", "ClientRequestToken": token_of(r)}
    r.ask("secretsmanager", "UpdateSecret", SecretId=r.random.choice([*SECRETS, KEPT_SECRET]), Description="d", **members)


@deed("secretsmanager", 8)
def get_secret(r):
    name = r.random.choice([*SECRETS, KEPT_SECRET])
    op = r.random.choice(["GetSecretValue", "GetSecretValue", "DescribeSecret", "ListSecretVersionIds", "GetResourcePolicy"])
    reply = r.ask("secretsmanager", op, SecretId=name)
    if reply and op == "ListSecretVersionIds":
        note(r.world.versions, *[v["VersionId"] for v in reply["Versions"]])
    if r.random.random() < 0.3:
        reply = r.ask("secretsmanager", "BatchGetSecretValue", SecretIdList=[*SECRETS, KEPT_SECRET])
        r.check_codes("secretsmanager", "BatchGetSecretValue", [e["ErrorCode"] for e in reply["Errors"]] if reply else [],
                      of="GetSecretValue")


@deed("secretsmanager", 4)
def delete_secret(r):
    op, members = r.random.choice([("DeleteSecret", {"ForceDeleteWithoutRecovery": True}), ("DeleteSecret", {"RecoveryWindowInDays": 7}),
                                   ("RestoreSecret", {})])
    r.ask("secretsmanager", op, SecretId=r.random.choice(SECRETS), **members)


@deed("secretsmanager", 4)
def change_secret(r):
    name, n = r.random.choice([*SECRETS, KEPT_SECRET]), r.random
    version = one_of(n, r.world.versions) or token_of(r)
    document = policy(allow("secretsmanager:GetSecretValue", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}))
    op, members = n.choice([
        ("TagResource", {"Tags": [{"Key": f"t{n.randrange(9)}", "Value": "v"}]}), ("UntagResource", {"TagKeys": [f"t{n.randrange(9)}"]}),
        ("PutResourcePolicy", {"ResourcePolicy": document}), ("DeleteResourcePolicy", {}),
        ("UpdateSecretVersionStage", {"VersionStage": "MINE", "MoveToVersionId": version}),
        ("UpdateSecretVersionStage", {"VersionStage": "MINE", "RemoveFromVersionId": version}),
        ("CancelRotateSecret", {})])
    r.ask("secretsmanager", op, SecretId=name, **members)


@deed("secretsmanager", 2)
def rotate_secret(r):
    r.ask("secretsmanager", "RotateSecret", SecretId=r.random.choice(SECRETS), RotationLambdaARN=FUNCTION, RotationRules={"AutomaticallyAfterDays": 1})


@deed("secretsmanager", 1)
def list_secrets(r):
    r.ask("secretsmanager", "ListSecrets")


# ---- IAM and STS

USERS, GROUPS, ROLES, POLICIES = ("u0", "u1"), ("g0", "g1"), ("r0", "r1"), ("p0", "p1")


def policy_arn(name):
    return f"arn:aws:iam::{ACCOUNT}:policy/{name}"


@deed("iam", 6)
def create_entity(r):
    op, members = r.random.choice([
        ("CreateUser", {"UserName": r.random.choice(USERS)}), ("CreateGroup", {"GroupName": r.random.choice(GROUPS)}),
        ("CreateRole", {"RoleName": r.random.choice(ROLES), "AssumeRolePolicyDocument": trust(AWS=ACCOUNT)}),
        ("CreatePolicy", {"PolicyName": r.random.choice(POLICIES), "PolicyDocument": policy(allow("kinesis:*"))})])
    r.ask("iam", op, **members)


@deed("iam", 4)
def delete_entity(r):
    op, members = r.random.choice([
        ("DeleteUser", {"UserName": r.random.choice(USERS)}), ("DeleteGroup", {"GroupName": r.random.choice(GROUPS)}),
        ("DeleteRole", {"RoleName": r.random.choice(ROLES)}), ("DeletePolicy", {"PolicyArn": policy_arn(r.random.choice(POLICIES))})])
    r.ask("iam", op, **members)


@deed("iam", 8)
def change_identity(r):
    kind, name = r.random.choice([("User", r.random.choice(USERS)), ("Group", r.random.choice(GROUPS)), ("Role", r.random.choice(ROLES))])
    whom, arn = {f"{kind}Name": name}, policy_arn(r.random.choice(POLICIES))
    op, members = r.random.choice([
        (f"Attach{kind}Policy", {"PolicyArn": arn}), (f"Detach{kind}Policy", {"PolicyArn": arn}),
        (f"Put{kind}Policy", {"PolicyName": "in", "PolicyDocument": policy(allow(["kinesis:PutRecord", "iam:Get*"]))}),
        (f"Delete{kind}Policy", {"PolicyName": "in"}), (f"Get{kind}Policy", {"PolicyName": "in"}),
        (f"List{kind}Policies", {}), (f"ListAttached{kind}Policies", {})])
    r.ask("iam", op, **whom, **members)


@deed("iam", 5)
def change_user_or_role(r):
    kind, name = r.random.choice([("User", r.random.choice(USERS)), ("Role", r.random.choice(ROLES))])
    op, members = r.random.choice([
        (f"Put{kind}PermissionsBoundary", {"PermissionsBoundary": policy_arn(r.random.choice(POLICIES))}),
        (f"Delete{kind}PermissionsBoundary", {}), (f"Tag{kind}", {"Tags.member.1.Key": "t", "Tags.member.1.Value": "v"}),
        (f"Untag{kind}", {"TagKeys.member.1": "t"}), (f"List{kind}Tags", {}), (f"Get{kind}", {})])
    r.ask("iam", op, **{f"{kind}Name": name}, **members)


@deed("iam", 4)
def change_group_or_trust(r):
    user, group = r.random.choice(USERS), r.random.choice(GROUPS)
    op, members = r.random.choice([
        ("AddUserToGroup", {"UserName": user, "GroupName": group}), ("RemoveUserFromGroup", {"UserName": user, "GroupName": group}),
        ("GetGroup", {"GroupName": group}), ("ListGroupsForUser", {"UserName": user}),
        ("UpdateAssumeRolePolicy", {"RoleName": r.random.choice(ROLES), "PolicyDocument": trust(AWS=ACCOUNT)}),
        ("UpdateRole", {"RoleName": r.random.choice(ROLES), "Description": "d"})])
    r.ask("iam", op, **members)


@deed("iam", 4)
def change_version(r):
    op, members = r.random.choice([
        ("CreatePolicyVersion", {"PolicyDocument": policy(allow("kinesis:*")), "SetAsDefault": r.random.choice(["true", "false"])}),
        ("DeletePolicyVersion", {"VersionId": f"v{r.random.randint(1, 9)}"}), ("GetPolicyVersion", {"VersionId": f"v{r.random.randint(1, 9)}"}),
        ("SetDefaultPolicyVersion", {"VersionId": f"v{r.random.randint(1, 9)}"}), ("ListPolicyVersions", {}), ("GetPolicy", {})])
    r.ask("iam", op, PolicyArn=policy_arn(r.random.choice(POLICIES)), **members)


@deed("iam", 6)
def change_access_key(r):
    user = r.random.choice(USERS)
    key = one_of(r.random, r.world.access_keys)
    op = r.random.choice(["CreateAccessKey", "CreateAccessKey", "DeleteAccessKey", "UpdateAccessKey", "ListAccessKeys", "GetAccessKeyLastUsed"])
    if op in ("CreateAccessKey", "ListAccessKeys") or key is None:
        reply = r.ask("iam", op if op == "ListAccessKeys" else "CreateAccessKey", UserName=user)
        if reply and op != "ListAccessKeys":
            note(r.world.access_keys, (user, reply["AccessKeyId"], reply["SecretAccessKey"]))
        return
    members = {} if op == "GetAccessKeyLastUsed" else {"UserName": key[0]}
    r.ask("iam", op, AccessKeyId=key[1], **members, **({"Status": r.random.choice(["Active", "Inactive"])} if op == "UpdateAccessKey" else {}))


@deed("iam", 2)
def list_entities(r):
    r.ask("iam", r.random.choice(["ListUsers", "ListGroups", "ListRoles", "ListPolicies"]))


@deed("sts", 4)
def assume(r):
    r.ask("sts", "AssumeRole", RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{r.random.choice(ROLES)}", RoleSessionName="race")


@deed("sts", 6)
def as_a_user(r):
    """With a key that others delete, deactivate, and give policies to and take them from."""
    key = one_of(r.random, r.world.access_keys)
    if key is None:
        return
    service, op, members = r.random.choice([
        ("sts", "GetCallerIdentity", {}), ("sts", "GetSessionToken", {}), ("iam", "GetUser", {}),
        ("sts", "GetFederationToken", {"Name": "fed", "Policy": policy(allow("*"))}),
        ("kinesis", "PutRecord", {"StreamName": r.random.choice(STREAMS), "Data": "eA==", "PartitionKey": "k"})])
    r.ask(service, op, keys=key[1:], **members)


# ---- Glue

TABLES = ("t0", "t1")
COLUMNS = [{"Name": "c", "Type": "int"}]


def table_input(r, name):
    return {"Name": name, "StorageDescriptor": {"Columns": COLUMNS}, "PartitionKeys": [{"Name": "p", "Type": "string"}],
            "Parameters": {"n": str(r.random.randrange(99))}}


@deed("glue", 6)
def change_database(r):
    name = r.random.choice(["d0", "d1"])
    op, members = r.random.choice([*[("CreateDatabase", {"DatabaseInput": {"Name": name}})] * 4,
                                   ("DeleteDatabase", {"Name": name}), ("GetDatabase", {"Name": name}),
                                   ("UpdateDatabase", {"Name": name, "DatabaseInput": {"Name": name, "Description": "d"}}), ("GetDatabases", {})])
    r.ask("glue", op, **members)


@deed("glue", 10)
def change_table(r):
    database, name = r.random.choice(["d0", "d1"]), r.random.choice(TABLES)
    op, members = r.random.choice([
        *[("CreateTable", {"TableInput": table_input(r, name)})] * 5,
        ("UpdateTable", {"TableInput": table_input(r, name)}), ("UpdateTable", {"TableInput": table_input(r, name), "VersionId": "1"}),
        ("DeleteTable", {"Name": name}), ("GetTable", {"Name": name}), ("GetTables", {}), ("BatchDeleteTable", {"TablesToDelete": [name]}),
        ("GetTableVersions", {"TableName": name}), ("GetTableVersion", {"TableName": name, "VersionId": "1"}),
        ("DeleteTableVersion", {"TableName": name, "VersionId": "0"}),
        ("BatchDeleteTableVersion", {"TableName": name, "VersionIds": ["0", "1"]})])
    r.ask("glue", op, DatabaseName=database, **members)


@deed("glue", 8)
def change_partition(r):
    values = {"Values": [f"v{r.random.randrange(4)}"], "StorageDescriptor": {"Columns": COLUMNS}}
    op, members = r.random.choice([
        ("CreatePartition", {"PartitionInput": values}), ("DeletePartition", {"PartitionValues": values["Values"]}),
        ("GetPartition", {"PartitionValues": values["Values"]}), ("GetPartitions", {}),
        ("UpdatePartition", {"PartitionValueList": values["Values"], "PartitionInput": {**values, "Values": [f"v{r.random.randrange(4)}"]}}),
        ("BatchCreatePartition", {"PartitionInputList": [values]}), ("BatchDeletePartition", {"PartitionsToDelete": [{"Values": values["Values"]}]}),
        ("BatchGetPartition", {"PartitionsToGet": [{"Values": values["Values"]}]}),
        ("CreatePartitionIndex", {"PartitionIndex": {"Keys": ["p"], "IndexName": "i"}}), ("DeletePartitionIndex", {"IndexName": "i"}),
        ("GetPartitionIndexes", {}), ("GetColumnStatisticsForTable", {"ColumnNames": ["c"]}),
        ("DeleteColumnStatisticsForTable", {"ColumnName": "c"})])
    r.ask("glue", op, DatabaseName=r.random.choice(["d0", "d1"]), TableName=r.random.choice(TABLES), **members)


@deed("glue", 5)
def change_schema(r):
    registry, schema = {"RegistryName": "reg"}, {"RegistryName": "reg", "SchemaName": r.random.choice(["s0", "s1"])}
    definition = json.dumps({"type": "record", "name": "r", "fields": [{"name": f"f{r.random.randrange(3)}", "type": "int", "default": 0}]})
    op, members = r.random.choice([
        *[("CreateRegistry", registry)] * 3, ("DeleteRegistry", {"RegistryId": registry}), ("GetRegistry", {"RegistryId": registry}), ("ListRegistries", {}),
        ("CreateSchema", {"RegistryId": registry, "SchemaName": schema["SchemaName"], "DataFormat": "AVRO", "Compatibility": "BACKWARD",
                          "SchemaDefinition": definition}),
        ("RegisterSchemaVersion", {"SchemaId": schema, "SchemaDefinition": definition}), ("DeleteSchema", {"SchemaId": schema}),
        ("GetSchema", {"SchemaId": schema}), ("ListSchemaVersions", {"SchemaId": schema}), ("ListSchemas", {}),
        ("GetSchemaVersion", {"SchemaId": schema, "SchemaVersionNumber": {"LatestVersion": True}}),
        ("DeleteSchemaVersions", {"SchemaId": schema, "Versions": "2-3"})])
    r.ask("glue", op, **members)


@deed("glue", 4)
def change_catalog(r):
    arn = f"arn:aws:glue:{REGION}:{ACCOUNT}:database/{r.random.choice(['d0', 'd1'])}"
    function = {"FunctionName": "f", "ClassName": "c", "OwnerName": "o", "OwnerType": "USER"}
    document = policy(allow("glue:GetTables", f"arn:aws:glue:{REGION}:{ACCOUNT}:catalog", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}))
    op, members = r.random.choice([
        ("TagResource", {"ResourceArn": arn, "TagsToAdd": {"t": "v"}}), ("UntagResource", {"ResourceArn": arn, "TagsToRemove": ["t"]}),
        ("GetTags", {"ResourceArn": arn}), ("SearchTables", {"SearchText": "t"}), ("GetResourcePolicies", {}),
        ("CreateUserDefinedFunction", {"DatabaseName": "d0", "FunctionInput": function}),
        ("DeleteUserDefinedFunction", {"DatabaseName": "d0", "FunctionName": "f"}),
        ("GetUserDefinedFunctions", {"DatabaseName": "d0", "Pattern": "f"}), ("PutResourcePolicy", {"PolicyInJson": document}),
        ("GetResourcePolicy", {}), ("DeleteResourcePolicy", {})])
    r.ask("glue", op, **members)


# ---- CloudWatch

ALARMS = ("a0", "a1", "a2")


@deed("cloudwatch", 6)
def put_alarm(r):
    name = r.random.choice(ALARMS)
    if r.random.random() < 0.3:
        r.ask("cloudwatch", "PutCompositeAlarm", AlarmName="composite", AlarmRule=f'ALARM("{name}")')
    else:
        r.ask("cloudwatch", "PutMetricAlarm", AlarmName=name, Namespace="N", MetricName="M", Period=10, EvaluationPeriods=1, Statistic="Sum",
              Threshold=float(r.random.randrange(9)), ComparisonOperator="GreaterThanThreshold",
              AlarmActions=[FUNCTION] if r.random.random() < 0.3 else [])


@deed("cloudwatch", 10)
def change_alarm(r):
    names = [r.random.choice([*ALARMS, "composite"])]
    arn = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{names[0]}"
    op, members = r.random.choice([
        ("DeleteAlarms", {"AlarmNames": names}), ("EnableAlarmActions", {"AlarmNames": names}), ("DisableAlarmActions", {"AlarmNames": names}),
        ("SetAlarmState", {"AlarmName": names[0], "StateValue": r.random.choice(["OK", "ALARM"]), "StateReason": "a race"}),
        ("DescribeAlarms", {}), ("DescribeAlarmHistory", {}), ("DescribeAlarmsForMetric", {"Namespace": "N", "MetricName": "M"}),
        ("TagResource", {"ResourceARN": arn, "Tags": [{"Key": "t", "Value": "v"}]}), ("UntagResource", {"ResourceARN": arn, "TagKeys": ["t"]}),
        ("ListTagsForResource", {"ResourceARN": arn}), ("ListMetrics", {})])
    r.ask("cloudwatch", op, **members)


@deed("cloudwatch", 5)
def put_metric(r):
    r.ask("cloudwatch", "PutMetricData", Namespace="N", MetricData=[{"MetricName": "M", "Value": float(r.random.randrange(20))}])


# ---- Firehose

HOSES = ("race-0", "race-1")


def place(prefix):
    return {"RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{BUCKET}", "Prefix": prefix, "BufferingHints": {"IntervalInSeconds": 1, "SizeInMBs": 1}}


@deed("firehose", 4)
def create_hose(r):
    source = {} if r.random.random() < 0.6 else {
        "DeliveryStreamType": "KinesisStreamAsSource",
        "KinesisStreamSourceConfiguration": {"KinesisStreamARN": stream_arn(r.random.choice(STREAMS)), "RoleARN": ROLE}}
    r.ask("firehose", "CreateDeliveryStream", DeliveryStreamName=r.random.choice(HOSES), ExtendedS3DestinationConfiguration=place("races/"), **source)


@deed("firehose", 3)
def delete_hose(r):
    r.ask("firehose", "DeleteDeliveryStream", DeliveryStreamName=r.random.choice(HOSES), AllowForceDelete=True)


@deed("firehose", 12)
def put_hose(r):
    name, batch = r.random.choice([*HOSES, KEPT_HOSE]), [r.line() for _ in range(r.random.randint(1, 4))]
    if len(batch) == 1:
        reply = r.ask("firehose", "PutRecord", DeliveryStreamName=name, Record={"Data": batch[0]})
        stored = batch if reply else []
    else:
        reply = r.ask("firehose", "PutRecordBatch", DeliveryStreamName=name, Records=[{"Data": line} for line in batch])
        codes = [e.get("ErrorCode") for e in reply["RequestResponses"]] if reply else []
        r.check_codes("firehose", "PutRecordBatch", codes)
        stored = [line for line, code in zip(batch, codes) if code is None]
    if name == KEPT_HOSE:
        r.lines += [base64.b64decode(line) for line in stored]


@deed("firehose", 8)
def change_hose(r):
    name, n = r.random.choice([*HOSES, KEPT_HOSE]), r.random
    customer = {"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{any_id(r)}"}
    op, members = n.choice([
        ("StartDeliveryStreamEncryption", {"DeliveryStreamEncryptionConfigurationInput": customer}),
        ("StartDeliveryStreamEncryption", {"DeliveryStreamEncryptionConfigurationInput": {"KeyType": "AWS_OWNED_CMK"}}),
        ("StopDeliveryStreamEncryption", {}), ("DescribeDeliveryStream", {}), ("ListTagsForDeliveryStream", {}),
        ("TagDeliveryStream", {"Tags": [{"Key": f"t{n.randrange(9)}", "Value": "v"}]}), ("UntagDeliveryStream", {"TagKeys": [f"t{n.randrange(9)}"]}),
        ("UpdateDestination", {"CurrentDeliveryStreamVersionId": r.world.hose_versions.get(name, "1"), "DestinationId": "destinationId-000000000001",
                               "ExtendedS3DestinationUpdate": {"BufferingHints": {"IntervalInSeconds": n.randint(0, 2), "SizeInMBs": 1}}})])
    reply = r.ask("firehose", op, DeliveryStreamName=name, **members)
    if reply and op == "DescribeDeliveryStream":
        r.world.hose_versions[name] = reply["DeliveryStreamDescription"]["VersionId"]


@deed("firehose", 1)
def list_hoses(r):
    r.ask("firehose", "ListDeliveryStreams")
