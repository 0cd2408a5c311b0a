#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plays .wire dialogues against a server and compares byte for byte. The format: docs/wire-format.md.

    tests/wire.py --program build/headrace [--only WORDS] [FILE.wire ...]
"""
import argparse
import base64
import glob
import hashlib
import hmac
import json
import os
import re
import shlex
import sys
import time
import urllib.parse

import cbor
import eventstream
import headrace
import sigv4
import tap

RETRY_SECONDS_MAX = 240
RETRY_PAUSE_SECONDS = 0.1
SMALL_DISK_MIB = 64         # of a server whose disk is to be filled
TIMES = re.compile(r"(Timestamps?|StartTime|EndTime|StartDate|EndDate)$")
BLOBS = {"Data"}
# `$(totp seed 1)`: what a device with that seed shows in so many half minutes.
TOTP = re.compile(r"\$\(totp (?P<seed>[a-z][a-z0-9_]*) (?P<steps>-?\d+)\)")
VARIABLE = re.compile(r"\$(\$|\.\.\.|\*|\((?P<text>[^()]*)\*(?P<count>\d+)\)|(?P<name>[a-z][a-z0-9_]*))")
# Atomic groups: a number is never tried in pieces, so that a mismatch is found in linear time.
SCALAR = r'(?>"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null)'
FLAT = rf'(?:{SCALAR}|[\[\]{{}},:\s])*?'
FORM_TYPE, RPC_TYPE, REST_TYPE = "application/x-www-form-urlencoded", "application/cbor", "rest"
ANY_VALUE = rf"(?:{SCALAR}|\[{FLAT}\]|\{{{FLAT}\}})"


class WireError(Exception):
    """The file is wrong, not the server."""


class Exchange:
    def __init__(self, number, operation, body, repeat):
        self.number, self.operation, self.body, self.repeat = number, operation, body, repeat
        self.status = self.answer = None
        self.headers, self.directives = [], []  # of the answer; of this request alone
        self.before = []                        # (what, value): region, key, restart, kill


class Dialogue:
    def __init__(self, file, title, cbor_too, marks):
        self.file, self.title, self.cbor_too, self.marks = file, title, cbor_too, marks
        self.exchanges, self.server = [], None

    def kinds(self, protocols):
        """How it is played: [(name, content type)]."""
        if "@query" in self.marks or protocols == "query":
            return [("query", FORM_TYPE)]
        if protocols == "rest-xml":
            return [("rest", REST_TYPE)]
        kinds = [("json", f"application/x-amz-{re.search('json-1.[01]', protocols)[0]}")]
        if self.cbor_too:
            kinds.append(("cbor", headrace.CBOR_TYPE))
        if "@rpc" in self.marks:
            kinds.append(("rpc", RPC_TYPE))
        return kinds


# ---- Reading a file.


def logical_lines(text):
    """(line number, line) with continuation lines joined."""
    joined = []
    for number, line in enumerate(text.splitlines(), 1):
        if line[:1] in (" ", "\t") and line.strip():
            if not joined:
                raise WireError(f"line {number} continues nothing")
            joined[-1][1] += line.lstrip()
        elif line.strip() and not line.startswith("#"):
            joined.append([number, line])
    return joined


class Parser:
    def __init__(self, path):
        self.path, self.dialogues, self.file_cbor = path, [], False
        self.marks = set()  # of the file
        self.current, self.pending, self.before = None, [], []

    def fail(self, number, why):
        raise WireError(f"{self.path}:{number}: {why}")

    def dialogue(self):
        if self.current is None:
            title = os.path.splitext(os.path.basename(self.path))[0]
            self.begin(title)
        return self.current

    def begin(self, title):
        self.current = Dialogue(self.path, title, self.file_cbor, self.marks)
        self.dialogues.append(self.current)

    def directive(self, number, text):
        name, _, value = text.partition("=")
        if name == "server":
            self.dialogue().server = value.strip()
        elif name in ("region", "key"):
            self.before.append((name, value.strip()))
        elif text in ("restart", "kill"):
            self.before.append((text, ""))
        elif re.match(r"(bucket|clock) \S+$|role \S+( \S+)?$|disk (broken|full|free)$|damage (journal|sealed|rows \S+)$",
                      text):
            self.before.append(tuple(text.split(" ", 1)))
        elif re.match(r"(header|method|path|type|events) \S|unsigned$", text):
            self.pending.append(text)
        else:
            self.fail(number, f"no directive '{text}'")

    def request(self, number, line):
        if self.dialogue().exchanges and self.current.exchanges[-1].status is None:
            self.fail(number, "the request before has no answer")
        repeat = line.startswith(">~")
        operation, _, body = line[2 if repeat else 1:].strip().partition(" ")
        exchange = Exchange(number, operation, body.strip(), repeat)
        exchange.directives, self.pending = self.pending, []
        exchange.before, self.before = self.before, []
        self.current.exchanges.append(exchange)

    def answer(self, number, line):
        if self.current is None or not self.current.exchanges:
            self.fail(number, "an answer without a request")
        exchange = self.current.exchanges[-1]
        if exchange.status is not None:
            self.fail(number, "a second answer")
        status, _, body = line[1:].strip().partition(" ")
        if not status.isdigit():
            self.fail(number, "an answer begins with its status")
        exchange.status, exchange.answer = int(status), body.strip()

    def line(self, number, line):
        mark = line[0]
        if line.startswith("=="):
            self.begin(line[2:].strip())
        elif line.strip() in ("@cbor", "@json"):
            if self.current is None:
                self.file_cbor = line.strip() == "@cbor"
            else:
                self.current.cbor_too = line.strip() == "@cbor"
        elif line.strip() in ("@rpc", "@query") and self.current is None:
            self.marks.add(line.strip())
        elif mark == ">":
            self.request(number, line)
        elif mark == "<":
            self.answer(number, line)
        elif mark == ":":
            name, _, value = line[1:].strip().partition(":")
            self.current.exchanges[-1].headers.append((name.strip(), value.strip()))
        elif mark == "!":
            self.directive(number, line[1:].strip())
        else:
            self.fail(number, f"a line cannot begin with '{mark}'")

    def parse(self, text):
        for number, line in logical_lines(text):
            self.line(number, line)
        for dialogue in self.dialogues:
            for exchange in dialogue.exchanges:
                if exchange.status is None:
                    self.fail(exchange.number, "this request has no answer")
        return self.dialogues


def parse_file(path):
    with open(path, encoding="utf-8") as file:
        return Parser(path).parse(file.read())


# ---- Variables.


def totp(seed, steps):
    """Of a seed as IAM gives it: base64 of base32."""
    counter = headrace.code_step(seed, steps)
    mac = hmac.digest(base64.b32decode(base64.b64decode(seed)), counter.to_bytes(8, "big"), "sha1")
    at = mac[-1] & 15
    return f"{(int.from_bytes(mac[at:at + 4], 'big') & 0x7fffffff) % 10**6:06}"


def substitute(text, variables):
    text = TOTP.sub(lambda m: totp(variables[m["seed"]], int(m["steps"])), text)

    def value(match):
        if match[0] == "$$":
            return "$"
        if match["count"]:
            return match["text"] * int(match["count"])
        if match["name"] in variables:
            return variables[match["name"]]
        raise WireError(f"{match[0]} has no value")

    return VARIABLE.sub(value, text)


def pattern_of(text, variables, is_json=True):
    """A regular expression for an expected answer; names of groups are variables not yet captured."""
    parts, at, new = [], 0, set()
    is_xml = text.startswith("<")
    for match in VARIABLE.finditer(text):
        literal = text[at:match.start()]
        before = text[:match.start()]
        inside = len(re.findall(r'(?<!\\)"', before)) % 2 == 1
        anything = r'(?:[^"\\]|\\.)*?' if inside or not is_json else ANY_VALUE
        at = match.end()
        if is_xml:
            anything = "[^<]*"
        if match[0] == "$..." and is_xml:
            parts.append(re.escape(literal) + ".*")
            continue
        if match[0] == "$...":
            parts.append(re.escape(literal.removesuffix(",")))
            parts.append(rf"(?:,?{FLAT})?")
            continue
        parts.append(re.escape(literal))
        name = match["name"]
        if match[0] == "$*":
            parts.append(anything)
        elif name is None or name in variables:
            parts.append(re.escape(substitute(match[0], variables)))
        elif name in new:
            parts.append(f"(?P={name})")
        else:
            new.add(name)
            parts.append(f"(?P<{name}>{anything})")
    parts.append(re.escape(text[at:]))
    return re.compile("".join(parts), re.S)


# ---- The two encodings.


def to_cbor(value, units, name=""):
    """`units`: how many of a second a timestamp counts."""
    if isinstance(value, dict):
        return {k: to_cbor(v, units, k) for k, v in value.items()}
    if isinstance(value, list):
        return [to_cbor(v, units, name) for v in value]
    if isinstance(value, str) and name in BLOBS:
        return base64.b64decode(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and TIMES.search(name):
        return cbor.Timestamp(round(value * units))
    return value


def from_cbor(value, units):
    if isinstance(value, dict):
        return {k: from_cbor(v, units) for k, v in value.items()}
    if isinstance(value, list):
        return [from_cbor(v, units) for v in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, cbor.Timestamp):
        return value // units if value % units == 0 else value / units
    return value


def units_of(content_type):
    """AWS's CBOR counts milliseconds, that of RPC seconds; None: it is no CBOR."""
    return {headrace.CBOR_TYPE: 1000, RPC_TYPE: 1}.get(content_type)


def service_of_target(target):
    """What requests to a whole target are signed for, or None: nobody's."""
    for path in sorted(glob.glob(os.path.join(headrace.ROOT, "src/svc/*/*.api"))):
        attributes = service_of(path)
        if attributes.get("target") == target:
            return attributes["sign"]
    return None


def service_of(path):
    """The attributes of the service line of the room's contract: protocol, target, sign..."""
    folder = os.path.dirname(os.path.abspath(path))
    with open(os.path.join(folder, os.path.basename(folder) + ".api"), encoding="utf-8") as file:
        line = re.search(r"^service .*(?:\n[ \t].*)*", file.read(), re.M)[0]
    return dict(re.findall(r"(\w+)=(\S+)", line))


def encode_body(text, content_type):
    units = units_of(content_type)
    if units is None or not text:
        return text.encode()
    return cbor.encode(to_cbor(json.loads(text), units))


def form_pairs(name, value):
    if isinstance(value, dict) and not name.endswith(("Document", "Policy")):
        for key, inner in value.items():
            yield from form_pairs(f"{name}.{key}" if name else key, inner)
    elif isinstance(value, dict):
        yield name, json.dumps(value, separators=(",", ":"))
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from form_pairs(f"{name}.member.{number}", inner)
    else:
        yield name, str(value).lower() if isinstance(value, bool) else str(value)


def encode_form(operation, version, text):
    """The request of the Query protocol that says what a JSON document says."""
    pairs = [("Action", operation), ("Version", version), *form_pairs("", json.loads(text or "{}"))]
    return urllib.parse.urlencode(pairs).encode()


def inside_frame(text, operation, namespace, status):
    """What stands in the frame of a reply of the Query protocol; the text itself if it has another frame."""
    result = rf"(?:<{operation}Result>(?P<good>.*)</{operation}Result>|<{operation}Result/>)?"
    frame = (rf'<{operation}Response xmlns="{re.escape(namespace)}">{result}<ResponseMetadata><RequestId>[-0-9a-f]{{36}}'
             rf"</RequestId></ResponseMetadata></{operation}Response>" if status == 200 else
             rf'<ErrorResponse xmlns="{re.escape(namespace)}"><Error>(?P<bad>.*)</Error><RequestId>[-0-9a-f]{{36}}'
             r"</RequestId></ErrorResponse>")
    match = re.fullmatch(rf"{frame}\n?", text, re.S)
    return "".join(g or "" for g in match.groups()) if match else text


def decode_messages(raw):
    """The messages of an event stream as a JSON list: [{name: payload}, ...]."""
    found = []
    for headers, payload in eventstream.split(raw)[0]:
        kind = headers.get(":content-type", headrace.JSON_TYPE)
        payload_type = headrace.CBOR_TYPE if "cbor" in kind else headrace.JSON_TYPE
        text = decode_body(payload, payload_type) or json.dumps(headers.get(":error-message"))
        found.append(f'{{"{eventstream.name_of(headers)}":{text}}}')
    return f"[{','.join(found)}]"


def without_ids(text):
    """A reply of REST without what every one has: the declaration, the namespace, the request's names."""
    text = re.sub(r'^<\?xml version="1.0" encoding="UTF-8"\?>\n', "", text)
    text = re.sub(r"<RequestId>[-0-9a-f]{36}</RequestId><HostId>[^<]*</HostId>", "", text)
    return re.sub(r' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', "", text, count=1)


def decode_body(raw, content_type):
    if content_type == eventstream.CONTENT_TYPE:
        return decode_messages(raw)
    units = units_of(content_type)
    if units is not None and raw:
        return json.dumps(from_cbor(cbor.decode(raw), units), separators=(",", ":"), ensure_ascii=False)
    return raw.decode("utf-8", errors="backslashreplace")


# ---- Playing.


# Users that dialogues sign as, by the variable that stands for their key: what their policy allows, or None.
USERS = {"$denied": None,
         "$keyless": {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"},
                                    {"Effect": "Deny", "Action": "kms:*", "Resource": "*"}]}}


def iam_call(server, action, members):
    client = server.client(service="iam")
    body = encode_form(action, "2010-05-08", json.dumps(members))
    headers = {"Host": f"127.0.0.1:{server.port}", "Content-Type": FORM_TYPE}
    headers = sigv4.sign(client.key_id, client.secret, "us-east-1", "iam", "POST", "/", headers, body)
    status, _, content = client.send("POST", "/", headers, body)
    client.close()
    if status != 200:
        raise WireError(f"{action}: {content.decode()}")
    return content


def user_key(server, variable):
    """The key of one of USERS on the server; made when it is first asked for."""
    keys = server.__dict__.setdefault("user_keys", {})
    if variable not in keys:
        name = variable[1:]
        iam_call(server, "CreateUser", {"UserName": name})
        if USERS[variable]:
            iam_call(server, "PutUserPolicy", {"UserName": name, "PolicyName": "p", "PolicyDocument": USERS[variable]})
        content = iam_call(server, "CreateAccessKey", {"UserName": name})
        found = re.search(rb"<AccessKeyId>(\w+)</AccessKeyId>.*<SecretAccessKey>([^<]+)</SecretAccessKey>", content, re.S)
        keys[variable] = f"{found[1].decode()} {found[2].decode()}"
    return keys[variable]


def make_bucket(server, name):
    """One that the dialogue's service may write to; fine if it is there."""
    client = server.client()
    headers = {"Host": f"127.0.0.1:{server.port}", "x-amz-content-sha256": hashlib.sha256(b"").hexdigest()}
    headers = sigv4.sign(client.key_id, client.secret, "us-east-1", "s3", "PUT", f"/{name}", headers, b"")
    status, _, content = client.send("PUT", f"/{name}", headers, b"")
    client.close()
    if status != 200:
        raise WireError(f"bucket {name}: {content.decode()}")


def make_role(server, name, service="firehose.amazonaws.com"):
    """One of the root's account that the service, or whoever of the `account` may, may take; fine if it is there."""
    principal = {"AWS": headrace.ACCOUNT} if service == "account" else {"Service": service}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]})
    client = server.client(service="iam")
    body = encode_form("CreateRole", "2010-05-08", json.dumps({"RoleName": name, "AssumeRolePolicyDocument": trust}))
    headers = {"Host": f"127.0.0.1:{server.port}", "Content-Type": FORM_TYPE}
    headers = sigv4.sign(client.key_id, client.secret, "us-east-1", "iam", "POST", "/", headers, body)
    status, _, content = client.send("POST", "/", headers, body)
    client.close()
    if status not in (200, 409):
        raise WireError(f"role {name}: {content.decode()}")


class Player:
    """Plays one dialogue in one encoding."""

    def __init__(self, dialogue, server, region, content_type):
        self.dialogue, self.server, self.content_type = dialogue, server, content_type
        self.service = service_of(dialogue.file)
        self.client = server.client(region=region, target=self.service.get("target"), service=self.service["sign"])
        self.variables = {"region": region, "account": headrace.ACCOUNT, "now": str(int(time.time())), "crlf": "\r\n"}

    def prepare(self, what, value):
        """What a directive between two exchanges asks for."""
        if what == "region":
            self.client.region = self.variables["region"] = value
        elif what == "key":
            known = {"$root": f"{headrace.KEY_ID} {headrace.SECRET}"}
            if value in USERS:
                known[value] = user_key(self.server, value)
            self.client.key_id, self.client.secret = (known.get(value) or substitute(value, self.variables)).split()
        elif what == "bucket":
            make_bucket(self.server, substitute(value, self.variables))
        elif what == "role":
            make_role(self.server, *value.split())
        elif self.dialogue.server is None:
            raise WireError(f"'! {what}' needs a server of its own: '! server='")
        elif what == "clock":
            self.server.advance_clock(value)
        elif what == "disk":
            {"broken": self.server.break_disk, "full": self.server.fill_disk, "free": self.server.free_disk}[value]()
        elif what == "damage":
            self.damage(*value.split())
        else:
            self.restart(what)

    def damage(self, what, text=None):
        if what == "rows":
            self.server.damage_rows(text)
        elif what == "journal":
            self.server.damage_journal()
        else:
            self.server.damage_sealed()

    def restart(self, how):
        self.client.close()
        if how == "kill":
            self.server.kill()
        else:
            self.server.stop()
        self.server.start()

    def signed_for(self, operation):
        """The service in the signature: the dialogue's, or that of another one's whole target."""
        target = operation.rpartition(".")[0]
        return (target and service_of_target(target)) or self.client.service

    def request(self, exchange):
        if self.content_type == REST_TYPE:
            return self.rest_request(exchange)
        method, path, signed, dropped, messages = "POST", "/", True, set(), None
        headers = {"Host": f"127.0.0.1:{self.server.port}", "Content-Type": self.content_type}
        is_form = self.content_type == FORM_TYPE
        if exchange.operation != "-" and self.content_type == RPC_TYPE:
            path = f"/service/{self.client.target}/operation/{exchange.operation}"
            headers["smithy-protocol"] = "rpc-v2-cbor"
        elif exchange.operation != "-" and not is_form:
            whole = "." in exchange.operation
            prefix = "" if whole else f"{self.client.target}."
            headers["X-Amz-Target"] = prefix + substitute(exchange.operation, self.variables)
        for directive in exchange.directives:
            word, _, value = directive.partition(" ")
            value = substitute(value, self.variables)
            if word == "method":
                method = value
            elif word == "path":
                path = value
            elif word == "unsigned":
                signed = False
            elif word == "events":
                messages = int(value)
            elif word == "type":
                headers["Content-Type"] = value
            else:
                name, _, content = value.partition(":")
                known = next((h for h in headers if h.lower() == name.lower()), name)
                headers.pop(known, None)
                if content.strip():
                    headers[name] = content.strip()
                else:
                    dropped.add(name.lower())
        text = substitute(exchange.body, self.variables)
        body = (encode_form(exchange.operation, self.service["version"], text) if is_form
                else encode_body(text, headers.get("Content-Type")))
        if signed:
            place, _, query = path.partition("?")
            headers = sigv4.sign(self.client.key_id, self.client.secret, self.client.region,
                                 self.signed_for(exchange.operation), method, place, headers, body, query=query)
        headers = {n: v for n, v in headers.items() if n.lower() not in dropped}
        if messages is not None:
            return self.read_messages(method, path, headers, body, messages)
        return self.client.send(method, path, headers, body)

    def read_messages(self, method, path, headers, body, count):
        """As send(), for a stream of which only the first messages are read."""
        connection, reply = self.client.stream(method, path, headers, body)
        raw, data = b"", b"first"
        if reply.status != 200:
            raw, data = reply.read(), b""
        while data and len(eventstream.split(raw)[0]) < count:
            data = reply.read1(65536)
            raw += data
        connection.close()
        return reply.status, reply.headers, raw

    def prepare_elsewhere(self, exchange):
        """`> Target.Operation BODY` in a dialogue of REST: what another service, in JSON, has."""
        body = substitute(exchange.body, self.variables).encode()
        headers = {"Host": f"127.0.0.1:{self.server.port}", "Content-Type": headrace.JSON_TYPE,
                   "X-Amz-Target": exchange.operation}
        headers = sigv4.sign(self.client.key_id, self.client.secret, self.client.region,
                             self.signed_for(exchange.operation), "POST", "/", headers, body)
        return self.client.send("POST", "/", headers, body)

    def rest_request(self, exchange):
        """`> METHOD /path?query BODY`; what is signed are all headers."""
        if "." in exchange.operation:
            return self.prepare_elsewhere(exchange)
        path, _, body = substitute(exchange.body, self.variables).partition(" ")
        body, signed = body.encode(), True
        headers = {"Host": f"127.0.0.1:{self.server.port}",
                   "x-amz-content-sha256": hashlib.sha256(body).hexdigest()}
        for directive in exchange.directives:
            word, _, value = directive.partition(" ")
            name, _, content = substitute(value, self.variables).partition(":")
            if word == "unsigned":
                signed = False
            elif word == "header":
                headers[name] = content.strip()
            else:
                raise WireError(f"'{word}' is none of REST's directives")
        if signed:
            place, _, query = path.partition("?")
            headers = sigv4.sign(self.client.key_id, self.client.secret, self.client.region, self.client.service,
                                 exchange.operation, place, headers, body, query=query)
        return self.client.send(exchange.operation, path, headers, body)

    def mismatch(self, exchange, status, headers, raw):
        """What is wrong with this answer, or None; captures variables if nothing is."""
        text = decode_body(raw, headers.get("Content-Type", ""))
        if self.content_type == FORM_TYPE:
            text = inside_frame(text, exchange.operation, self.service["xmlns"], status)
        is_json = self.content_type != REST_TYPE or "." in exchange.operation
        if not is_json:
            text = without_ids(text)
        wanted = pattern_of(exchange.answer, self.variables, is_json=is_json)
        match = wanted.fullmatch(text)
        captured = match.groupdict() if match else {}
        if status != exchange.status or match is None:
            return f"expected  {exchange.status} {exchange.answer}\ngot       {status} {text[:4000]}"
        for name, value in exchange.headers:
            got = headers.get(name)
            if got is None or not pattern_of(value, self.variables, is_json=False).fullmatch(got):
                return f"expected the header  {name}: {value}\ngot                  {got}"
        self.variables.update(captured)
        return None

    def play(self):
        for exchange in self.dialogue.exchanges:
            for what, value in exchange.before:
                self.prepare(what, value)
            end = time.monotonic() + RETRY_SECONDS_MAX
            while True:
                status, headers, raw = self.request(exchange)
                wrong = self.mismatch(exchange, status, headers, raw)
                if wrong is None:
                    break
                if not exchange.repeat or time.monotonic() > end:
                    where = f"{os.path.relpath(self.dialogue.file)}:{exchange.number}"
                    raise AssertionError(f"{where}: {exchange.operation}\n{wrong}")
                time.sleep(RETRY_PAUSE_SECONDS)


def asks_for(dialogue, *directive):
    """Whether one of its directives begins so."""
    n = len(directive)
    return any(before[:n] == directive for exchange in dialogue.exchanges for before in exchange.before)


def play(dialogue, program, shared, region, content_type):
    """The promise of one dialogue; AssertionError if it was not kept."""
    if dialogue.server is None:
        player = Player(dialogue, shared, region, content_type)
        try:
            return player.play()
        finally:
            player.client.close()
    arguments = shlex.split(dialogue.server)
    limits = None if "--limits" in arguments else "off"
    profile = "dev" if asks_for(dialogue, "clock") else None  # no other lets it move the clock
    small_mib = SMALL_DISK_MIB if asks_for(dialogue, "disk", "full") else 0
    server = headrace.Server(program, *arguments, limits=limits, profile=profile, small_disk_mib=small_mib)
    if server.before is None:
        server.remove()
        tap.skip("nothing can be mounted here")
    with server:
        player = Player(dialogue, server, region, content_type)
        player.play()
        player.client.close()


def run_one(report, name, function):
    """As tap.run, but a failed comparison shows itself without a Python trace."""
    try:
        function()
    except tap.Skipped as reason:
        report.skipped(name, reason)
    except AssertionError as error:
        report.not_ok(name, error)
    except WireError as error:
        report.not_ok(name, f"the file is wrong: {error}")
    except Exception as error:  # a broken connection, a reply that is no CBOR: this dialogue's failure
        report.not_ok(name, f"{type(error).__name__}: {error}")
    else:
        report.ok(name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--only", default="")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    files = options.files or sorted(glob.glob(os.path.join(headrace.ROOT, "src/svc/*/*.wire")))
    report, number = tap.Tap(), 0
    with headrace.Server(options.program) as shared:
        for path in files:
            try:
                dialogues = parse_file(path)
            except WireError as error:
                report.not_ok(f"{os.path.relpath(path)} can be read", error)
                continue
            room = os.path.basename(os.path.dirname(os.path.abspath(path)))
            for dialogue in dialogues:
                if options.only not in dialogue.title:
                    continue
                for kind, content_type in dialogue.kinds(service_of(path)["protocol"]):
                    number += 1
                    region = f"us-wire-{number}"
                    run_one(report, f"{room}, {kind}: {dialogue.title}",
                            lambda d=dialogue, r=region, t=content_type: play(d, options.program, shared,
                                                                              r, t))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
