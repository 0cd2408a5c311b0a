#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What people use S3 with, unmodified: rclone, s3cmd, the AWS CLI's `s3`, s3fs and DuckDB's own writer.

    tests/clients/s3_tools_test.py --program build/headrace
"""
import argparse
import base64
import filecmp
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
AWS = os.path.join(os.path.dirname(sys.executable), "aws")
PYTHON = os.path.join(HERE, "..", "..", "build", "venv-s3", "bin", "python")
CALL_SECONDS_MAX = 600
LARGE = 17 << 20  # several parts with each of them
FILES = {"plain.txt": b"plain\n", "two words.txt": b"spaces", "deep/er/and deeper/x.bin": bytes(range(256)),
         "per%20cent.txt": b"%", "plus+and&.txt": b"+", "Größe-ñ-日本.txt": "日本".encode(), "empty": b"",
         "tilde~(1)'!.txt": b"~", "a#b?c=d.txt": b"#"}


def make_tree(folder):
    for name, content in {**FILES, "large.bin": os.urandom(LARGE)}.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    return folder


def names(folder):
    found = []
    for root, _, files in os.walk(folder):
        found += [os.path.relpath(os.path.join(root, name), folder) for name in files]
    return sorted(found)


def same_trees(one, other):
    assert names(one) == names(other), (names(one), names(other))
    _, differ, odd = filecmp.cmpfiles(one, other, names(one), shallow=False)
    assert not differ and not odd, (differ, odd)


class Path:
    """One tree of files, through each of the tools."""

    def __init__(self, server, home):
        self.server, self.home = server, home
        self.tree = make_tree(os.path.join(home, "tree"))
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}, "HOME": home, "AWS_ACCESS_KEY_ID": headrace.KEY_ID, "AWS_SECRET_ACCESS_KEY": headrace.SECRET,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_PAGER": "", "AWS_ENDPOINT_URL": server.url, "AWS_MAX_ATTEMPTS": "2",
            "AWS_EC2_METADATA_DISABLED": "true", "RCLONE_CONFIG": os.path.join(home, "rclone.conf")}
        with open(self.environment["RCLONE_CONFIG"], "w", encoding="utf-8") as file:
            file.write(f"[h]\ntype = s3\nprovider = Other\nenv_auth = true\nregion = us-east-1\n"
                       f"endpoint = {server.url}\nforce_path_style = true\nchunk_size = 5M\nupload_cutoff = 5M\n")
        with open(os.path.join(home, "s3cfg"), "w", encoding="utf-8") as file:
            place = server.url.removeprefix("http://")
            file.write(f"[default]\naccess_key = {headrace.KEY_ID}\nsecret_key = {headrace.SECRET}\nuse_https = False\n"
                       f"host_base = {place}\nhost_bucket = {place}\nbucket_location = us-east-1\n"
                       "multipart_chunk_size_mb = 5\n")

    def run(self, *words):
        done = subprocess.run(words, env=self.environment, cwd=self.home, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=CALL_SECONDS_MAX)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()[-1500:]} {done.stdout.strip()[-500:]}"
        return done.stdout

    def s3cmd(self, *words):
        return self.run("s3cmd", "-c", os.path.join(self.home, "s3cfg"), "--no-progress", *words)

    def aws(self, *words):
        return self.run(AWS, "s3", *words)

    def rclone(self, *words):
        return self.run("rclone", "--retries", "1", "--low-level-retries", "2", *words)

    def back(self, name):
        return os.path.join(self.home, name)

    def rclone_syncs_both_ways(self):
        self.rclone("mkdir", "h:rclone")
        self.rclone("sync", self.tree, "h:rclone/tree")
        self.rclone("check", "--download", self.tree, "h:rclone/tree")
        self.rclone("sync", "h:rclone/tree", self.back("from-rclone"))
        same_trees(self.tree, self.back("from-rclone"))
        assert "Transferred:" not in self.rclone("sync", self.tree, "h:rclone/tree"), "nothing had changed"

    def rclone_copies_on_the_server_and_removes(self):
        self.rclone("copy", "h:rclone/tree", "h:rclone/copy")
        self.rclone("check", "--download", self.tree, "h:rclone/copy")
        self.rclone("moveto", "h:rclone/copy/large.bin", "h:rclone/copy/moved.bin")
        listed = self.rclone("lsf", "-R", "--files-only", "h:rclone/copy").splitlines()
        assert sorted(listed) == sorted([*FILES, "moved.bin"]), listed
        self.rclone("purge", "h:rclone")
        assert "rclone" not in self.rclone("lsd", "h:")

    def s3cmd_puts_lists_gets_and_removes(self):
        self.s3cmd("mb", "s3://s3cmd")
        self.s3cmd("sync", self.tree + "/", "s3://s3cmd/tree/")
        listed = self.s3cmd("ls", "-r", "s3://s3cmd/tree/")
        assert all(f"s3://s3cmd/tree/{name}" in listed for name in [*FILES, "large.bin"]), listed
        os.mkdir(self.back("from-s3cmd"))
        self.s3cmd("sync", "s3://s3cmd/tree/", self.back("from-s3cmd") + "/")
        same_trees(self.tree, self.back("from-s3cmd"))
        assert "plain" in self.s3cmd("info", "s3://s3cmd/tree/plain.txt")
        self.s3cmd("cp", "s3://s3cmd/tree/plain.txt", "s3://s3cmd/copied.txt")
        self.s3cmd("rb", "--recursive", "--force", "s3://s3cmd")
        assert "s3cmd" not in self.s3cmd("ls")

    def aws_s3_syncs_both_ways(self):
        self.aws("mb", "s3://awscli")
        self.aws("sync", self.tree, "s3://awscli/tree")
        self.aws("sync", "s3://awscli/tree", self.back("from-aws"))
        same_trees(self.tree, self.back("from-aws"))
        assert self.aws("sync", self.tree, "s3://awscli/tree") == "", "nothing had changed"
        os.remove(os.path.join(self.back("from-aws"), "plain.txt"))
        assert "delete:" in self.aws("sync", "--delete", self.back("from-aws"), "s3://awscli/tree")

    def aws_s3_moves_presigns_and_removes(self):
        self.aws("mv", "s3://awscli/tree/large.bin", "s3://awscli/moved.bin")
        url = self.aws("presign", "s3://awscli/moved.bin").strip()
        with urllib.request.urlopen(url, timeout=240) as reply:
            content = reply.read()
        with open(os.path.join(self.tree, "large.bin"), "rb") as file:
            assert content == file.read(), "a presigned link gives something else"
        self.aws("rb", "--force", "s3://awscli")
        assert "awscli" not in self.aws("ls")

    def s3fs_reads_and_writes_as_files(self):
        self.aws("mb", "s3://python")
        self.run(PYTHON, os.path.join(HERE, "s3_python.py"), "s3fs", self.server.url, "python")

    def duckdb_writes_parquet_and_reads_it(self):
        self.run(PYTHON, os.path.join(HERE, "s3_python.py"), "duckdb", self.server.url, "python")

    def what_was_written_is_there_after_kill_9(self):
        before = self.aws("ls", "--recursive", "s3://python")
        assert before.count("\n") >= 9, before
        self.server.kill()
        self.server.start()
        assert self.aws("ls", "--recursive", "s3://python") == before
        self.aws("sync", "s3://python", self.back("from-python"))


    def deliver(self, records, bucket):
        """Each record, which is text, becomes an object by way of a delivery stream: keys and etags."""
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                         "Principal": {"Service": "firehose.amazonaws.com"}}]}
        may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        role = json.loads(self.run(AWS, "iam", "create-role", "--role-name", "tools", "--assume-role-policy-document",
                                   json.dumps(trust)))["Role"]["Arn"]
        self.run(AWS, "iam", "put-role-policy", "--role-name", "tools", "--policy-name", "p", "--policy-document",
                 json.dumps(may))
        self.aws("mb", f"s3://{bucket}")
        self.run(AWS, "firehose", "create-delivery-stream", "--delivery-stream-name", "tools",
                 "--extended-s3-destination-configuration", json.dumps({
                     "RoleARN": role, "BucketARN": f"arn:aws:s3:::{bucket}", "Prefix": "in/", "CompressionFormat": "GZIP",
                     "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 0}}))
        end = time.monotonic() + CALL_SECONDS_MAX
        for i, record in enumerate(records):
            with open(self.back("record.json"), "w", encoding="ascii") as file:  # too long for the command line
                json.dump({"Data": record.decode()}, file)
            self.run(AWS, "firehose", "put-record", "--delivery-stream-name", "tools", "--record", "file://record.json")
            while len(listed := self.listed(bucket)) <= i:
                assert time.monotonic() < end, listed
        return listed

    def listed(self, bucket):
        answer = self.run(AWS, "s3api", "list-objects-v2", "--bucket", bucket)
        return {o["Key"]: o["ETag"] for o in json.loads(answer or "{}").get("Contents", ())}

    def objects_of_a_delivery_stream_pass_through_all_of_them(self):
        records = [b"small\n", base64.b64encode(os.urandom(300 << 10))]
        etags = self.deliver(records, "delivered")
        assert all(re.fullmatch('"[0-9a-f]{32}-1"', etag) for etag in etags.values()), etags
        once, tree = self.back("delivered-aws"), "in/"
        self.aws("sync", f"s3://delivered/{tree}", once)
        found = []
        for name in names(once):
            with gzip.open(os.path.join(once, name)) as file:
                found.append(file.read())
        assert sorted(found) == sorted(records), [len(r) for r in found]
        self.rclone("copy", f"h:delivered/{tree}", self.back("delivered-rclone"))
        self.rclone("check", "--download", self.back("delivered-rclone"), f"h:delivered/{tree}")
        os.mkdir(self.back("delivered-s3cmd"))
        self.s3cmd("sync", f"s3://delivered/{tree}", self.back("delivered-s3cmd") + "/")
        for tool in ("rclone", "s3cmd"):
            same_trees(once, self.back(f"delivered-{tool}"))
        assert self.aws("sync", f"s3://delivered/{tree}", once) == "", "nothing had changed"
        # Copies, made by the server, have the etags of what is put.
        self.rclone("copy", f"h:delivered/{tree}", "h:delivered/rclone")
        self.aws("cp", "--recursive", f"s3://delivered/{tree}", "s3://delivered/aws/")
        for name in names(once):
            self.s3cmd("cp", f"s3://delivered/{tree}{name}", f"s3://delivered/s3cmd/{name}")
        copied = self.listed("delivered")
        for name in names(once):
            with open(os.path.join(once, name), "rb") as file:
                want = f'"{hashlib.md5(file.read()).hexdigest()}"'
            assert all(copied[f"{tool}/{name}"] == want for tool in ("rclone", "aws", "s3cmd")), copied
        self.aws("rb", "--force", "s3://delivered")

    def s3fs_and_duckdb_work_where_the_bucket_lies_at_another_endpoint(self):
        config, keys = os.path.join(self.home, "headrace.toml"), os.path.join(self.home, "remote.credentials")
        with open(keys, "w", encoding="utf-8") as file:
            file.write(f"[default]\naws_access_key_id = {headrace.KEY_ID}\naws_secret_access_key = {headrace.SECRET}\n")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'[s3.remote.placed]\nendpoint = "{self.server.url}"\nbucket = "python"\nprefix = "placed/"\n'
                       f'credentials_file = "{keys}"\n')
        with headrace.Server(self.server.program, "--config", config) as front:
            for tool in ("s3fs", "duckdb"):
                self.run(PYTHON, os.path.join(HERE, "s3_python.py"), tool, front.url, "placed")


STAGES = (Path.rclone_syncs_both_ways, Path.rclone_copies_on_the_server_and_removes,
          Path.s3cmd_puts_lists_gets_and_removes, Path.aws_s3_syncs_both_ways, Path.aws_s3_moves_presigns_and_removes,
          Path.s3fs_reads_and_writes_as_files, Path.duckdb_writes_parquet_and_reads_it,
          Path.what_was_written_is_there_after_kill_9, Path.objects_of_a_delivery_stream_pass_through_all_of_them,
          Path.s3fs_and_duckdb_work_where_the_bucket_lies_at_another_endpoint)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    options = parser.parse_args()
    report = tap.Tap()
    with tempfile.TemporaryDirectory(prefix="headrace-s3-") as home, headrace.Server(options.program) as server:
        path = Path(server, home)
        for stage in STAGES:
            report.run(stage.__name__.replace("_", " "), lambda s=stage: s(path))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
