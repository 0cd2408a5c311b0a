# SPDX-License-Identifier: Apache-2.0
"""`headrace blob`: buckets and objects."""
import os
import subprocess

import shell
import tap
from shell import reach, run

STRANGE = "a b/ü+%&=?#.txt"


def blob(*arguments, status=0, text_in="", region="us-east-1"):
    return run("blob", *arguments, status=status, text_in=text_in, environment=reach(AWS_REGION=region))


@tap.test
def objects_are_put_listed_printed_and_removed():
    blob("mb", "shelf")
    blob("put", "shelf/" + STRANGE, text_in="hello\n")
    blob("put", "s3://shelf/other", text_in="")
    assert blob("cat", "s3://shelf/" + STRANGE)[0] == "hello\n"
    assert blob("cat", "shelf/other")[0] == ""
    assert [line.split("\t")[:2] for line in blob("ls", "shelf")[0].splitlines()] == [["other", "0"], ["a b/", ""]]
    keys = [line.split("\t")[0] for line in blob("ls", "shelf", "--recursive")[0].splitlines()]
    assert keys == [STRANGE, "other"], keys
    assert "shelf" in [line.split("\t")[0] for line in blob("ls")[0].splitlines()]
    assert "BucketNotEmpty" in blob("rm", "shelf", status=1)[1]
    blob("rm", "shelf", "--recursive", "--yes")
    blob("rm", "shelf")
    assert "NoSuchBucket" in blob("ls", "shelf", status=3)[1]


@tap.test
def what_is_larger_than_a_part_goes_in_parts_and_comes_back_the_same():
    path = os.path.join(shell.new_dir(), "large")
    content = os.urandom(1 << 20) * 33
    with open(path, "wb") as file:
        file.write(content)
    blob("mb", "parts", region="eu-west-1")
    blob("put", "parts/large", path, "--type", "application/x-large")
    line = f"set -o pipefail; {shell.PROGRAM} blob cat parts/large | cmp - {path}"
    subprocess.run(["bash", "-c", line], check=True, env=reach(), timeout=shell.SECONDS_MAX)
    blob("rm", "parts/large")
    blob("rm", "parts")


@tap.test
def a_place_that_is_none_and_an_object_that_is_not_there_are_told():
    assert "name an object" in blob("cat", "shelf", status=2)[1]
    assert "name a bucket" in blob("ls", "s3://", status=2)[1]
    assert "no slash" in blob("mb", "a/b", status=2)[1]
    blob("mb", "bare")
    assert "NotFound" in blob("cat", "bare/none", status=3)[1]
    assert "cannot be read" in blob("put", "bare/x", "/nowhere/at/all", status=3)[1]
    blob("rm", "bare/none")
    blob("rm", "bare")
