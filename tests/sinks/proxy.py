# SPDX-License-Identifier: Apache-2.0
"""A proxy for one TCP server, that cuts, resets and stalls connections when a test wants it."""
import contextlib
import select
import socket
import struct
import threading
import time

JOIN_SECONDS_MAX = 60


class Proxy:
    """decide(connection, to_server, data) says what happens to bytes: "pass", "cut" (they are lost and the
    connection ends), "pass-cut" (they pass, and then it ends), "half" (half of them pass, and then it ends),
    "reset" (they are lost, and both ends hear of a reset), a number: they pass after so many seconds, or a
    function: half of them pass, then it is called and says what happens to the rest."""

    def __init__(self, port, decide):
        self.to, self.decide = port, decide
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            number = self.connections
            self.connections += 1
            threading.Thread(target=self._carry, args=(client, number), daemon=True).start()

    def _carry(self, client, number):
        try:
            server = socket.create_connection(("127.0.0.1", self.to), 60)
        except OSError:
            client.close()
            return
        with client, server:
            while self._pass_some(client, server, number):
                pass

    def _pass_some(self, client, server, number):
        readable, _, _ = select.select([client, server], [], [], 60)
        for one in readable:
            try:
                data = one.recv(65536)
                verdict = self.decide(number, one is client, data) if data else "cut"
                if callable(verdict):
                    (server if one is client else client).sendall(data[:len(data) // 2])
                    data, verdict = data[len(data) // 2:], verdict()
                if not isinstance(verdict, str):
                    time.sleep(verdict)
                    verdict = "pass"
                if verdict == "reset":
                    for end in (client, server):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif verdict != "cut":
                    (server if one is client else client).sendall(data[:len(data) // 2] if verdict == "half" else data)
            except OSError:
                return False
            if verdict != "pass":
                return False
        return bool(readable)

    def close(self):
        """Who accepts there hears of it, and has ended before another socket may have that number."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.accepting.join(JOIN_SECONDS_MAX)
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Gate:
    """Holds what goes to the server in the middle, when it was armed, at the first bytes that `mark` is in."""
    SECONDS_MAX = 120

    def __init__(self, mark):
        self.mark, self.lock, self.armed, self.verdict = mark, threading.Lock(), False, "pass"
        self.reached, self.opened = threading.Event(), threading.Event()

    def arm(self):
        self.reached, self.opened, self.armed = threading.Event(), threading.Event(), True

    def open(self, verdict):
        """What happens to the rest of what it holds, and to what comes later when it was not reached."""
        with self.lock:
            self.armed, self.verdict = False, verdict
        self.opened.set()

    def _hold(self):
        self.reached.set()
        self.opened.wait(self.SECONDS_MAX)
        return self.verdict

    def __call__(self, _connection, to_server, data):
        with self.lock:
            if not (self.armed and to_server and self.mark in data):
                return "pass"
            self.armed = False
        return self._hold  # when half of it has passed
