#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boto3 and the AWS command line, unmodified, against Secrets Manager: what applications, Terraform and caches of
secrets ask of it, who may read, and what is left after kill -9.

    tests/clients/secretsmanager_test.py --program build/headrace
"""
import argparse
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import uuid

import boto3
import botocore.config
import botocore.exceptions

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

AWS = os.path.join(os.path.dirname(sys.executable), "aws")
ROOT = {"aws_access_key_id": headrace.KEY_ID, "aws_secret_access_key": headrace.SECRET}
ACCOUNT = headrace.ACCOUNT
HELD_SECONDS_MAX = 240


def client(server, service, keys=None):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=60,
                                    read_timeout=240)
    return boto3.client(service, region_name="us-east-1", endpoint_url=server.url, config=config, **(keys or ROOT))


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response["Error"]["Message"]
    raise AssertionError(f"{code} was expected")


class Function(http.server.ThreadingHTTPServer):
    """A rotation function behind its endpoint, which does what AWS's templates do."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body, status = b"null", 200
            try:
                self.server.step(event["Step"], event["SecretId"], event["ClientRequestToken"])
            except Exception as problem:
                body, status = json.dumps({"errorMessage": str(problem), "errorType": "Error"}).encode(), 200
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.steps, self.sm, self.held = [], None, threading.Event()
        self.hold_at, self.waits = None, threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # who called has been killed meanwhile

    def __exit__(self, *_):
        self.held.set()
        self.shutdown()
        self.server_close()

    def step(self, step, arn, token):
        self.steps.append(step)
        if step == self.hold_at:
            self.waits.set()
            self.held.wait(HELD_SECONDS_MAX)
        told = self.sm.describe_secret(SecretId=arn)
        assert told["RotationEnabled"] and "AWSPENDING" in told["VersionIdsToStages"][token], told
        if step == "createSecret":
            try:
                self.sm.get_secret_value(SecretId=arn, VersionId=token, VersionStage="AWSPENDING")
            except self.sm.exceptions.ResourceNotFoundException:
                self.sm.put_secret_value(SecretId=arn, ClientRequestToken=token, SecretString=f"of {token}",
                                         VersionStages=["AWSPENDING"])
        elif step == "finishSecret":
            current = next(v for v, stages in told["VersionIdsToStages"].items() if "AWSCURRENT" in stages)
            self.sm.update_secret_version_stage(SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=token,
                                                RemoveFromVersionId=current)


class Path:
    """Stages of one path: each builds on those before it."""

    def __init__(self, server):
        self.server, self.sm = server, client(server, "secretsmanager")

    def credentials_are_kept_and_read_as_applications_do(self):
        value = {"username": "u", "password": "p"}
        made = self.sm.create_secret(Name="app/db", SecretString=json.dumps(value), Description="of the app",
                                     Tags=[{"Key": "team", "Value": "blue"}])
        assert made["ARN"].startswith(f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:app/db-"), made
        read = self.sm.get_secret_value(SecretId=made["ARN"])
        assert json.loads(read["SecretString"]) == value and read["VersionStages"] == ["AWSCURRENT"], read
        self.sm.create_secret(Name="app/bytes", SecretBinary=bytes(range(256)))
        assert self.sm.get_secret_value(SecretId="app/bytes")["SecretBinary"] == bytes(range(256))

    def a_rotation_by_hand_moves_the_stages(self):
        before = self.sm.get_secret_value(SecretId="app/db")["VersionId"]
        token = str(uuid.uuid4())
        self.sm.put_secret_value(SecretId="app/db", SecretString="new", ClientRequestToken=token,
                                 VersionStages=["AWSPENDING"])
        assert self.sm.get_secret_value(SecretId="app/db", VersionStage="AWSPENDING")["SecretString"] == "new"
        self.sm.update_secret_version_stage(SecretId="app/db", VersionStage="AWSCURRENT", MoveToVersionId=token,
                                            RemoveFromVersionId=before)
        self.sm.update_secret_version_stage(SecretId="app/db", VersionStage="AWSPENDING", RemoveFromVersionId=token)
        stages = self.sm.describe_secret(SecretId="app/db")["VersionIdsToStages"]
        assert stages == {before: ["AWSPREVIOUS"], token: ["AWSCURRENT"]}, stages

    def secrets_are_listed_in_pages_with_filters(self):
        for i in range(25):
            self.sm.create_secret(Name=f"many/{i:02d}", SecretString=str(i))
        pages = self.sm.get_paginator("list_secrets").paginate(PaginationConfig={"PageSize": 7}, SortBy="name",
                                                               SortOrder="asc",
                                                               Filters=[{"Key": "name", "Values": ["many/"]}])
        names = [s["Name"] for page in pages for s in page["SecretList"]]
        assert names == [f"many/{i:02d}" for i in range(25)], names
        got = self.sm.batch_get_secret_value(SecretIdList=["many/03", "many/24", "none"])
        assert [v["SecretString"] for v in got["SecretValues"]] == ["3", "24"], got
        assert got["Errors"][0]["ErrorCode"] == "ResourceNotFoundException", got

    def a_customer_key_seals_and_its_policy_counts(self):
        kms, iam = client(self.server, "kms"), client(self.server, "iam")
        key = kms.create_key()["KeyMetadata"]["Arn"]
        arn = self.sm.create_secret(Name="keyed", SecretString="k", KmsKeyId=key)["ARN"]
        iam.create_user(UserName="reader")
        made = iam.create_access_key(UserName="reader")["AccessKey"]
        reader = client(self.server, "secretsmanager", {"aws_access_key_id": made["AccessKeyId"],
                                                        "aws_secret_access_key": made["SecretAccessKey"]})
        assert arn in refused("AccessDeniedException", reader.get_secret_value, SecretId="keyed")
        statement = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue",
                     "Resource": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:keyed-??????"}
        iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [statement]}))
        assert refused("AccessDeniedException", reader.get_secret_value,
                       SecretId="keyed") == "Access to KMS is not allowed"
        iam.put_user_policy(UserName="reader", PolicyName="q", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key}]}))
        assert reader.get_secret_value(SecretId=arn)["SecretString"] == "k"
        refused("AccessDeniedException", reader.put_secret_value, SecretId="keyed", SecretString="x")

    def a_policy_of_the_secret_lets_others_in_and_tags_decide(self):
        iam = client(self.server, "iam")
        iam.create_user(UserName="guest")
        made = iam.create_access_key(UserName="guest")["AccessKey"]
        guest = client(self.server, "secretsmanager", {"aws_access_key_id": made["AccessKeyId"],
                                                       "aws_secret_access_key": made["SecretAccessKey"]})
        refused("AccessDeniedException", guest.get_secret_value, SecretId="app/db")
        policy = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/guest"},
            "Action": "secretsmanager:GetSecretValue", "Resource": "*",
            "Condition": {"StringEquals": {"secretsmanager:ResourceTag/team": "blue"}}}]}
        self.sm.put_resource_policy(SecretId="app/db", ResourcePolicy=json.dumps(policy), BlockPublicPolicy=True)
        assert guest.get_secret_value(SecretId="app/db")["SecretString"] == "new"
        self.sm.untag_resource(SecretId="app/db", TagKeys=["team"])
        refused("AccessDeniedException", guest.get_secret_value, SecretId="app/db")
        assert json.loads(self.sm.get_resource_policy(SecretId="app/db")["ResourcePolicy"]) == policy
        self.sm.delete_resource_policy(SecretId="app/db")

    def the_command_line_reads_and_makes_passwords(self):
        def aws(*words):
            environment = {**os.environ, "AWS_ACCESS_KEY_ID": headrace.KEY_ID, "AWS_DEFAULT_REGION": "us-east-1",
                           "AWS_SECRET_ACCESS_KEY": headrace.SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
            done = subprocess.run([AWS, "--endpoint-url", self.server.url, "--output", "json", "secretsmanager", *words],
                                  env=environment, capture_output=True, text=True,
                                  stdin=subprocess.DEVNULL, timeout=240,
                                  check=True)
            return json.loads(done.stdout)
        assert aws("get-secret-value", "--secret-id", "app/db")["SecretString"] == "new"
        assert len(aws("get-random-password", "--password-length", "40")["RandomPassword"]) == 40
        assert aws("update-secret", "--secret-id", "app/db", "--secret-string", "newest")["Name"] == "app/db"

    def what_was_answered_is_there_after_kill(self):
        self.sm.delete_secret(SecretId="app/bytes", RecoveryWindowInDays=7)
        self.sm.delete_secret(SecretId="keyed", ForceDeleteWithoutRecovery=True)
        for i in range(30):
            self.sm.put_secret_value(SecretId="app/db", SecretString=f"v{i}")
        self.server.kill()
        self.server.start()
        self.sm = client(self.server, "secretsmanager")
        assert self.sm.get_secret_value(SecretId="app/db")["SecretString"] == "v29"
        assert self.sm.get_secret_value(SecretId="app/db", VersionStage="AWSPREVIOUS")["SecretString"] == "v28"
        refused("InvalidRequestException", self.sm.get_secret_value, SecretId="app/bytes")
        self.sm.restore_secret(SecretId="app/bytes")
        assert self.sm.get_secret_value(SecretId="app/bytes")["SecretBinary"] == bytes(range(256))
        refused("ResourceNotFoundException", self.sm.describe_secret, SecretId="keyed")
        versions = self.sm.list_secret_version_ids(SecretId="app/db", IncludeDeprecated=True)["Versions"]
        assert len(versions) == 33, len(versions)

    def a_function_rotates_also_through_a_kill(self):
        steps = ["createSecret", "setSecret", "testSecret", "finishSecret"]

        def wait_for(value):
            end = time.monotonic() + 240
            while sm.get_secret_value(SecretId="turns")["SecretString"] != value or \
                    "LastRotatedDate" not in sm.describe_secret(SecretId="turns"):
                assert time.monotonic() < end, (function.steps, server.tail())
                time.sleep(0.05)

        with Function() as function, headrace.Server(
                self.server.program, "--functions-endpoints",
                f"turn=http://127.0.0.1:{function.server_address[1]}/") as server:
            sm = function.sm = client(server, "secretsmanager")
            arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:"
            sm.create_secret(Name="turns", SecretString="first")
            refused("InvalidRequestException", sm.rotate_secret, SecretId="turns", RotationLambdaARN=arn + "other")
            made = sm.rotate_secret(SecretId="turns", RotationLambdaARN=arn + "turn",
                                    RotationRules={"AutomaticallyAfterDays": 30})
            wait_for(f"of {made['VersionId']}")
            told = sm.describe_secret(SecretId="turns")
            assert told["RotationEnabled"] and told["RotationRules"] == {"AutomaticallyAfterDays": 30}, told
            assert 29 < (told["NextRotationDate"] - told["LastRotatedDate"]).total_seconds() / 86400 < 31, told
            assert sm.list_secrets()["SecretList"][0]["RotationLambdaARN"] == arn + "turn"
            assert function.steps == steps, function.steps
            function.steps, function.hold_at = [], "setSecret"
            made = sm.rotate_secret(SecretId="turns")
            assert function.waits.wait(HELD_SECONDS_MAX), function.steps
            server.kill()
            function.hold_at = None
            server.start()
            sm = function.sm = client(server, "secretsmanager")
            function.held.set()
            wait_for(f"of {made['VersionId']}")
            assert function.steps == steps[:2] + steps, function.steps
            assert "VersionId" not in sm.cancel_rotate_secret(SecretId="turns")
            told = sm.describe_secret(SecretId="turns")
            assert not told["RotationEnabled"] and "NextRotationDate" not in told, told

    def nothing_of_a_value_is_in_any_file(self):
        marker = "a-value-that-is-easily-found"
        self.sm.create_secret(Name="marked", SecretString=marker)
        for path, file in headrace.files_of(self.server.data_dir):
            assert marker.encode() not in file.read(), path


STAGES = [function for name, function in vars(Path).items() if callable(function) and name != "__init__"]


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
