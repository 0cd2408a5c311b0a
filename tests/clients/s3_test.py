#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boto3, unmodified, against S3: buckets, objects of all sizes, parts, versions, links, policies; over plain HTTP
and over TLS.

    tests/clients/s3_test.py --program build/headrace
"""
import argparse
import base64
import hashlib
import hmac
import io
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request

import boto3
import botocore.config
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

MIB = 1 << 20
KEYS = ("plain", "a/b c+d&é.txt", "Ümläut/文字 😀", "../../etc/passwd", "//double//", "per%cent", "k" * 1024)


def client(server, tls=False, endpoint=None, **more):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=60,
                                    read_timeout=240, **more)
    return boto3.client("s3", region_name="us-east-1", endpoint_url=endpoint or (server.tls_url if tls else server.url),
                        verify=server.certificate if tls else None, aws_access_key_id=headrace.KEY_ID,
                        aws_secret_access_key=headrace.SECRET, config=config)


def host_style(server):
    """What names the bucket in the host: it must be a name, and every name below it this machine's."""
    known = socket.getaddrinfo
    if not hasattr(known, "of_tests"):
        def lookup(host, *more, **named):
            name = host.decode() if isinstance(host, bytes) else host
            return known("127.0.0.1" if isinstance(name, str) and name.endswith(".localhost") else host, *more, **named)
        lookup.of_tests = True
        socket.getaddrinfo = lookup
    return dict(endpoint=f"http://s3.localhost:{server.port}", s3={"addressing_style": "virtual"})


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response["Error"]
    else:
        raise AssertionError(f"{code} was expected, and the call succeeded")


def post_form(url, fields, data):
    """What a browser sends: (status, body)."""
    parts = [f'--b0undary\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
             for name, value in fields.items()]
    parts.append(b'--b0undary\r\nContent-Disposition: form-data; name="file"; filename="C:\\dir\\a file.txt"\r\n'
                 b"Content-Type: text/plain\r\n\r\n" + data + b"\r\n--b0undary--\r\n")
    request = urllib.request.Request(url, data=b"".join(parts),
                                     headers={"Content-Type": "multipart/form-data; boundary=b0undary"})
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class Path:
    """One bucket's life; the tests are its stages, in order."""

    def __init__(self, server, tls, style=None):
        self.style = style or {}
        self.server, self.s3, self.bucket = server, client(server, tls, **self.style), "boto3-tls" if tls else "boto3"
        self.bucket += "-host" if style else ""
        self.tls = tls

    def asked_by_host(self):
        if not self.style:
            return
        link = self.s3.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": "k"})
        assert link.startswith(f"http://{self.bucket}.s3.localhost:{self.server.port}/k?"), link

    def body(self, key, **more):
        return self.s3.get_object(Bucket=self.bucket, Key=key, **more)["Body"].read()

    def a_bucket_is_made_and_listed(self):
        self.asked_by_host()
        self.s3.create_bucket(Bucket=self.bucket)
        self.s3.get_waiter("bucket_exists").wait(Bucket=self.bucket)
        assert self.bucket in [b["Name"] for b in self.s3.list_buckets()["Buckets"]]
        assert self.s3.get_bucket_location(Bucket=self.bucket)["LocationConstraint"] is None

    def objects_of_any_name_come_back(self):
        for key in KEYS:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=key.encode(), ContentType="text/x", Metadata={"a": "b"})
        for key in KEYS:
            reply = self.s3.get_object(Bucket=self.bucket, Key=key)
            assert reply["Body"].read() == key.encode() and reply["Metadata"] == {"a": "b"}, key
            assert reply["ContentType"] == "text/x" and reply["ETag"] == f'"{hashlib.md5(key.encode()).hexdigest()}"'
        found = [o["Key"] for o in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]]
        assert found == sorted(KEYS, key=str.encode), found

    def lists_go_on_page_by_page(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, PaginationConfig={"PageSize": 2})
        assert [o["Key"] for p in pages for o in p["Contents"]] == sorted(KEYS, key=str.encode)
        pages = self.s3.get_paginator("list_objects").paginate(Bucket=self.bucket, PaginationConfig={"PageSize": 2})
        assert [o["Key"] for p in pages for o in p["Contents"]] == sorted(KEYS, key=str.encode)
        page = self.s3.list_objects_v2(Bucket=self.bucket, Delimiter="/", Prefix="a/")
        assert [o["Key"] for o in page["Contents"]] == ["a/b c+d&é.txt"] and "CommonPrefixes" not in page
        page = self.s3.list_objects_v2(Bucket=self.bucket, Delimiter="/")
        assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["../", "/", "a/", "Ümläut/"], page

    def checksums_of_every_kind_are_verified(self):
        for kind in ("CRC32", "SHA1", "SHA256"):  # for others the client needs a library of its own
            put = self.s3.put_object(Bucket=self.bucket, Key="sum", Body=b"123456789", ChecksumAlgorithm=kind)
            head = self.s3.head_object(Bucket=self.bucket, Key="sum", ChecksumMode="ENABLED")
            assert head[f"Checksum{kind}"] == put[f"Checksum{kind}"], (kind, head)
        refused("BadDigest", self.s3.put_object, Bucket=self.bucket, Key="bad", Body=b"x", ChecksumCRC32="AAAAAA==")
        refused("BadDigest", self.s3.put_object, Bucket=self.bucket, Key="bad", Body=b"x",
                ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
        refused("NoSuchKey", self.s3.get_object, Bucket=self.bucket, Key="bad")

    def a_large_object_comes_in_one_piece_and_in_ranges(self):
        data = os.urandom(9 * MIB + 7)
        self.s3.put_object(Bucket=self.bucket, Key="large", Body=io.BytesIO(data))
        assert self.body("large") == data
        for first, last in ((0, 0), (1, 5 * MIB), (8 * MIB - 3, 9 * MIB + 6)):
            assert self.body("large", Range=f"bytes={first}-{last}") == data[first:last + 1]
        assert self.body("large", Range="bytes=-9") == data[-9:]
        assert self.body("large") == data  # from the file as it is, over plain HTTP
        first = self.s3.put_object(Bucket=self.bucket, Key="kept", Body=data[:70000], Metadata={"a": "b"})
        assert all(self.body("kept") == data[:70000] for _ in range(3))
        head = self.s3.head_object(Bucket=self.bucket, Key="kept")  # from memory
        assert (head["ETag"], head["ContentLength"], head["Metadata"]) == (first["ETag"], 70000, {"a": "b"}), head
        self.s3.delete_object(Bucket=self.bucket, Key="kept")
        refused("404", self.s3.head_object, Bucket=self.bucket, Key="kept")
        refused("InvalidRange", self.s3.get_object, Bucket=self.bucket, Key="large", Range="bytes=99999999-")

    def a_refused_upload_spoils_no_connection(self):
        """botocore keeps an answer that came in place of 100 for what it asks next on that connection."""
        s3 = client(self.server, self.tls, max_pool_connections=1, **self.style)
        for size in (1, 1000, 300_000, 3_000_000):
            data = os.urandom(size)
            refused("NoSuchBucket", s3.put_object, Bucket="nobody-has-this", Key="k", Body=io.BytesIO(data))
            s3.put_object(Bucket=self.bucket, Key="expected", Body=io.BytesIO(data))
            refused("NoSuchUpload", s3.upload_part, Bucket=self.bucket, Key="expected", UploadId="x", PartNumber=1, Body=io.BytesIO(data))
            assert s3.get_object(Bucket=self.bucket, Key="expected")["Body"].read() == data
        s3.delete_object(Bucket=self.bucket, Key="expected")

    def the_transfer_manager_sends_and_fetches_parts(self):
        data = os.urandom(17 * MIB)
        config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
        self.s3.upload_fileobj(io.BytesIO(data), self.bucket, "parts", Config=config)
        back = io.BytesIO()
        self.s3.download_fileobj(self.bucket, "parts", back, Config=config)
        assert back.getvalue() == data
        digests = b"".join(hashlib.md5(data[at:at + 5 * MIB]).digest() for at in range(0, len(data), 5 * MIB))
        head = self.s3.head_object(Bucket=self.bucket, Key="parts", PartNumber=1)
        assert head["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-4"' and head["PartsCount"] == 4, head
        assert self.body("parts", PartNumber=4) == data[15 * MIB:]
        self.s3.copy({"Bucket": self.bucket, "Key": "parts"}, self.bucket, "parts-copied", Config=config)
        assert self.body("parts-copied") == data
        assert "Uploads" not in self.s3.list_multipart_uploads(Bucket=self.bucket)

    def copies_share_their_bytes_and_outlive_the_source(self):
        def stored():
            return headrace.blob_bytes(self.server)  # what was removed before goes beside

        data, body = os.urandom(6 * MIB + 1), lambda: io.BytesIO(data)
        config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
        self.s3.put_object(Bucket=self.bucket, Key="src/plain", Body=body())
        self.s3.put_object(Bucket=self.bucket, Key="src/sealed", Body=body(), ServerSideEncryption="AES256")
        self.s3.upload_fileobj(body(), self.bucket, "src/parts", Config=config)
        before = stored()
        for name, more in (("plain", {}), ("sealed", {"ServerSideEncryption": "AES256"}), ("parts", {})):
            made = self.s3.copy_object(Bucket=self.bucket, Key=f"dst/{name}", CopySource=f"{self.bucket}/src/{name}", **more)
            assert made["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(data).hexdigest()}"', made
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="dst/range")["UploadId"]
        part = self.s3.upload_part_copy(Bucket=self.bucket, Key="dst/range", UploadId=upload, PartNumber=1,
                                        CopySource=f"{self.bucket}/src/plain", CopySourceRange=f"bytes=5-{6 * MIB}")
        assert part["CopyPartResult"]["ETag"] == f'"{hashlib.md5(data[5:6 * MIB + 1]).hexdigest()}"'
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]}
        done = [self.s3.complete_multipart_upload(Bucket=self.bucket, Key="dst/range", UploadId=upload, MultipartUpload=parts)
                for _ in range(2)]  # as a client does that has not got the first answer
        assert done[0]["ETag"] == done[1]["ETag"] and stored() <= before, (before, stored())
        self.s3.copy_object(Bucket=self.bucket, Key="dst/opened", CopySource=f"{self.bucket}/src/sealed")
        for name in ("plain", "sealed", "parts"):
            self.s3.delete_object(Bucket=self.bucket, Key=f"src/{name}")
        for name in ("plain", "sealed", "parts", "opened"):
            assert self.body(f"dst/{name}") == data, name
        assert self.body("dst/range") == data[5:6 * MIB + 1]

    def a_key_of_the_customer_opens_what_it_has_sealed_and_nothing_else_does(self):
        mine, other = (dict(SSECustomerAlgorithm="AES256", SSECustomerKey=os.urandom(32)) for _ in range(2))
        data = os.urandom(6 * MIB)
        if not self.tls:
            refused("InvalidRequest", self.s3.put_object, Bucket=self.bucket, Key="c", Body=b"x", **mine)
            return
        made = self.s3.put_object(Bucket=self.bucket, Key="c", Body=data, **mine)
        assert made["SSECustomerAlgorithm"] == "AES256" and made["SSECustomerKeyMD5"]
        assert self.body("c", **mine) == data and self.body("c", Range="bytes=5-1000000", **mine) == data[5:1000001]
        assert self.s3.head_object(Bucket=self.bucket, Key="c", **mine)["SSECustomerKeyMD5"] == made["SSECustomerKeyMD5"]
        refused("InvalidRequest", self.s3.get_object, Bucket=self.bucket, Key="c")
        refused("AccessDenied", self.s3.get_object, Bucket=self.bucket, Key="c", **other)
        refused("400", self.s3.head_object, Bucket=self.bucket, Key="c")
        refused("403", self.s3.head_object, Bucket=self.bucket, Key="c", **other)
        refused("InvalidRequest", self.s3.get_object, Bucket=self.bucket, Key="plain", **mine)
        refused("InvalidEncryptionAlgorithmError", self.s3.put_object, Bucket=self.bucket, Key="d", Body=b"x",
                **{**mine, "SSECustomerAlgorithm": "AES128"})
        text = base64.b64encode(mine["SSECustomerKey"]).decode()
        for more in ({"SSECustomerKey": b"short"}, {"SSECustomerKey": text, "SSECustomerKeyMD5": "AAAAAAAAAAAAAAAAAAAAAA=="}):
            refused("InvalidArgument", self.s3.put_object, Bucket=self.bucket, Key="d", Body=b"x", **{**mine, **more})
        refused("InvalidArgument", self.s3.put_object, Bucket=self.bucket, Key="d", Body=b"x", ServerSideEncryption="AES256", **mine)
        source = {f"CopySource{k}": v for k, v in mine.items()}
        self.s3.copy_object(Bucket=self.bucket, Key="c2", CopySource=f"{self.bucket}/c", **source, **other)
        assert self.body("c2", **other) == data
        refused("InvalidRequest", self.s3.copy_object, Bucket=self.bucket, Key="c3", CopySource=f"{self.bucket}/c")
        self.s3.copy_object(Bucket=self.bucket, Key="c3", CopySource=f"{self.bucket}/c", **source)
        assert self.body("c3") == data
        config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
        self.s3.upload_fileobj(io.BytesIO(data), self.bucket, "c4", ExtraArgs=mine, Config=config)
        assert self.body("c4", **mine) == data
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="c5", **mine)["UploadId"]
        for more in ({}, other):
            refused("InvalidRequest", self.s3.upload_part, Bucket=self.bucket, Key="c5", UploadId=upload, PartNumber=1, Body=b"x", **more)
        self.s3.abort_multipart_upload(Bucket=self.bucket, Key="c5", UploadId=upload)
        for path, file in headrace.files_of(self.server.data_dir):
            assert mine["SSECustomerKey"] not in file.read(), f"the key is in {path}"

    def links_are_good_until_they_end(self):
        for signature in ("s3v4", "s3"):
            signer = client(self.server, self.tls, signature_version=signature, **self.style)
            signer.put_object(Bucket=self.bucket, Key="signed", Body=b"x", Metadata={"a": "b"}, ContentType="text/x")
            assert signer.list_objects_v2(Bucket=self.bucket, Prefix="signed")["KeyCount"] == 1
            signer.delete_object(Bucket=self.bucket, Key="signed")
            if self.tls:
                continue  # urllib knows nothing of the certificate
            link = signer.generate_presigned_url("put_object", Params={"Bucket": self.bucket, "Key": "linked"})
            urllib.request.urlopen(urllib.request.Request(link, method="PUT", data=b"by link",
                                                          headers={"Content-Type": ""})).read()
            link = signer.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": "linked"})
            assert urllib.request.urlopen(link).read() == b"by link"
            try:
                urllib.request.urlopen(link.replace("linked", "parts"))
                raise AssertionError("a link was good for another object")
            except urllib.error.HTTPError as error:
                assert error.code == 403 and b"SignatureDoesNotMatch" in error.read()

    def forms_are_taken_as_their_policy_says(self):
        if self.tls:
            return
        for signature in ("s3v4", "s3"):
            signer = client(self.server, signature_version=signature, **self.style)
            made = signer.generate_presigned_post(
                self.bucket, "form/${filename}", Fields={"x-amz-meta-a": "b", "success_action_status": "201"},
                Conditions=[{"x-amz-meta-a": "b"}, {"success_action_status": "201"}, ["content-length-range", 1, 400000]])
            for data in (b"small \r\n--not it", os.urandom(390000)):
                status, reply = post_form(made["url"], made["fields"], data)
                assert status == 201 and b"<Key>form/a file.txt</Key>" in reply, reply
                assert self.body("form/a file.txt") == data
            assert self.s3.head_object(Bucket=self.bucket, Key="form/a file.txt")["Metadata"] == {"a": "b"}
            tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v w</Value></Tag></TagSet></Tagging>"
            more = {"tagging": tags, "x-amz-server-side-encryption": "AES256"}
            made = signer.generate_presigned_post(self.bucket, "form/tagged", Fields=more,
                                                  Conditions=[{name: value} for name, value in more.items()])
            status, reply = post_form(made["url"], made["fields"], b"tagged")
            assert status == 204 and self.body("form/tagged") == b"tagged", reply
            assert self.s3.head_object(Bucket=self.bucket, Key="form/tagged")["ServerSideEncryption"] == "AES256"
            assert self.s3.get_object_tagging(Bucket=self.bucket, Key="form/tagged")["TagSet"] == [{"Key": "k", "Value": "v w"}]
            made = signer.generate_presigned_post(self.bucket, "form/${filename}", Fields={"x-amz-meta-a": "b", "success_action_status": "201"},
                                                  Conditions=[{"x-amz-meta-a": "b"}, {"success_action_status": "201"},
                                                              ["content-length-range", 1, 400000]])
            for change, code in (({"x-amz-meta-a": "c"}, b"AccessDenied"), ({"x-amz-meta-b": "c"}, b"AccessDenied"),
                                 ({"key": "elsewhere"}, b"AccessDenied"), ({"policy": made["fields"]["policy"][:-4]}, b"SignatureDoesNotMatch")):
                status, reply = post_form(made["url"], {**made["fields"], **change}, b"x")
                assert status == 403 and code in reply, (change, reply)
            for data, code in ((b"", b"EntityTooSmall"), (b"x" * 400001, b"EntityTooLarge")):
                status, reply = post_form(made["url"], made["fields"], data)
                assert status == 400 and code in reply, reply
        old = client(self.server).generate_presigned_post(self.bucket, "late", ExpiresIn=-5)
        status, reply = post_form(old["url"], old["fields"], b"x")
        assert status == 403 and b"Policy expired" in reply, reply
        status, reply = post_form(made["url"], {"key": "nobody"}, b"x")
        assert status == 403 and b"AccessDenied" in reply, reply
        for policy, said in ((b"no base64!", b"Invalid Base64"), (base64.b64encode(b"[1"), b"conditions specified")):
            signed = base64.b64encode(hmac.digest(headrace.SECRET.encode(), policy, "sha1")).decode()
            status, reply = post_form(made["url"], {"key": "k", "AWSAccessKeyId": headrace.KEY_ID, "policy": policy.decode(),
                                                    "signature": signed}, b"x")
            assert status == 400 and b"<Code>InvalidPolicyDocument</Code>" in reply and said in reply, reply
        refused("NoSuchKey", self.s3.get_object, Bucket=self.bucket, Key="elsewhere")

    def versions_are_kept_and_markers_hide_them(self):
        bucket = self.bucket + "-versions"
        self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        ids = [self.s3.put_object(Bucket=bucket, Key="k", Body=str(n).encode())["VersionId"] for n in range(3)]
        marker = self.s3.delete_object(Bucket=bucket, Key="k")
        assert marker["DeleteMarker"]
        refused("NoSuchKey", self.s3.get_object, Bucket=bucket, Key="k")
        for n, version in enumerate(ids):
            assert self.s3.get_object(Bucket=bucket, Key="k", VersionId=version)["Body"].read() == str(n).encode()
        found = self.s3.list_object_versions(Bucket=bucket)
        assert [v["VersionId"] for v in found["Versions"]] == ids[::-1]
        self.s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
        assert self.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
        refused("BucketNotEmpty", self.s3.delete_bucket, Bucket=bucket)
        everything = [{"Key": "k", "VersionId": v} for v in ids]
        assert len(self.s3.delete_objects(Bucket=bucket, Delete={"Objects": everything})["Deleted"]) == 3
        self.s3.delete_bucket(Bucket=bucket)

    def objects_are_encrypted_with_the_keys_of_this_server(self):
        self.s3.put_object(Bucket=self.bucket, Key="sealed", Body=b"s" * 100000, ServerSideEncryption="aws:kms")
        head = self.s3.head_object(Bucket=self.bucket, Key="sealed")
        assert head["ServerSideEncryption"] == "aws:kms" and ":key/" in head["SSEKMSKeyId"], head
        assert self.body("sealed", Range="bytes=65530-65540") == b"s" * 11
        self.s3.copy_object(Bucket=self.bucket, Key="opened", CopySource={"Bucket": self.bucket, "Key": "sealed"})
        assert self.body("opened") == b"s" * 100000

    def conditions_guard_writes(self):
        etag = self.s3.put_object(Bucket=self.bucket, Key="guarded", Body=b"1", IfNoneMatch="*")["ETag"]
        refused("PreconditionFailed", self.s3.put_object, Bucket=self.bucket, Key="guarded", Body=b"2", IfNoneMatch="*")
        self.s3.put_object(Bucket=self.bucket, Key="guarded", Body=b"2", IfMatch=etag)
        refused("PreconditionFailed", self.s3.put_object, Bucket=self.bucket, Key="guarded", Body=b"3", IfMatch=etag)
        refused("304", self.s3.get_object, Bucket=self.bucket, Key="guarded", IfNoneMatch=f'"{hashlib.md5(b"2").hexdigest()}"')

    def policies_let_strangers_in(self):
        link = f"{self.server.url}/{self.bucket}/plain"
        try:
            urllib.request.urlopen(link)
            raise AssertionError("a stranger came in")
        except urllib.error.HTTPError as error:
            assert error.code == 403, error.code
        statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                     "Resource": f"arn:aws:s3:::{self.bucket}/plain"}
        self.s3.put_bucket_policy(Bucket=self.bucket,
                                  Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        assert urllib.request.urlopen(link).read() == b"plain"
        self.s3.delete_bucket_policy(Bucket=self.bucket)

    def everything_survives_a_kill(self):
        if self.tls:
            return
        before = {o["Key"]: o["ETag"] for o in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]}
        parts = self.body("parts")
        self.server.kill()
        self.server.start()
        after = {o["Key"]: o["ETag"] for o in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]}
        assert after == before and self.body("parts") == parts

    def the_bucket_is_emptied_and_removed(self):
        bucket = boto3.resource("s3", region_name="us-east-1", endpoint_url=self.server.tls_url if self.tls else self.server.url,
                                verify=self.server.certificate if self.tls else None,
                                aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET).Bucket(self.bucket)
        bucket.objects.all().delete()
        bucket.delete()
        refused("NoSuchBucket", self.s3.list_objects_v2, Bucket=self.bucket)


STAGES = [function for name, function in vars(Path).items()
          if callable(function) and name not in ("__init__", "body", "asked_by_host")]


def lifecycle_rules_are_applied_as_the_clock_goes(program):
    with headrace.Server(program, profile="dev") as server:
        s3 = client(server)
        s3.create_bucket(Bucket="aging")
        s3.put_bucket_lifecycle_configuration(Bucket="aging", LifecycleConfiguration={"Rules": [
            {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "log/"}, "Expiration": {"Days": 2}},
            {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": "keep/"}, "Expiration": {"Days": 1}},
            {"ID": "parts", "Status": "Enabled", "Filter": {}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}]})
        for key in ("log/1", "log/2", "keep/1", "other"):
            s3.put_object(Bucket="aging", Key=key, Body=b"x")
        begun = s3.create_multipart_upload(Bucket="aging", Key="never")
        parts = s3.list_parts(Bucket="aging", Key="never", UploadId=begun["UploadId"])
        for said in (begun, parts):
            assert said["AbortRuleId"] == "parts" and 86400 <= said["AbortDate"].timestamp() - time.time() + 60 <= 2 * 86400 + 60, said
        server.advance_clock("80h")
        s3 = client(server)  # signs with the real clock, which is still this one's
        end = time.monotonic() + 240
        found = None
        while time.monotonic() < end:
            found = [o["Key"] for o in s3.list_objects_v2(Bucket="aging")["Contents"]]
            if found == ["keep/1", "other"] and "Uploads" not in s3.list_multipart_uploads(Bucket="aging"):
                return
            time.sleep(0.2)
        raise AssertionError(f"after 80 hours there is {found}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    with headrace.Server(options.program) as server:
        for path in (Path(server, False), Path(server, True), Path(server, False, host_style(server))):
            for stage in STAGES:
                report.run(f"{'TLS' if path.tls else 'by host' if path.style else 'HTTP'}: {stage.__name__.replace('_', ' ')}",
                           lambda s=stage, p=path: s(p))
    report.run("lifecycle rules are applied as the clock goes",
               lambda: lifecycle_rules_are_applied_as_the_clock_goes(options.program))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
