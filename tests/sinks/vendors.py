# SPDX-License-Identifier: Apache-2.0
"""Intakes of vendors, as far as the protocol of HTTP endpoints and their own pages say what they take: each wants its
path, query and key as they were configured, and refuses all else. They can be killed, and come back on their port."""
import base64
import gzip
import http.server
import json
import re
import socket
import struct
import threading
import time
import uuid

import headrace

MIB = 1 << 20
DAY_MS = 86400_000


class Life(http.server.ThreadingHTTPServer):
    """A vendor between two deaths."""
    daemon_threads, block_on_close = True, False

    def __init__(self, vendor, port):
        self.vendor, self.lock, self.open = vendor, threading.Lock(), set()
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def process_request(self, request, client_address):
        with self.lock:
            self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self.lock:
            self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass  # connections are cut on purpose

    def die(self):
        self.shutdown()
        self.server_close()
        with self.lock:
            for connection in self.open:
                reset(connection)


def reset(connection):
    """Its other end hears of a reset, and whoever waits for it here of an end."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is over already


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) < int(self.headers["Content-Length"]):
            return  # cut off
        status, reply = self.server.vendor.answer(self.path, self.headers, body)
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Vendor:
    """`target`: path and query; `key`: what X-Amz-Firehose-Access-Key must be; `attributes`: the common ones."""
    target, key, attributes, body_max = "/", "", {}, 64 * MIB

    def __init__(self):
        self.lock, self.records, self.wrong, self.kinds = threading.Lock(), [], [], set()
        self.port = headrace.free_port()  # and comes back on it
        self.life = Life(self, self.port)

    def objection(self, path, headers):
        get = headers.get
        if path != self.target:
            return f"the target {path}"
        if get("X-Amz-Firehose-Protocol-Version") != "1.0" or get("Content-Type") != "application/json":
            return "another protocol"
        if not re.fullmatch(r"arn:aws:firehose:[a-z0-9-]+:\d{12}:deliverystream/[\w.-]+", get("X-Amz-Firehose-Source-Arn", "")):
            return "no source"
        given = json.loads(get("X-Amz-Firehose-Common-Attributes", '{"commonAttributes":{}}'))
        if given != {"commonAttributes": self.attributes}:
            return f"the attributes {given}"
        return None

    def take(self, identity, body):
        document = json.loads(body)
        if document["requestId"] != identity or uuid.UUID(identity).version != 4:
            raise ValueError("the request id")
        if not isinstance(document["timestamp"], int) or abs(document["timestamp"] - time.time() * 1000) > DAY_MS:
            raise ValueError("the timestamp")
        records = [base64.b64decode(r["data"], validate=True) for r in document["records"]]
        if not 1 <= len(records) <= 10000 or set(document) != {"requestId", "timestamp", "records"}:
            raise ValueError("the records")
        return records

    def answer(self, path, headers, body):
        identity = headers.get("X-Amz-Firehose-Request-Id", "")
        reply = {"requestId": identity, "timestamp": int(time.time() * 1000)}
        if headers.get("X-Amz-Firehose-Access-Key") != self.key:
            return 403, {**reply, "errorMessage": "The key is wrong."}
        encoding = headers.get("Content-Encoding")
        try:
            plain = gzip.decompress(body) if encoding == "gzip" else body
            if len(plain) > self.body_max:
                return 413, {**reply, "errorMessage": "It is too large."}
            why = self.objection(path, headers)
            records = self.take(identity, plain) if why is None else []
        except (ValueError, KeyError, OSError, TypeError) as error:
            why = repr(error)
        with self.lock:
            if why is not None:
                self.wrong.append(why)
                return 400, {**reply, "errorMessage": why}
            self.kinds.add(encoding)
            self.records += records
        return 200, reply

    def has(self):
        """All records, in order; those that came twice are there twice."""
        with self.lock:
            return list(self.records)

    def kill(self):
        self.life.die()

    def revive(self):
        self.life = Life(self, self.port)


class Datadog(Vendor):
    target, key = "/v1/input", "0123456789abcdef" * 2
    attributes = {"env": "test", "service": "clicks"}
    body_max = 5 * MIB  # "maximum content size per payload"


class NewRelic(Vendor):
    target, key = "/firehose/v1", "0123456789abcdef" * 2 + "FFFFNRAL"
    body_max = MIB + 400_000  # a mebibyte of records, in base64


class MongoDB(Vendor):
    """A webhook, whose secret stands in the query."""
    target = "/api/client/v2.0/app/clicks-abcde/service/firehose/incoming_webhook/take?secret=a%20b&x="
    key = "a key"
