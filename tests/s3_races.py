#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls of S3 that race for the same upload, key, version or bucket, and kill -9 in the middle of each race.

Every race has few outcomes that S3 promises: what an answer said is so, whoever else was answered. Afterwards, and after
every kill, the store is looked at as a whole: each key has one latest version, each version is whole, and when all is
removed nothing is left on the disk.

    tests/s3_races.py --program build/headrace --seed 7
"""
import argparse
import collections
import hashlib
import http.client
import os
import random
import re
import sys
import threading
import time
import traceback
import urllib.parse

import headrace
import sigv4
import tap

ROUNDS = 12
KILLS = 5
PUTS_MAX = 200
SETTLE_SECONDS_MAX = 240
SIZES = (10, 20_000, 300_000)  # in the database; in a file; streamed
HOLD = b"<LegalHold><Status>%s</Status></LegalHold>"
SERVER, SEED = None, 0


class Gone(Exception):
    """The server has been killed."""


def quote(key):
    return urllib.parse.quote(key, safe="/-_.~")


def ask(method, path, body=b"", query="", **headers):
    """(status, headers, body)."""
    fields = {"Host": f"127.0.0.1:{SERVER.port}", "X-Amz-Content-Sha256": sigv4.sha256_hex(body),
              **{name.replace("_", "-"): value for name, value in headers.items()}}
    fields = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "s3", method, path, fields, body, query=query,
                        payload_hash=fields["X-Amz-Content-Sha256"])
    connection = http.client.HTTPConnection("127.0.0.1", SERVER.port, timeout=240)
    try:
        connection.putrequest(method, path + ("?" + query if query else ""), skip_host=True, skip_accept_encoding=True)
        for name, value in {**fields, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise Gone() from error
    finally:
        connection.close()


def told(*replies):
    """What a failure says of them."""
    return [reply and (reply[0], code(reply), len(reply[2])) for reply in replies]


def code(reply):
    found = re.search(rb"<Code>([^<]*)</Code>", reply[2])
    return found[1].decode() if found else None


def good(reply, *also):
    """The reply, which is a success or one of the errors that the race allows."""
    assert reply[0] in (200, 204, 206) or code(reply) in also, (reply[0], reply[2][:300], also)
    return reply


def tags(body, name):
    return [t.decode() for t in re.findall(rb"<%s>([^<]*)</%s>" % (name, name), body)]


def race(*calls):
    """All at once; their results in order. One that raises fails the test."""
    barrier, results, trouble = threading.Barrier(len(calls)), [None] * len(calls), []

    def run(n, call):
        try:
            barrier.wait()
            results[n] = call()
        except Gone:
            results[n] = None
        except BaseException as error:  # told below
            trouble.append(error)

    threads = [threading.Thread(target=run, args=(n, call), daemon=True) for n, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
        assert not thread.is_alive(), "a call has no end"
    if trouble:
        raise trouble[0]
    return results


def etag(data):
    return hashlib.md5(data).hexdigest()


def bucket(name, *settings):
    headers = {"x_amz_bucket_object_lock_enabled": "true"} if "lock" in settings else {}
    assert ask("PUT", f"/{name}", **headers)[0] == 200
    if "versions" in settings:
        versioning(name, "Enabled")


def versioning(name, status):
    body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
    return good(ask("PUT", f"/{name}", body, query="versioning="), "OperationAborted")


def begin(path):
    return tags(good(ask("POST", path, query="uploads="))[2], b"UploadId")[0]


def complete(path, upload, *parts):
    body = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in parts)
    return ask("POST", path, f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>".encode(), query=f"uploadId={upload}")


# ---- The store as a whole

def versions(name):
    """Of each key its versions and markers as they are listed: (id, is latest, is a marker, etag)."""
    found, marker = collections.defaultdict(list), ""
    while True:
        body = good(ask("GET", f"/{name}", query="encoding-type=url&max-keys=7" + marker + "&versions="))[2]
        for kind, one in re.findall(rb"<(Version|DeleteMarker)>(.*?)</(?:Version|DeleteMarker)>", body):
            key = urllib.parse.unquote_plus(tags(one, b"Key")[0])
            found[key].append((tags(one, b"VersionId")[0], tags(one, b"IsLatest")[0] == "true", kind == b"DeleteMarker",
                               "".join(tags(one, b"ETag")).replace("&quot;", '"').strip('"')))
        if tags(body, b"IsTruncated") != ["true"]:
            return found
        marker = f"&key-marker={tags(body, b'NextKeyMarker')[0]}&version-id-marker={tags(body, b'NextVersionIdMarker')[0]}"


def uploads(name, prefix=""):
    body = good(ask("GET", f"/{name}", query=f"prefix={prefix}&uploads="))[2]
    return list(zip(tags(body, b"Key"), tags(body, b"UploadId")))


def look_at(name):
    """Everything is whole and fits together."""
    latest = {}
    for key, all_of_it in versions(name).items():
        firsts = [v for v in all_of_it if v[1]]
        assert len(firsts) == 1, (key, all_of_it)
        assert len({v[0] for v in all_of_it}) == len(all_of_it), (key, all_of_it)
        for version, _, is_marker, tag in all_of_it:
            reply = ask("GET", f"/{name}/{quote(key)}", query=f"versionId={version}")
            if is_marker:
                assert code(reply) == "MethodNotAllowed", (key, version, told(reply))
            else:
                assert reply[0] == 200 and ("-" in tag or etag(reply[2]) == tag), (key, version, reply[0], tag)
        if not firsts[0][2]:
            latest[key] = firsts[0][3]
    listed = good(ask("GET", f"/{name}", query="encoding-type=url&list-type=2"))[2]
    assert sorted(urllib.parse.unquote_plus(k) for k in tags(listed, b"Key")) == sorted(latest), (listed, latest)
    for key, upload in uploads(name):
        assert good(ask("GET", f"/{name}/{quote(key)}", query=f"uploadId={upload}"))[0] == 200


def files():
    return sum(name != "reserve" for _, _, names in os.walk(os.path.join(SERVER.data_dir, "blobs")) for name in names)


def empty(name):
    for key, upload in uploads(name):
        good(ask("DELETE", f"/{name}/{quote(key)}", query=f"uploadId={upload}"))
    for key, all_of_it in versions(name).items():
        for version, *_ in all_of_it:
            path = f"/{name}/{quote(key)}"
            if code(good(ask("DELETE", path, query=f"versionId={version}"), "AccessDenied")) == "AccessDenied":
                good(ask("PUT", path, HOLD % b"OFF", query=f"legal-hold=&versionId={version}"))
                good(ask("DELETE", path, query=f"versionId={version}", x_amz_bypass_governance_retention="true"))
    assert good(ask("DELETE", f"/{name}"))[0] == 204


def end(*names):
    """Everything is looked at and removed: nothing is left of it."""
    for name in names:
        look_at(name)
    for name in names:
        empty(name)
    until = time.monotonic() + SETTLE_SECONDS_MAX
    while files() > 0:
        assert time.monotonic() < until, f"{files()} files are left"
        time.sleep(0.1)


# ---- Races. One in which the server is killed holds nobody to what was not answered.

def race_for_an_upload(rng, name):
    """Completed twice, aborted, and its part replaced, all at once."""
    path, data = f"/{name}/u", rng.randbytes(rng.choice(SIZES))
    good(ask("DELETE", path))  # of a round that was killed
    upload = begin(path)
    good(ask("PUT", path, data, query=f"partNumber=1&uploadId={upload}"))
    whole = hashlib.md5(hashlib.md5(data).digest()).hexdigest() + "-1"
    one, two, gone, part, _, _ = race(
        lambda: good(complete(path, upload, (1, etag(data))), "NoSuchUpload", "InvalidPart"),
        lambda: good(complete(path, upload, (1, etag(data))), "NoSuchUpload", "InvalidPart"),
        lambda: good(ask("DELETE", path, query=f"uploadId={upload}"), "NoSuchUpload"),
        lambda: good(ask("PUT", path, b"other", query=f"partNumber=1&uploadId={upload}"), "NoSuchUpload"),
        lambda: good(ask("PUT", path, query=f"partNumber=1&uploadId={upload}", x_amz_copy_source=f"{name}/source"), "NoSuchUpload", "NoSuchKey"),
        lambda: good(ask("GET", path, query=f"uploadId={upload}"), "NoSuchUpload"))
    if None in (one, two, gone, part):
        return
    done = [r for r in (one, two) if r[0] == 200]
    assert bool(done) != (gone[0] == 204), told(one, two, gone)
    assert not uploads(name, "u"), uploads(name, "u")
    there = ask("GET", path)
    assert (there[0] == 200 and there[2] == data and there[1]["ETag"] == f'"{whole}"') if done else code(there) == "NoSuchKey", told(one, two, gone, there)
    for reply in done:
        assert whole in reply[2].decode(), told(reply)
    race(lambda: good(ask("GET", path, query="partNumber=1"), "NoSuchKey"), lambda: good(ask("DELETE", path)),
         lambda: good(ask("GET", path, query="attributes=", x_amz_object_attributes="ObjectParts,ETag"), "NoSuchKey"))


def race_for_the_parts_of_an_upload(rng, name):
    """The same part from many, while it is completed again and again: the object is one of them."""
    path, contents = f"/{name}/p", [rng.randbytes(20_000 + n) for n in range(4)]
    good(ask("DELETE", path))  # of a round that was killed
    upload = begin(path)
    good(ask("PUT", path, contents[0], query=f"partNumber=1&uploadId={upload}"))
    *parts, done = race(*[lambda data=data: good(ask("PUT", path, data, query=f"partNumber=1&uploadId={upload}"), "NoSuchUpload")
                          for data in contents],
                        lambda: good(complete(path, upload, (1, etag(contents[3]))), "InvalidPart", "NoSuchUpload"))
    if None in parts or done is None:
        return
    if done[0] == 200:
        assert ask("GET", path)[2] == contents[3]
        good(ask("DELETE", path))
        assert not uploads(name, "p")
    else:
        assert code(ask("GET", path)) == "NoSuchKey"
        good(ask("DELETE", path, query=f"uploadId={upload}"))


def race_for_one_part(rng, name):
    """The same bytes as the same part, again and again: it can be completed all the same."""
    path, data = f"/{name}/o", rng.randbytes(20_000)
    good(ask("DELETE", path))  # of a round that was killed
    upload = begin(path)
    query = f"partNumber=1&uploadId={upload}"
    good(ask("PUT", path, data, query=query))

    def put():
        for _ in range(PUTS_MAX):
            if good(ask("PUT", path, data, query=query), "NoSuchUpload")[0] == 404:
                break

    *_, done = race(*[put] * 4, lambda: good(complete(path, upload, (1, etag(data)))))
    if done is not None:
        assert ask("GET", path)[2] == data
        good(ask("DELETE", path))


def race_for_a_key(rng, name):
    """Put, removed, copied onto itself and read: what is read is one of what was put, whole."""
    path, contents = f"/{name}/k", [rng.randbytes(rng.choice(SIZES)) for _ in range(3)]
    digests = {etag(data) for data in contents}
    good(ask("PUT", path, contents[0]))

    def read():
        reply = good(ask("GET", path), "NoSuchKey")
        assert reply[0] != 200 or (etag(reply[2]) in digests and reply[1]["ETag"] == f'"{etag(reply[2])}"'), reply[1]

    race(lambda: good(ask("PUT", path, contents[1])), lambda: good(ask("PUT", path, contents[2])), lambda: good(ask("DELETE", path)),
         lambda: good(ask("PUT", path, x_amz_copy_source=f"{name}/k", x_amz_metadata_directive="REPLACE", x_amz_meta_a="b"), "NoSuchKey"),
         lambda: good(ask("PUT", path, x_amz_copy_source=f"{name}/k", x_amz_storage_class="STANDARD_IA"), "NoSuchKey"), read, read)
    if SERVER.is_running():
        read()


def race_for_versions(rng, name):
    """The same version removed by many, markers made and removed, new ones put."""
    path = f"/{name}/v"
    first, second = (good(ask("PUT", path, rng.randbytes(rng.choice(SIZES))))[1]["x-amz-version-id"] for _ in range(2))
    data = rng.randbytes(20_000)
    *gone, put, marker, _ = race(*[lambda: good(ask("DELETE", path, query=f"versionId={first}")) for _ in range(3)],
                                 lambda: good(ask("DELETE", path, query=f"versionId={second}")),
                                 lambda: good(ask("PUT", path, data)), lambda: good(ask("DELETE", path)),
                                 lambda: good(ask("GET", path, query=f"versionId={first}"), "NoSuchVersion"))
    if None in (put, marker, *gone):
        return
    listed = {v[0]: v for v in versions(name)["v"]}
    assert first not in listed and second not in listed, (first, second, listed)
    assert listed[put[1]["x-amz-version-id"]][3] == etag(data) and listed[marker[1]["x-amz-version-id"]][2], (told(put, marker), listed)


def race_for_the_versioning(rng, name):
    """Puts and deletes while versions are kept and not kept in turn: "null" is one at most."""
    path, contents = f"/{name}/s", [rng.randbytes(rng.choice(SIZES)) for _ in range(3)]
    race(lambda: versioning(name, "Suspended"), lambda: good(ask("PUT", path, contents[0])), lambda: good(ask("DELETE", path)),
         lambda: good(ask("PUT", path, contents[1])), lambda: versioning(name, "Enabled"), lambda: good(ask("PUT", path, contents[2])),
         lambda: good(ask("DELETE", path, query="versionId=null")))
    if SERVER.is_running():
        versioning(name, "Enabled")


def race_of_conditions(rng, name):
    """Of all who want to be the first, or to replace the same, one is let."""
    path, before = f"/{name}/c{rng.random()}", None
    for headers in ({"If_None_Match": "*"}, None):
        headers = headers or {"If_Match": before}
        contents = [rng.randbytes(rng.choice(SIZES)) for _ in range(5)]
        made = race(*[lambda data=data, h=headers: good(ask("PUT", path, data, **h), "PreconditionFailed", "ConditionalRequestConflict")
                      for data in contents])
        if None in made:
            return
        winners = [n for n, reply in enumerate(made) if reply[0] == 200]
        assert len(winners) == 1, [r[0] for r in made]
        there = good(ask("GET", path))
        assert there[2] == contents[winners[0]]
        before = there[1]["ETag"]
    good(ask("DELETE", path))


def race_of_a_hold(rng, name):
    """Held, retained and removed at once: what is held is there, and what is retained."""
    path = f"/{name}/h"
    version = good(ask("PUT", path, rng.randbytes(rng.choice(SIZES))))[1]["x-amz-version-id"]
    retention = b"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>"
    held, kept, gone = race(
        lambda: good(ask("PUT", path, HOLD % b"ON", query=f"legal-hold=&versionId={version}"), "NoSuchKey", "NoSuchVersion"),
        lambda: good(ask("PUT", path, retention, query=f"retention=&versionId={version}"), "NoSuchKey", "NoSuchVersion"),
        lambda: good(ask("DELETE", path, query=f"versionId={version}"), "AccessDenied"))
    if None in (held, kept, gone):
        return
    assert (held[0] == 200 or kept[0] == 200) != (gone[0] == 204), told(held, kept, gone)
    there = ask("GET", path, query=f"versionId={version}")
    assert there[1].get("x-amz-object-lock-legal-hold") == ("ON" if held[0] == 200 else None), told(held, there)
    assert there[1].get("x-amz-object-lock-mode") == ("GOVERNANCE" if kept[0] == 200 else None), told(kept, there)


def race_for_a_bucket(rng, name):
    """Removed while it gets an object: one of the two is refused."""
    mine = f"{name}-{rng.randrange(10 ** 9)}"
    bucket(mine)
    put, begun, gone = race(lambda: good(ask("PUT", f"/{mine}/k", rng.randbytes(20_000)), "NoSuchBucket"),
                            lambda: good(ask("POST", f"/{mine}/u", query="uploads="), "NoSuchBucket"),
                            lambda: good(ask("DELETE", f"/{mine}"), "BucketNotEmpty"))
    if None in (put, begun, gone):
        return mine
    if gone[0] == 204:
        assert put[0] == 404, told(put, gone)
        assert code(ask("GET", f"/{mine}/k")) == "NoSuchBucket"
        return None
    assert put[0] == 200 or begun[0] == 200
    return mine


RACES = {"plain": ((), (race_for_an_upload, race_for_the_parts_of_an_upload, race_for_one_part, race_for_a_key, race_of_conditions)),
         "versions": (("versions",), (race_for_versions,)), "versioning": (("versions",), (race_for_the_versioning,)),
         "lock": (("lock",), (race_of_a_hold,))}


def raced(one, *settings):
    rng = random.Random(f"{SEED} {one.__name__}")
    name = one.__name__.replace("_", "-")
    bucket(name, *settings)
    for _ in range(ROUNDS):
        one(rng, name)
    end(name)


@tap.test
def an_upload_is_completed_or_aborted_and_never_both():
    raced(race_for_an_upload)


@tap.test
def an_object_has_the_part_that_its_completion_names():
    raced(race_for_the_parts_of_an_upload)


@tap.test
def an_upload_can_be_completed_while_its_parts_come():
    raced(race_for_one_part)


@tap.test
def what_is_read_of_a_key_is_one_of_what_was_put():
    raced(race_for_a_key)


@tap.test
def removed_versions_are_gone_and_the_others_are_there():
    raced(race_for_versions, "versions")


@tap.test
def a_key_has_one_latest_version_and_one_null_whatever_the_versioning_does():
    raced(race_for_the_versioning, "versions")


@tap.test
def of_all_who_want_to_be_first_one_is():
    raced(race_of_conditions)


@tap.test
def what_is_held_is_not_removed():
    raced(race_of_a_hold, "lock")


@tap.test
def a_bucket_that_is_gone_has_taken_nothing():
    rng = random.Random(f"{SEED} bucket")
    for _ in range(ROUNDS):
        left = race_for_a_bucket(rng, "races")
        if left is not None:
            end(left)


class Racer(threading.Thread):
    """Runs one race again and again, until the server is killed."""

    def __init__(self, name, one, seed):
        super().__init__(daemon=True)
        self.name_of_bucket, self.one, self.random, self.killed, self.trouble = name, one, random.Random(seed), False, None
        self.start()

    def run(self):
        try:
            while not self.killed:
                self.one(self.random, self.name_of_bucket)
        except Gone:
            pass
        except BaseException:  # told by the test
            self.trouble = None if self.killed else traceback.format_exc()


@tap.test
def a_kill_in_the_middle_of_any_of_them_leaves_a_whole_store():
    rng = random.Random(f"{SEED} kills")
    for name, (settings, _) in RACES.items():
        bucket(name, *settings)
    for _ in range(KILLS):
        racers = [Racer(name, one, rng.random()) for name, (_, ones) in RACES.items() for one in ones]
        time.sleep(rng.uniform(0.3, 2))
        for racer in racers:
            racer.killed = True
        SERVER.kill()
        for racer in racers:
            racer.join(300)
            assert racer.trouble is None, racer.trouble
        SERVER.start()
        for name in RACES:
            look_at(name)
        for key, upload in uploads("plain"):  # the races say that there is none
            good(ask("DELETE", f"/plain/{quote(key)}", query=f"uploadId={upload}"))
    end(*RACES)


def main():
    global SERVER, SEED
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    SEED = options.seed
    print(f"# seed {SEED}")
    report = tap.Tap()
    with headrace.Server(options.program) as SERVER:
        for function in tap.TESTS:
            name = function.__name__.replace("_", " ")
            if options.words and not any(w in name for w in options.words):
                continue
            report.run(name, function)
            if not SERVER.is_running():
                report.not_ok(f"the server survives: {name}", SERVER.tail())
                break
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
