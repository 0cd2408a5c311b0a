#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Buckets of one server that lie at another: boto3's usual tests against the first one, what lies at the second one,
a network that cuts and stalls between them, an endpoint that throttles or refuses, deliveries, and kill -9 of both.

    tests/clients/s3_remote_test.py --program build/headrace
"""
import argparse
import base64
import hashlib
import http.server
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import headrace  # noqa: E402
import s3_test  # noqa: E402
import tap  # noqa: E402
from s3_test import MIB, client, refused  # noqa: E402

PREFIX = "team-a/"


class Proxy:
    """Between front and remote: passes bytes on, until it is told to cut or to stall."""

    def __init__(self, port):
        self.to, self.cut_after, self.stalled, self.accepted = port, None, threading.Event(), 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = []
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.to), timeout=60)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            self.accepted += 1
            self.open += [near, far]
            for one, other, counts in ((near, far, "up"), (far, near, "down")):
                threading.Thread(target=self.move, args=(one, other, counts), daemon=True).start()

    def move(self, one, other, way):
        moved = 0
        try:
            while data := one.recv(65536):
                while self.stalled.is_set():
                    time.sleep(0.02)
                cut = self.cut_after
                if cut and cut[0] == way and moved + len(data) > cut[1]:
                    other.sendall(data[:max(0, cut[1] - moved)])
                    if cut[2] > 0:  # so many connections are cut, the next one lives
                        self.cut_after = (way, cut[1], cut[2] - 1) if cut[2] > 1 else None
                    break
                moved += len(data)
                other.sendall(data)
        except OSError:
            pass
        for s in (one, other):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def drop_all(self):
        for s in self.open:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open = []

    def close(self):
        """Who accepts there hears of it, and has ended before another socket may have that number."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.accepting.join(240)
        self.listener.close()
        self.drop_all()


class Grumpy(http.server.BaseHTTPRequestHandler):
    """An endpoint that answers as it was told: [(status, code)], then 200."""
    protocol_version = "HTTP/1.1"
    answers, asked = [], []

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Grumpy.asked.append(self.command)
        status, code = Grumpy.answers.pop(0) if Grumpy.answers else (200, "")
        body = f"<Error><Code>{code}</Code><Message>so</Message></Error>".encode() if code else b"hello"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.md5(b"hello").hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_PUT = do_DELETE = do_HEAD = do_GET

    def log_message(self, *_):
        pass


def keys_file(key=headrace.KEY_ID, secret=headrace.SECRET):
    handle, path = tempfile.mkstemp(dir=headrace.DATA, suffix=".credentials")
    with os.fdopen(handle, "w") as file:
        file.write(f"[default]\naws_access_key_id = nobody\naws_secret_access_key = wrong\n\n"
                   f"[remote]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    return path


def section(name, url, credentials, **more):
    lines = [f'[s3.remote."{name}"]', f'endpoint = "{url}"', f'credentials_file = "{credentials}"',
             'credentials_section = "remote"']
    return "\n".join(lines + [f"{k} = {v}" for k, v in more.items()]) + "\n"


def front(program, *sections, **more):
    handle, path = tempfile.mkstemp(dir=headrace.DATA, suffix=".toml")
    with os.fdopen(handle, "w") as file:
        file.write("\n".join(sections))
    return headrace.Server(program, "--config", path, **more)


class Placed(s3_test.Path):
    """The usual path of a bucket, in one that lies elsewhere."""

    def __init__(self, server, remote, bucket, there, prefix):
        super().__init__(server, False)
        self.bucket, self.remote, self.there, self.prefix = bucket, client(remote), there, prefix
        self.back = remote

    def a_bucket_is_made_and_listed(self):
        assert self.bucket in [b["Name"] for b in self.s3.list_buckets()["Buckets"]]
        self.s3.head_bucket(Bucket=self.bucket)
        self.before = self.stored()

    def stored(self):
        return headrace.blob_bytes(self.server)

    def the_objects_are_there_and_not_here(self):
        page = self.remote.list_objects_v2(Bucket=self.there, Prefix=self.prefix)
        here = [o["Key"] for o in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]]
        assert [o["Key"] for o in page["Contents"]] == [self.prefix + key for key in here] and here, page
        assert self.stored() <= self.before, (self.before, self.stored())
        etag = {o["Key"]: o["ETag"] for o in page["Contents"]}
        assert all(o["ETag"] == etag[self.prefix + o["Key"]] for o in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"])

    def many_are_listed_tagged_and_removed(self):
        for n in range(7):
            self.s3.put_object(Bucket=self.bucket, Key=f"many/{n}/x", Body=b"x", Tagging="n=1&a=b%20c")
        for kind in ("list_objects_v2", "list_objects"):
            pages = self.s3.get_paginator(kind).paginate(Bucket=self.bucket, Prefix="many/", Delimiter="/",
                                                         PaginationConfig={"PageSize": 3})
            assert [p["Prefix"] for page in pages for p in page["CommonPrefixes"]] == [f"many/{n}/" for n in range(7)]
        tags = self.s3.get_object_tagging(Bucket=self.bucket, Key="many/3/x")["TagSet"]
        assert {t["Key"]: t["Value"] for t in tags} == {"n": "1", "a": "b c"}, tags
        self.s3.put_object_tagging(Bucket=self.bucket, Key="many/3/x", Tagging={"TagSet": [{"Key": "z", "Value": "y"}]})
        assert self.s3.head_object(Bucket=self.bucket, Key="many/3/x")["ContentLength"] == 1
        self.s3.delete_object_tagging(Bucket=self.bucket, Key="many/3/x")
        assert self.s3.get_object_tagging(Bucket=self.bucket, Key="many/3/x")["TagSet"] == []
        gone = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": f"many/{n}/x"} for n in range(7)]})
        assert sorted(d["Key"] for d in gone["Deleted"]) == [f"many/{n}/x" for n in range(7)], gone
        page = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="many/")
        assert page["KeyCount"] == 0 and page["Prefix"] == "many/" and page["Name"] == self.bucket

    def copies_stay_at_their_endpoint(self):
        data = os.urandom(6 * MIB)
        self.s3.put_object(Bucket=self.bucket, Key="from é", Body=data)
        made = self.s3.copy_object(Bucket=self.bucket, Key="to", CopySource={"Bucket": self.bucket, "Key": "from é"})
        assert made["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(data).hexdigest()}"' and self.body("to") == data
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="range")["UploadId"]
        found = self.s3.list_multipart_uploads(Bucket=self.bucket)["Uploads"]
        assert [(u["Key"], u["UploadId"]) for u in found] == [("range", upload)], found
        part = self.s3.upload_part_copy(Bucket=self.bucket, Key="range", UploadId=upload, PartNumber=1,
                                        CopySource=f"{self.bucket}/to", CopySourceRange=f"bytes=5-{6 * MIB - 1}")
        parts = self.s3.list_parts(Bucket=self.bucket, Key="range", UploadId=upload)
        assert [p["ETag"] for p in parts["Parts"]] == [part["CopyPartResult"]["ETag"]] and parts["Key"] == "range"
        done = self.s3.complete_multipart_upload(Bucket=self.bucket, Key="range", UploadId=upload, MultipartUpload={
            "Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]})
        assert done["Key"] == "range" and done["Bucket"] == self.bucket and self.body("range") == data[5:]

    def copies_pass_between_here_and_there(self):
        self.s3.create_bucket(Bucket="here" + self.bucket)
        here, there, data = "here" + self.bucket, self.bucket, os.urandom(3 * MIB + 5)
        facts = {"Metadata": {"a": "b"}, "ContentType": "text/x", "CacheControl": "no-store", "Tagging": "t=1&u=v%20w"}
        for size in (0, 1000, len(data)):
            for one, other in ((here, there), (there, here)):
                self.s3.put_object(Bucket=one, Key="copy é", Body=data[:size], **facts)
                made = self.s3.copy_object(Bucket=other, Key="copied", CopySource={"Bucket": one, "Key": "copy é"})
                assert made["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(data[:size]).hexdigest()}"', made
                found = self.s3.get_object(Bucket=other, Key="copied")
                assert found["Body"].read() == data[:size] and found["Metadata"] == {"a": "b"}
                assert (found["ContentType"], found["CacheControl"]) == ("text/x", "no-store"), found
                tags = self.s3.get_object_tagging(Bucket=other, Key="copied")["TagSet"]
                assert {t["Key"]: t["Value"] for t in tags} == {"t": "1", "u": "v w"}, tags
                replaced = self.s3.copy_object(Bucket=other, Key="copied", CopySource={"Bucket": one, "Key": "copy é"},
                                               MetadataDirective="REPLACE", TaggingDirective="REPLACE", Tagging="x=y",
                                               Metadata={"c": "d"}, ContentType="text/y", ChecksumAlgorithm="SHA256")
                digest = base64.b64encode(hashlib.sha256(data[:size]).digest()).decode()
                assert replaced["CopyObjectResult"]["ChecksumSHA256"] == digest, replaced
                found = self.s3.head_object(Bucket=other, Key="copied")
                assert (found["Metadata"], found["ContentType"]) == ({"c": "d"}, "text/y"), found
                assert self.s3.get_object_tagging(Bucket=other, Key="copied")["TagSet"] == [{"Key": "x", "Value": "y"}]
                etag = made["CopyObjectResult"]["ETag"]
                for more, code in (({"CopySourceIfNoneMatch": etag}, "PreconditionFailed"), ({"CopySourceIfMatch": '"x"'}, "PreconditionFailed")):
                    refused(code, self.s3.copy_object, Bucket=other, Key="k", CopySource={"Bucket": one, "Key": "copy é"}, **more)
                refused("NoSuchKey", self.s3.copy_object, Bucket=other, Key="k", CopySource=f"{one}/nothing")

    def parts_are_copied_between_here_and_there(self):
        here, there, data = "here" + self.bucket, self.bucket, os.urandom(7 * MIB)
        for one, other in ((here, there), (there, here)):
            self.s3.put_object(Bucket=one, Key="from", Body=data)
            upload = self.s3.create_multipart_upload(Bucket=other, Key="joined")["UploadId"]
            parts = []
            for first, last in ((0, 5 * MIB), (5 * MIB + 1, len(data) - 1)):
                part = self.s3.upload_part_copy(Bucket=other, Key="joined", UploadId=upload, PartNumber=len(parts) + 1,
                                                CopySource=f"{one}/from", CopySourceRange=f"bytes={first}-{last}")
                assert part["CopyPartResult"]["ETag"] == f'"{hashlib.md5(data[first:last + 1]).hexdigest()}"', part
                parts.append({"PartNumber": len(parts) + 1, "ETag": part["CopyPartResult"]["ETag"]})
            refused("InvalidArgument", self.s3.upload_part_copy, Bucket=other, Key="joined", UploadId=upload, PartNumber=3,
                    CopySource=f"{one}/from", CopySourceRange=f"bytes=0-{len(data)}")
            refused("NoSuchUpload", self.s3.upload_part_copy, Bucket=other, Key="other", UploadId=upload, PartNumber=3,
                    CopySource=f"{one}/from")
            self.s3.complete_multipart_upload(Bucket=other, Key="joined", UploadId=upload, MultipartUpload={"Parts": parts})
            assert self.s3.get_object(Bucket=other, Key="joined")["Body"].read() == data
            self.s3.copy({"Bucket": other, "Key": "joined"}, one, "back",
                         Config=TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB))
            assert self.s3.get_object(Bucket=one, Key="back")["Body"].read() == data

    def settings_of_the_bucket_are_the_other_sides(self):
        rules = [{"ID": "a", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 900}},
                 {"ID": "b", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 9}},
                 {"ID": "c", "Status": "Disabled", "Filter": {"Tag": {"Key": "k", "Value": "v"}}, "Expiration": {"Days": 9}},
                 {"ID": "d", "Status": "Enabled", "Expiration": {"Days": 9}, "Filter": {"And": {
                     "Prefix": "y/", "Tags": [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": "w"}], "ObjectSizeGreaterThan": 5}}}]
        others = [{"ID": "o", "Status": "Enabled", "Filter": {"Prefix": "others/"}, "Expiration": {"Days": 5}}] if self.prefix else []
        refused("NoSuchLifecycleConfiguration", self.s3.get_bucket_lifecycle_configuration, Bucket=self.bucket)
        if others:
            self.remote.put_bucket_lifecycle_configuration(Bucket=self.there, LifecycleConfiguration={"Rules": others})
            refused("NoSuchLifecycleConfiguration", self.s3.get_bucket_lifecycle_configuration, Bucket=self.bucket)
        for _ in range(2):
            self.s3.put_bucket_lifecycle_configuration(Bucket=self.bucket, LifecycleConfiguration={"Rules": rules})
            found = self.s3.get_bucket_lifecycle_configuration(Bucket=self.bucket)["Rules"]
            expected = [{**r, "Filter": r["Filter"] or {"Prefix": ""}} if self.prefix else r for r in rules]
            assert found == expected, (found, expected)
        there = self.remote.get_bucket_lifecycle_configuration(Bucket=self.there)["Rules"]
        prefixes = [r["Filter"].get("Prefix", r["Filter"].get("And", {}).get("Prefix", "")) for r in there]
        assert prefixes == ["others/"] * len(others) + [self.prefix + p for p in ("", "x/", "", "y/")], there
        self.s3.delete_bucket_lifecycle(Bucket=self.bucket)
        refused("NoSuchLifecycleConfiguration", self.s3.get_bucket_lifecycle_configuration, Bucket=self.bucket)
        if others:
            assert self.remote.get_bucket_lifecycle_configuration(Bucket=self.there)["Rules"] == others
        rule = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
        self.s3.put_bucket_encryption(Bucket=self.bucket, ServerSideEncryptionConfiguration=rule)
        assert self.s3.put_object(Bucket=self.bucket, Key="sealed there", Body=b"x")["ServerSideEncryption"] == "AES256"
        copied = self.s3.copy_object(Bucket=self.bucket, Key="copied there", CopySource=f"{self.bucket}/plain")
        assert copied["ServerSideEncryption"] == "AES256", copied
        assert self.s3.create_multipart_upload(Bucket=self.bucket, Key="parts there")["ServerSideEncryption"] == "AES256"
        for upload in self.s3.list_multipart_uploads(Bucket=self.bucket)["Uploads"]:
            self.s3.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        found = self.s3.get_bucket_encryption(Bucket=self.bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert found[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256", found
        others = self.remote.put_object(Bucket=self.there, Key="others/x", Body=b"x")
        assert ("ServerSideEncryption" in others) == (not self.prefix), others  # of those with another prefix
        self.remote.delete_object(Bucket=self.there, Key="others/x")
        self.s3.delete_bucket_encryption(Bucket=self.bucket)
        assert "ServerSideEncryption" not in self.s3.put_object(Bucket=self.bucket, Key="sealed there", Body=b"x")
        if self.prefix:  # there is no lock there
            refused("InvalidBucketState", self.s3.put_object_lock_configuration, Bucket=self.bucket, ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}})
        self.s3.put_bucket_ownership_controls(Bucket=self.bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
        assert self.s3.get_bucket_ownership_controls(Bucket=self.bucket)["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        refused("NotImplemented", self.s3.put_bucket_ownership_controls, Bucket=self.bucket,
                OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
        self.s3.delete_bucket_ownership_controls(Bucket=self.bucket)
        refused("ServerSideEncryptionConfigurationNotFoundError", self.s3.get_bucket_encryption, Bucket=self.bucket)
        refused("ObjectLockConfigurationNotFoundError", self.s3.get_object_lock_configuration, Bucket=self.bucket)

    def objects_have_the_acl_of_a_bucket_that_takes_none(self):
        grants = self.s3.get_object_acl(Bucket=self.bucket, Key="plain")["Grants"]
        assert [g["Permission"] for g in grants] == ["FULL_CONTROL"], grants
        self.s3.put_object_acl(Bucket=self.bucket, Key="plain", ACL="bucket-owner-full-control")
        refused("AccessControlListNotSupported", self.s3.put_object_acl, Bucket=self.bucket, Key="plain", ACL="public-read")
        refused("NoSuchKey", self.s3.get_object_acl, Bucket=self.bucket, Key="nothing")
        refused("NoSuchKey", self.s3.put_object_acl, Bucket=self.bucket, Key="nothing", ACL="private")

    def errors_are_those_of_this_side(self):
        for call, code in ((lambda: self.s3.get_object(Bucket=self.bucket, Key="no"), "NoSuchKey"),
                           (lambda: self.s3.head_object(Bucket=self.bucket, Key="no"), "404"),
                           (lambda: self.s3.list_parts(Bucket=self.bucket, Key="no", UploadId="none"), "NoSuchUpload"),
                           (lambda: self.s3.delete_bucket(Bucket=self.bucket), "MethodNotAllowed"),
                           (lambda: self.s3.put_object(Bucket=self.bucket, Key="k" * 1025, Body=b"x"), "KeyTooLongError")):
            try:
                call()
            except ClientError as error:
                said = error.response["Error"]
                assert said["Code"] == code, (code, said)
                assert said.get("Key", "no") == "no" and self.there + self.prefix not in str(said), said
            else:
                raise AssertionError(f"{code} was expected")

    def versions_are_kept_and_markers_hide_them(self):
        bucket, prefix = self.bucket + "-versions", self.prefix
        del prefix
        self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        assert self.s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        ids = [self.s3.put_object(Bucket=bucket, Key="k", Body=str(n).encode())["VersionId"] for n in range(3)]
        marker = self.s3.delete_object(Bucket=bucket, Key="k")
        assert marker["DeleteMarker"]
        refused("NoSuchKey", self.s3.get_object, Bucket=bucket, Key="k")
        for n, version in enumerate(ids):
            assert self.s3.get_object(Bucket=bucket, Key="k", VersionId=version)["Body"].read() == str(n).encode()
        found = self.s3.list_object_versions(Bucket=bucket)
        assert [v["VersionId"] for v in found["Versions"]] == ids[::-1] and found["Versions"][0]["Key"] == "k"
        assert [m["VersionId"] for m in found["DeleteMarkers"]] == [marker["VersionId"]]
        self.s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
        assert self.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
        gone = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "VersionId": v} for v in ids]})
        assert len(gone["Deleted"]) == 3, gone

    def everything_survives_a_kill(self):
        before = {o["Key"]: o["ETag"] for o in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]}
        for one in (self.server, self.back):
            one.kill()
            one.start()
            after = {o["Key"]: o["ETag"] for o in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]}
            assert after == before and before, (before, after)

    def the_bucket_is_emptied_and_removed(self):
        for o in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]:
            self.s3.delete_object(Bucket=self.bucket, Key=o["Key"])
        assert "Contents" not in self.s3.list_objects_v2(Bucket=self.bucket)
        assert "Contents" not in self.remote.list_objects_v2(Bucket=self.there, Prefix=self.prefix)


SKIPPED = {"copies_share_their_bytes_and_outlive_the_source",
           "a_key_of_the_customer_opens_what_it_has_sealed_and_nothing_else_does"}


def stages():
    names = [n for n in vars(s3_test.Path) if n in {s.__name__ for s in s3_test.STAGES} and n not in SKIPPED]
    own = [n for n, f in vars(Placed).items() if callable(f) and n not in ("__init__", "stored") and n not in names]
    last = ["everything_survives_a_kill", "the_bucket_is_emptied_and_removed"]
    return [n for n in names if n not in last] + own + last


# ---- A network that breaks

def network(program, report):
    with headrace.Server(program) as back:
        proxy, keys = Proxy(back.port), keys_file()
        client(back).create_bucket(Bucket="far")
        place = section("far", f"http://127.0.0.1:{proxy.port}", keys)
        with front(program, place) as server:
            s3, there, data = client(server), client(back), os.urandom(12 * MIB)

            def comes_back(s3):
                end = time.monotonic() + 240
                while True:
                    try:
                        assert s3.get_object(Bucket="far", Key="small")["Body"].read() == data[:100000]
                        break
                    except (BotoCoreError, ClientError):
                        assert time.monotonic() < end
                        time.sleep(0.2)

            def reads_go_on_where_they_broke_off():
                s3.put_object(Bucket="far", Key="large", Body=data)
                proxy.drop_all()
                proxy.cut_after = ("down", 3 * MIB, 2)
                assert s3.get_object(Bucket="far", Key="large")["Body"].read() == data
                proxy.cut_after = ("down", 3 * MIB, 1)
                assert s3.get_object(Bucket="far", Key="large", Range=f"bytes=100-{11 * MIB}")["Body"].read() == data[100:11 * MIB + 1]
                assert proxy.cut_after is None

            def half_a_reply_to_a_small_read_is_asked_for_again():
                s3.put_object(Bucket="far", Key="small", Body=data[:100000])
                proxy.drop_all()
                proxy.cut_after = ("down", 50000, 2)
                assert s3.get_object(Bucket="far", Key="small")["Body"].read() == data[:100000]

            def a_large_put_that_is_cut_makes_nothing():
                proxy.drop_all()
                proxy.cut_after = ("up", 5 * MIB, 0)
                refused("ServiceUnavailable", s3.put_object, Bucket="far", Key="cut", Body=data)
                proxy.cut_after = None
                refused("NoSuchKey", s3.get_object, Bucket="far", Key="cut")
                s3.put_object(Bucket="far", Key="cut", Body=data)
                assert there.get_object(Bucket="far", Key="cut")["Body"].read() == data

            def a_client_that_goes_in_the_middle_leaves_nothing():
                class Ends(io.BytesIO):
                    def read(self, n=-1):
                        if self.tell() > 6 * MIB:
                            raise OSError("gone")
                        return super().read(n)
                try:
                    s3.put_object(Bucket="far", Key="gone", Body=Ends(data), ContentLength=len(data))
                    raise AssertionError("half a body was taken")
                except (OSError, ClientError, BotoCoreError):
                    pass
                refused("NoSuchKey", there.get_object, Bucket="far", Key="gone")

            def a_wrong_digest_makes_nothing_there():
                for size in (1000, 3 * MIB):
                    refused("BadDigest", s3.put_object, Bucket="far", Key="bad", Body=data[:size], ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
                refused("NoSuchKey", there.get_object, Bucket="far", Key="bad")

            def one_that_stalls_is_given_up_and_nobody_else_waits():
                with front(program, place + 'timeout = "2s"\n') as hasty:  # for which a busy machine may stall, too
                    s3, wrong = client(hasty), []
                    s3.create_bucket(Bucket="near")
                    proxy.drop_all()
                    proxy.stalled.set()

                    def ask(key):
                        try:
                            refused("ServiceUnavailable", client(hasty).get_object, Bucket="far", Key=key)
                        except BaseException as error:
                            wrong.append(error)

                    waiting = [threading.Thread(target=ask, args=(f"{n}",)) for n in range(24)]
                    for t in waiting:
                        t.start()
                    for n in range(20):
                        s3.put_object(Bucket="near", Key=f"{n}", Body=b"x")
                    for t in waiting:
                        t.join(240)
                        assert not t.is_alive()
                    assert not wrong, wrong
                    proxy.stalled.clear()
                    proxy.drop_all()
                    comes_back(s3)

            def one_that_is_down_is_said_to_be_unavailable_and_comes_back():
                back.kill()
                for call in (lambda: s3.get_object(Bucket="far", Key="small"), lambda: s3.list_objects_v2(Bucket="far"),
                             lambda: s3.put_object(Bucket="far", Key="k", Body=data)):
                    try:
                        call()
                        raise AssertionError("nobody can have answered")
                    except ClientError as error:
                        assert error.response["Error"]["Code"] == "ServiceUnavailable", error
                        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
                back.start()
                comes_back(s3)

            for test in (reads_go_on_where_they_broke_off, half_a_reply_to_a_small_read_is_asked_for_again,
                         a_large_put_that_is_cut_makes_nothing, a_client_that_goes_in_the_middle_leaves_nothing,
                         a_wrong_digest_makes_nothing_there, one_that_stalls_is_given_up_and_nobody_else_waits,
                         one_that_is_down_is_said_to_be_unavailable_and_comes_back):
                report.run(f"network: {test.__name__.replace('_', ' ')}", test)
        proxy.close()


# ---- An endpoint that is not content

def grumpy(program, report):
    endpoint = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Grumpy)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    url, keys = f"http://127.0.0.1:{endpoint.server_address[1]}", keys_file("AKIDWRONG", "not-the-secret")
    with front(program, section("bkt", url, keys)) as server:
        s3 = client(server)

        def told(answers, code, call=s3.get_object, **more):
            Grumpy.answers, Grumpy.asked = list(answers), []
            refused(code, call, Bucket="bkt", Key="k", **more)
            return len(Grumpy.asked)

        def what_passes_is_asked_again():
            for answers in ([(503, "SlowDown")] * 2, [(500, "InternalError")], [(503, "")], [(502, "")] * 3):
                Grumpy.answers, Grumpy.asked = list(answers), []
                assert s3.get_object(Bucket="bkt", Key="k")["Body"].read() == b"hello"
                assert len(Grumpy.asked) == len(answers) + 1, Grumpy.asked

        def what_lasts_is_passed_on():
            assert told([(503, "SlowDown")] * 9, "SlowDown") == 4
            assert told([(503, "ServiceUnavailable")] * 9, "ServiceUnavailable", s3.put_object, Body=b"x") == 4
            assert told([(500, "InternalError")] * 9, "InternalError") == 4
            assert told([(403, "AccessDenied")], "AccessDenied") == 1
            assert told([(404, "NoSuchBucket")], "NoSuchBucket") == 1
            assert told([(501, "NotImplemented")], "NotImplemented") == 1

        def keys_that_are_refused_are_our_fault():
            for code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
                assert told([(403, code)] * 2, "InternalError") == 2  # once more, with what the file says now
            assert told([(301, "PermanentRedirect")], "InternalError") == 1
            server.wait_said("does not take our requests")
            log = "\n".join(server.log)
            assert "not-the-secret" not in log and "AKIDWRONG" not in log, log

        def other_bytes_than_those_of_the_etag_are_not_given():
            real, Grumpy.send_header = Grumpy.send_header, lambda self, n, v: http.server.BaseHTTPRequestHandler.send_header(
                self, n, '"' + "0" * 32 + '"' if n == "ETag" else v)
            try:
                told([], "ServiceUnavailable")
            finally:
                Grumpy.send_header = real

        for test in (what_passes_is_asked_again, what_lasts_is_passed_on, keys_that_are_refused_are_our_fault,
                     other_bytes_than_those_of_the_etag_are_not_given):
            report.run(f"endpoint: {test.__name__.replace('_', ' ')}", test)
    endpoint.shutdown()


# ---- kill -9

def crash(program):
    """Uploads through kill -9 of front and remote in turn: what was acknowledged is there, whole, and listed."""
    with headrace.Server(program) as back:
        keys = keys_file()
        client(back).create_bucket(Bucket="far")
        with front(program, section("far", back.url, keys, timeout='"5s"')) as server:
            acknowledged, stop = {}, threading.Event()

            def put(worker):
                s3, n = client(server), 0
                config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=1)
                while not stop.is_set():
                    key, data = f"{worker}/{n}", os.urandom((1000, 2 * MIB, 6 * MIB)[n % 3])
                    n += 1
                    try:
                        s3.upload_fileobj(io.BytesIO(data), "far", key, Config=config)
                        acknowledged[key] = hashlib.md5(data).hexdigest()
                    except Exception:
                        time.sleep(0.05)

            source = os.urandom(6 * MIB)
            client(server).create_bucket(Bucket="here")
            for bucket in ("here", "far"):
                client(server).put_object(Bucket=bucket, Key="source", Body=source)
            copied = set()

            def copy():
                s3, n = client(server), 0
                while not stop.is_set():
                    n += 1
                    one, other = ("here", "far") if n % 2 else ("far", "here")
                    try:
                        s3.copy_object(Bucket=other, Key=f"copy/{n}", CopySource=f"{one}/source")
                        copied.add((other, f"copy/{n}"))
                    except Exception:
                        time.sleep(0.05)

            workers = [threading.Thread(target=put, args=(n,)) for n in range(3)] + [threading.Thread(target=copy)]
            for w in workers:
                w.start()
            def some_more():
                """Some seconds, and until more has been acknowledged, however long that takes."""
                before, end = (len(acknowledged), len(copied)), time.monotonic() + 240
                time.sleep(2)
                while time.monotonic() < end and (len(acknowledged) < before[0] + 2 or len(copied) <= before[1]):
                    time.sleep(0.05)

            for victim in (server, back, server, back):
                some_more()
                victim.kill()
                victim.start()
            some_more()
            stop.set()
            for w in workers:
                w.join(240)
            s3 = client(server)
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket="far")
            listed = {o["Key"]: o["Size"] for page in pages for o in page.get("Contents", ())}
            assert len(acknowledged) > 5 and acknowledged.keys() <= listed.keys(), (len(acknowledged), len(listed))
            assert set(listed.values()) <= {1000, 2 * MIB, 6 * MIB}, listed  # whole
            for key, digest in acknowledged.items():
                assert hashlib.md5(s3.get_object(Bucket="far", Key=key)["Body"].read()).hexdigest() == digest, key
            there = {(bucket, o["Key"]) for bucket in ("here", "far") for page in s3.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix="copy/") for o in page.get("Contents", ())}
            assert copied and copied <= there, (copied, there)
            for bucket, key in there:  # those that nobody heard of are whole, too
                assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == source, key
            print(f"# {len(acknowledged)} uploads and {len(copied)} copies were acknowledged, {len(listed)} are there", flush=True)


# ---- Other services, the configuration

def deliveries(program):
    """A delivery stream, unchanged, into a bucket that lies elsewhere and is away for a while."""
    with headrace.Server(program) as back:
        client(back).create_bucket(Bucket="far")
        with front(program, section("far", back.url, keys_file(), prefix=f'"{PREFIX}"'), profile="dev") as server:
            firehose = boto3.client("firehose", region_name="us-east-1", endpoint_url=server.url,
                                    aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)
            firehose.create_delivery_stream(DeliveryStreamName="d", ExtendedS3DestinationConfiguration={
                "RoleARN": f"arn:aws:iam::{headrace.ACCOUNT}:role/delivery", "BucketARN": "arn:aws:s3:::far", "Prefix": "in/",
                "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 0}})
            sent = b""
            for n in range(30):
                sent += b"%d\n" % n
                firehose.put_record(DeliveryStreamName="d", Record={"Data": b"%d\n" % n})
                if n == 10:
                    back.kill()
                if n == 20:
                    back.start()
            end, got = time.monotonic() + 240, b""
            while time.monotonic() < end and len(got) < len(sent):
                page = client(back).list_objects_v2(Bucket="far", Prefix=f"{PREFIX}in/").get("Contents", [])
                try:
                    got = b"".join(client(server).get_object(Bucket="far", Key=o["Key"][len(PREFIX):])["Body"].read() for o in page)
                except ClientError as error:  # nobody is asked for a moment after nobody was there
                    assert error.response["Error"]["Code"] == "ServiceUnavailable", error
                time.sleep(0.2)
            assert set(got.split()) == set(sent.split()), (len(got), len(sent))


def channels(program):
    """A channel of a stream, unchanged, into a bucket that lies elsewhere."""
    with headrace.Server(program) as back:
        client(back).create_bucket(Bucket="far")
        with front(program, section("far", back.url, keys_file(), prefix=f'"{PREFIX}"'), profile="dev") as server:
            kinesis = boto3.client("kinesis", region_name="us-east-1", endpoint_url=server.url,
                                   aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)
            kinesis.create_stream(StreamName="clicks", StreamModeDetails={"StreamMode": "ON_DEMAND"})
            kinesis.get_waiter("stream_exists").wait(StreamName="clicks", WaiterConfig={"Delay": 1, "MaxAttempts": 240})
            kinesis.create_channel(
                ChannelName="c", ServiceExecutionRoleARN=f"arn:aws:iam::{headrace.ACCOUNT}:role/delivery",
                StreamConfigurationList=[{"StreamARN": f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/clicks",
                                          "RecordConfiguration": {"RecordFormatType": "STRING"}}],
                S3DestinationConfiguration={"DataFreshnessInSeconds": 1, "StorageConfiguration": {
                    "BucketARN": "arn:aws:s3:::far", "CompressionType": "NONE", "ExpectedBucketOwner": headrace.ACCOUNT}})
            sent = {f"line {n}" for n in range(20)}
            for line in sent:
                kinesis.put_record(StreamName="clicks", Data=f"{line}\n".encode(), PartitionKey="k")
            end, got = time.monotonic() + 240, set()
            while time.monotonic() < end and not sent <= got:
                page = client(back).list_objects_v2(Bucket="far", Prefix=PREFIX).get("Contents", [])
                got = {line for o in page for line in client(back).get_object(Bucket="far", Key=o["Key"])["Body"].read().decode().splitlines()}
                time.sleep(0.2)
            assert sent <= got, got


class Minio:
    """An S3 of another maker."""

    def __init__(self, program):
        self.program, self.data, self.process = program, tempfile.mkdtemp(dir=headrace.DATA), None
        self.port = headrace.free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        key = "k:" + base64.b64encode(b"k" * 32).decode()
        self.process = subprocess.Popen(
            [self.program, "server", "--quiet", "--address", f"127.0.0.1:{self.port}", self.data], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "MINIO_ROOT_USER": headrace.KEY_ID,
                                            "MINIO_ROOT_PASSWORD": headrace.SECRET, "MINIO_KMS_SECRET_KEY": key})
        end = time.monotonic() + 240
        while True:
            try:
                client(self).list_buckets()
                return
            except (ClientError, BotoCoreError):
                assert time.monotonic() < end and self.process.poll() is None, "MinIO does not start"
                time.sleep(0.2)

    def kill(self):
        self.process.kill()
        self.process.wait(240)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)


# Keys are files there; uploads are listed by whole keys alone; names of KMS keys are its own.
FOREIGN_KEYS = ("plain", "a/b c+d&é.txt", "Ümläut/文字 😀", "per%cent")
FOREIGN_SKIPPED = {"lists_go_on_page_by_page", "copies_stay_at_their_endpoint", "errors_are_those_of_this_side",
                   "objects_are_encrypted_with_the_keys_of_this_server"}


def foreign(program, minio, report):
    """The usual path where the other side is MinIO."""
    with Minio(minio) as back:
        keys = keys_file()
        for bucket in ("all.of.it", "plain-versions", "some", "some-versions"):
            client(back).create_bucket(Bucket=bucket)
        with front(program, section("plain", back.url, keys, bucket='"all.of.it"'), section("plain-versions", back.url, keys),
                   section("pre.fixed", back.url, keys, bucket='"some"', prefix=f'"{PREFIX}"'),
                   section("pre.fixed-versions", back.url, keys, bucket='"some-versions"', prefix=f'"{PREFIX}"')) as server:
            for path in (Placed(server, back, "plain", "all.of.it", ""), Placed(server, back, "pre.fixed", "some", PREFIX)):
                s3_test.KEYS = FOREIGN_KEYS
                for name in stages():
                    if name not in FOREIGN_SKIPPED:
                        report.run(f"MinIO: {path.bucket}: {name.replace('_', ' ')}", lambda p=path, n=name: getattr(p, n)())


def tls(program):
    """An endpoint with a certificate: vouched for, not asked about, unknown, and at a private address."""
    with headrace.Server(program) as back:
        client(back).create_bucket(Bucket="far")
        keys, data = keys_file(), os.urandom(3 * MIB)
        for more, said in (({"ca": f'"{back.certificate}"'}, None), ({"verify": "false"}, None), ({}, "not trusted"),
                           ({"verify": "false", "private": "false"}, "private one")):
            with front(program, section("far", back.tls_url, keys, **more)) as server:
                s3 = client(server)
                if said is None:
                    s3.put_object(Bucket="far", Key="k", Body=data)
                    assert s3.get_object(Bucket="far", Key="k")["Body"].read() == data
                else:
                    refused("ServiceUnavailable", s3.get_object, Bucket="far", Key="k")
                    server.wait_said(said)


def two_endpoints(program):
    """Copies between buckets at two endpoints, that know nothing of each other."""
    with headrace.Server(program) as one, headrace.Server(program) as two:
        client(one).create_bucket(Bucket="far")
        client(two).create_bucket(Bucket="far")
        with front(program, section("first", one.url, keys_file(), bucket='"far"', prefix=f'"{PREFIX}"'),
                   section("second", two.url, keys_file(), bucket='"far"')) as server:
            s3, data = client(server), os.urandom(7 * MIB)
            for size in (10, len(data)):
                s3.put_object(Bucket="first", Key="k é", Body=data[:size], Metadata={"a": "b"})
                s3.copy_object(Bucket="second", Key="copied", CopySource={"Bucket": "first", "Key": "k é"})
                found = client(two).get_object(Bucket="far", Key="copied")
                assert found["Body"].read() == data[:size] and found["Metadata"] == {"a": "b"}
            upload = s3.create_multipart_upload(Bucket="first", Key="joined")["UploadId"]
            part = s3.upload_part_copy(Bucket="first", Key="joined", UploadId=upload, PartNumber=7, CopySource="second/copied",
                                       CopySourceRange=f"bytes=1-{len(data) - 2}")
            s3.complete_multipart_upload(Bucket="first", Key="joined", UploadId=upload, MultipartUpload={
                "Parts": [{"PartNumber": 7, "ETag": part["CopyPartResult"]["ETag"]}]})
            assert client(one).get_object(Bucket="far", Key=PREFIX + "joined")["Body"].read() == data[1:-1]
            client(two).put_bucket_versioning(Bucket="far", VersioningConfiguration={"Status": "Enabled"})
            ids = [s3.put_object(Bucket="second", Key="v", Body=str(n).encode())["VersionId"] for n in range(2)]
            made = s3.copy_object(Bucket="first", Key="v", CopySource={"Bucket": "second", "Key": "v", "VersionId": ids[0]})
            assert made["CopySourceVersionId"] == ids[0] and s3.get_object(Bucket="first", Key="v")["Body"].read() == b"0"
            refused("NoSuchVersion", s3.copy_object, Bucket="first", Key="v",
                    CopySource={"Bucket": "second", "Key": "v", "VersionId": ids[0][::-1]})
            two.kill()
            for bucket, source in (("first", "second/copied"), ("second", "first/joined")):
                refused("ServiceUnavailable", s3.copy_object, Bucket=bucket, Key="n", CopySource=source)
            two.start()
            refused("NoSuchKey", client(one).get_object, Bucket="far", Key=PREFIX + "n")


def cut_copies(program):
    """A copy whose source or whose destination breaks off makes nothing, or goes on where it was."""
    with headrace.Server(program) as back:
        proxy = Proxy(back.port)
        client(back).create_bucket(Bucket="far")
        with front(program, section("far", f"http://127.0.0.1:{proxy.port}", keys_file())) as server:
            s3, data = client(server), os.urandom(12 * MIB)
            s3.create_bucket(Bucket="here")
            for bucket in ("here", "far"):
                s3.put_object(Bucket=bucket, Key="k", Body=data)
            proxy.drop_all()
            proxy.cut_after = ("down", 3 * MIB, 2)
            s3.copy_object(Bucket="here", Key="whole", CopySource="far/k")
            assert s3.get_object(Bucket="here", Key="whole")["Body"].read() == data
            proxy.drop_all()
            proxy.cut_after = ("up", 5 * MIB, 0)
            refused("ServiceUnavailable", s3.copy_object, Bucket="far", Key="cut", CopySource="here/k")
            proxy.cut_after = ("down", MIB, 0)
            proxy.drop_all()
            refused("ServiceUnavailable", s3.copy_object, Bucket="here", Key="cut", CopySource="far/k")
            proxy.cut_after = None
            for bucket in ("here", "far"):
                refused("404", s3.head_object, Bucket=bucket, Key="cut")
        proxy.close()


class Endless(io.RawIOBase):
    """So many bytes, of which none are kept."""

    def __init__(self, size):
        self.size, self.at = size, 0

    def read(self, n=-1):
        n = min(n if n > 0 else MIB, self.size - self.at)
        self.at += n
        return b"x" * n

    def seek(self, offset, whence=0):
        self.at = (0, self.at, self.size)[whence] + offset
        return self.at

    def tell(self):
        return self.at

    def seekable(self):
        return True

    def readable(self):
        return True


def flat_memory(program):
    """An object of 300 MiB passes both ways, and the front's memory stays as it was."""
    def peak(server):
        with open(f"/proc/{server.process.pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

    sanitizer = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"}
    with headrace.Server(program) as back:
        client(back).create_bucket(Bucket="far")
        with front(program, section("far", back.url, keys_file()), environment=sanitizer) as server:
            s3 = client(server)
            s3.put_object(Bucket="far", Key="k", Body=Endless(8 * MIB))
            s3.get_object(Bucket="far", Key="k")["Body"].read()
            before = peak(server)
            s3.put_object(Bucket="far", Key="k", Body=Endless(300 * MIB))
            got = sum(len(piece) for piece in s3.get_object(Bucket="far", Key="k")["Body"].iter_chunks(MIB))
            assert got == 300 * MIB and peak(server) < before + 64 * MIB, (got, before, peak(server))
            s3.create_bucket(Bucket="here")
            s3.copy_object(Bucket="here", Key="k", CopySource="far/k")
            s3.copy_object(Bucket="far", Key="copied", CopySource="here/k")
            assert s3.head_object(Bucket="far", Key="copied")["ContentLength"] == 300 * MIB
            assert peak(server) < before + 64 * MIB, (before, peak(server))


def a_place_retains_what_is_its(program):
    """Default retention of a place with a prefix, beside objects of others."""
    with headrace.Server(program) as back:
        there = client(back)
        there.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
        with front(program, section("safe", back.url, keys_file(), bucket='"locked"', prefix='"safe/"')) as server:
            s3 = client(server)
            default = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
            assert s3.get_object_lock_configuration(Bucket="safe")["ObjectLockConfiguration"] == {"ObjectLockEnabled": "Enabled"}
            s3.put_object_lock_configuration(Bucket="safe", ObjectLockConfiguration=default)
            assert s3.get_object_lock_configuration(Bucket="safe")["ObjectLockConfiguration"] == default
            made = s3.put_object(Bucket="safe", Key="k", Body=b"x")["VersionId"]
            s3.copy_object(Bucket="safe", Key="copy", CopySource="safe/k")
            upload = s3.create_multipart_upload(Bucket="safe", Key="parts")["UploadId"]
            part = s3.upload_part(Bucket="safe", Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
            s3.complete_multipart_upload(Bucket="safe", Key="parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
            for key in ("k", "copy", "parts"):
                assert s3.get_object_retention(Bucket="safe", Key=key)["Retention"]["Mode"] == "GOVERNANCE", key
            refused("AccessDenied", s3.delete_object, Bucket="safe", Key="k", VersionId=made)
            there.put_object(Bucket="locked", Key="others", Body=b"x")
            refused("NoSuchObjectLockConfiguration", there.get_object_retention, Bucket="locked", Key="others")


def keys_of_customers(program):
    """Copies of what customers' own keys have sealed: into, out of and inside of buckets that lie elsewhere."""
    def key():
        return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": os.urandom(32)}

    def of_source(one):
        return {f"CopySource{name}": value for name, value in one.items()}

    mine, other = key(), key()
    with headrace.Server(program, profile="dev") as back:
        client(back).create_bucket(Bucket="far")
        client(back).create_bucket(Bucket="shared")
        keys = keys_file()
        with front(program, section("far", back.url, keys), section("part", back.url, keys, bucket='"shared"', prefix='"p/"'),
                   profile="dev") as server:
            s3, data = client(server), os.urandom(6 * MIB)
            s3.create_bucket(Bucket="here")
            for one, to in (("here", "far"), ("far", "here"), ("far", "far"), ("far", "part"), ("part", "here"), ("here", "part")):
                for size in (1000, len(data)):
                    etag = s3.put_object(Bucket=one, Key="from", Body=data[:size], **mine)["ETag"]
                    made = s3.copy_object(Bucket=to, Key="to", CopySource=f"{one}/from", **of_source(mine), **other)
                    assert made["SSECustomerAlgorithm"] == "AES256" and made["SSECustomerKeyMD5"], made
                    assert made["CopyObjectResult"]["ETag"] == etag, (made, etag)
                    assert s3.get_object(Bucket=to, Key="to", **other)["Body"].read() == data[:size]
                    refused("InvalidRequest", s3.get_object, Bucket=to, Key="to")
                    refused("AccessDenied", s3.get_object, Bucket=to, Key="to", **mine)
                    s3.copy_object(Bucket=to, Key="open", CopySource=f"{one}/from", **of_source(mine))
                    assert s3.get_object(Bucket=to, Key="open")["Body"].read() == data[:size]
                    s3.copy_object(Bucket=one, Key="sealed", CopySource=f"{to}/open", **other)
                    assert s3.get_object(Bucket=one, Key="sealed", **other)["Body"].read() == data[:size]
                    refused("InvalidRequest", s3.copy_object, Bucket=to, Key="no", CopySource=f"{one}/from", **other)
                    refused("AccessDenied", s3.copy_object, Bucket=to, Key="no", CopySource=f"{one}/from", **of_source(other))
                upload = s3.create_multipart_upload(Bucket=to, Key="parts", **other)["UploadId"]
                parts = []
                for first, last in ((0, 5 * MIB), (5 * MIB + 1, len(data) - 1)):
                    part = s3.upload_part_copy(Bucket=to, Key="parts", UploadId=upload, PartNumber=len(parts) + 1, CopySource=f"{one}/from",
                                               CopySourceRange=f"bytes={first}-{last}", **of_source(mine), **other)["CopyPartResult"]
                    parts.append({"PartNumber": len(parts) + 1, "ETag": part["ETag"]})
                s3.complete_multipart_upload(Bucket=to, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
                assert s3.get_object(Bucket=to, Key="parts", **other)["Body"].read() == data, (one, to)


def archived(program):
    """What is archived there is restored there."""
    with headrace.Server(program, "--s3-restore-delay", "5h", profile="dev") as back:
        client(back).create_bucket(Bucket="far")
        with front(program, section("far", back.url, keys_file())) as server:
            s3 = client(server)
            s3.create_bucket(Bucket="here")
            s3.put_object(Bucket="far", Key="k", Body=b"ice", StorageClass="GLACIER")
            refused("InvalidObjectState", s3.get_object, Bucket="far", Key="k")
            refused("InvalidObjectState", s3.copy_object, Bucket="far", Key="copy", CopySource="far/k")
            refused("InvalidObjectState", s3.copy_object, Bucket="here", Key="copy", CopySource="far/k")
            s3.put_object(Bucket="far", Key="warm", Body=b"x")
            refused("InvalidObjectState", s3.restore_object, Bucket="far", Key="warm", RestoreRequest={"Days": 1})
            ask = dict(Bucket="far", Key="k", RestoreRequest={"Days": 1})
            assert s3.restore_object(**ask)["ResponseMetadata"]["HTTPStatusCode"] == 202
            refused("RestoreAlreadyInProgress", s3.restore_object, **ask)
            assert s3.head_object(Bucket="far", Key="k")["Restore"] == 'ongoing-request="true"'
            back.advance_clock("6h")
            assert s3.get_object(Bucket="far", Key="k")["Body"].read() == b"ice"
            s3.copy_object(Bucket="here", Key="copy", CopySource="far/k")


def configuration(program):
    """A place that the configuration no longer names, and a bucket that has objects here."""
    with headrace.Server(program) as back:
        client(back).create_bucket(Bucket="far")
        with front(program, section("far", back.url, keys_file())) as server:
            s3 = client(server)
            s3.put_object(Bucket="far", Key="k", Body=b"x")
            s3.create_bucket(Bucket="here")
            s3.put_object(Bucket="here", Key="k", Body=b"x")
            config, server.arguments = server.arguments, []
            server.stop()
            server.start()
            refused("ServiceUnavailable", s3.get_object, Bucket="far", Key="k")
            refused("ServiceUnavailable", s3.put_object, Bucket="far", Key="k", Body=b"y")
            server.arguments = config
            server.stop()
            server.start()
            assert s3.get_object(Bucket="far", Key="k")["Body"].read() == b"x"
            with open(config[1], "a") as file:
                file.write(section("here", back.url, keys_file()))
            server.stop()
            server.spawn()
            assert server.wait_end() != 0
            server.wait_said("has objects here")
            server.arguments = []
            server.start()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--only", default="")
    parser.add_argument("--minio", default="", help="MinIO's program, as `bench/run.py B19 --peers minio` builds it: an endpoint of another maker")
    options = parser.parse_args()
    report = tap.Tap()
    os.makedirs(headrace.DATA, exist_ok=True)

    def wanted(name):
        return not options.only or name in options.only.split(",")

    if wanted("usual"):
        with headrace.Server(options.program) as back:
            keys = keys_file()
            for bucket in ("all.of.it", "plain-versions", "some", "some-versions"):
                client(back).create_bucket(Bucket=bucket)
            with front(options.program, section("plain", back.url, keys, bucket='"all.of.it"'), section("plain-versions", back.url, keys),
                       section("pre.fixed", back.url, keys, bucket='"some"', prefix=f'"{PREFIX}"'),
                       section("pre.fixed-versions", back.url, keys, bucket='"some-versions"', prefix=f'"{PREFIX}"')) as server:
                for path in (Placed(server, back, "plain", "all.of.it", ""), Placed(server, back, "pre.fixed", "some", PREFIX)):
                    longest = "k" * (1024 - len(path.prefix))  # a key has 1,024 bytes there
                    s3_test.KEYS = tuple(k for k in s3_test.KEYS if not k.startswith("kkk")) + (longest,)
                    for name in stages():
                        report.run(f"{path.bucket}: {name.replace('_', ' ')}", lambda p=path, n=name: getattr(p, n)())
    if wanted("network"):
        network(options.program, report)
    if wanted("endpoint"):
        grumpy(options.program, report)
    if wanted("crash"):
        report.run("kill -9 of both sides loses nothing and leaves no half", lambda: crash(options.program))
    if wanted("deliveries"):
        report.run("a delivery stream writes there", lambda: deliveries(options.program))
    if wanted("deliveries"):
        report.run("a channel writes there", lambda: channels(options.program))
    if options.minio and wanted("foreign"):
        foreign(options.program, options.minio, report)
    if wanted("copies"):
        report.run("copies pass between two endpoints", lambda: two_endpoints(options.program))
        report.run("copies that are cut make nothing, or go on", lambda: cut_copies(options.program))
    if wanted("customers"):
        report.run("copies of what customers' keys have sealed", lambda: keys_of_customers(options.program))
    if wanted("retention"):
        report.run("a place with a prefix retains what is its", lambda: a_place_retains_what_is_its(options.program))
    if wanted("archived"):
        report.run("what is archived there is restored there", lambda: archived(options.program))
    if wanted("tls"):
        report.run("an endpoint's certificate and address are looked at", lambda: tls(options.program))
    if wanted("memory"):
        report.run("an object of 300 MiB needs no more memory than a small one", lambda: flat_memory(options.program))
    if wanted("configuration"):
        report.run("the configuration is held against what is here", lambda: configuration(options.program))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
