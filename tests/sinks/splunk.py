# SPDX-License-Identifier: Apache-2.0
"""An HTTP Event Collector with indexer acknowledgement: it refuses what Splunk refuses. It can be killed, and comes back
on its port without what it had not indexed."""
import json
import threading
import uuid

import headrace
from vendors import Life

TOKEN = "11111111-2222-3333-4444-555555555555"


class Collector:
    """Data counts when its acknowledgement was asked for and given; `lose` acknowledgements never come."""

    def __init__(self, lose=0, port=0):
        self.lose, self.lock = lose, threading.Lock()
        self.next, self.waiting, self.indexed, self.asked = 0, {}, [], {}
        self.life = Life(self, port or headrace.free_port())
        self.port = self.life.server_address[1]

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
            number, self.next = self.next, self.next + 1
            self.waiting[number] = (channel, body)
            return 200, {"text": "Success", "code": 0, "ackId": number}

    def acknowledge(self, channel, number):
        """The second question is answered with yes."""
        known = self.waiting.get(number)
        self.asked[number] = self.asked.get(number, 0) + 1
        if known is None or known[0] != channel or number < self.lose or self.asked[number] < 2:
            return False
        if known[1] is not None:
            self.indexed.append(known[1])
        self.waiting[number] = (channel, None)  # a yes that was lost on the way is said again
        return True

    def kill(self):
        self.life.die()
        with self.lock:
            self.waiting.clear()

    def revive(self):
        self.life = Life(self, self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.life.die()
