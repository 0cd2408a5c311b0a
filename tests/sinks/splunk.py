# SPDX-License-Identifier: Apache-2.0
"""An HTTP Event Collector with indexer acknowledgement: it refuses what Splunk refuses."""
import http.server
import json
import threading
import uuid

TOKEN = "11111111-2222-3333-4444-555555555555"


class Collector(http.server.ThreadingHTTPServer):
    """Data counts when its acknowledgement was asked for and given; `lose` acknowledgements never come."""

    def __init__(self, lose=0, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.port, self.lose, self.lock = self.server_address[1], lose, threading.Lock()
        self.waiting, self.indexed, self.asked = {}, [], {}

    def answer(self, path, headers, body):
        if headers["Authorization"] != f"Splunk {TOKEN}":
            return 403, {"text": "Invalid token", "code": 4}
        channel = headers["X-Splunk-Request-Channel"]
        if channel is None:
            return 400, {"text": "Data channel is missing", "code": 10}
        uuid.UUID(channel)
        with self.lock:
            if path.startswith("/services/collector/ack"):
                return 200, {"acks": {str(i): self.acknowledge(channel, i) for i in json.loads(body)["acks"]}}
            if not body:
                return 400, {"text": "No data", "code": 5}
            number = len(self.waiting)
            self.waiting[number] = (channel, body)
            return 200, {"text": "Success", "code": 0, "ackId": number}

    def acknowledge(self, channel, number):
        """The second question is answered with yes."""
        known = self.waiting.get(number)
        self.asked[number] = self.asked.get(number, 0) + 1
        if known is None or known[0] != channel or number < self.lose or self.asked[number] < 2:
            return False
        self.indexed.append(known[1])
        return True

    def handle_error(self, request, client_address):
        pass  # the server under test is killed on purpose

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, reply = self.server.answer(self.path, self.headers, body)
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass
