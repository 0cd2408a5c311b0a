# SPDX-License-Identifier: Apache-2.0
"""A proxy for one TCP server, that cuts connections when a test wants it."""
import select
import socket
import threading


class Proxy:
    """decide(connection, to_server, data) says what happens to bytes: "pass", "cut" (they are lost and the
    connection ends), or "pass-cut" (they pass, and then it ends)."""

    def __init__(self, port, decide):
        self.to, self.decide = port, decide
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

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
            server = socket.create_connection(("127.0.0.1", self.to), 10)
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
                if verdict != "cut":
                    (server if one is client else client).sendall(data)
            except OSError:
                return False
            if verdict != "pass":
                return False
        return bool(readable)

    def close(self):
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
