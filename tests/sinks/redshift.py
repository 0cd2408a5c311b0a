# SPDX-License-Identifier: Apache-2.0
"""A server that speaks PostgreSQL's protocol and says it is Redshift: it takes COPY from S3 only. It can be killed, and
comes back on its port."""
import contextlib
import socket
import struct
import threading
import time

import headrace
from proxy import JOIN_SECONDS_MAX
from vendors import reset

SSL_REQUEST, CANCEL_REQUEST, PASSWORD_WANTED = 80877103, 80877102, 3
VERSION = "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2, Redshift 1.0.65000"


class Redshift:
    """answer(sql): None if the COPY succeeds, else (SQLSTATE, text)."""

    def __init__(self, answer=lambda sql: None, password="secret"):
        self.answer, self.password = answer, password
        self.asked, self.over = threading.Event(), threading.Event()  # something; there is no more of it
        self.copies, self.loaded = [], []  # what was asked for, and what was answered with success
        self.port, self.lock, self.open = headrace.free_port(), threading.Lock(), set()
        self.revive()

    def revive(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.accepting = threading.Thread(target=self._accept, args=(self.listener,), daemon=True)
        self.accepting.start()

    def kill(self):
        self.close()
        with self.lock:
            for connection in self.open:
                reset(connection)

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            try:
                if self._enter(connection, stream):
                    while self._one(connection, stream):
                        pass
            except (OSError, struct.error):
                pass
            finally:
                with self.lock:
                    self.open.discard(connection)

    @staticmethod
    def _send(connection, kind, body=b""):
        connection.sendall(kind + struct.pack(">I", len(body) + 4) + body)

    def _error(self, connection, state, text):
        fields = b"SERROR\0" + b"C" + state.encode() + b"\0M" + text.encode() + b"\0\0"
        self._send(connection, b"E", fields)

    def _enter(self, connection, stream):
        length, code = struct.unpack(">II", stream.read(8))
        if code == SSL_REQUEST:
            connection.sendall(b"N")
            length, code = struct.unpack(">II", stream.read(8))
        stream.read(length - 8)
        if code == CANCEL_REQUEST:
            return self._cancel(connection)
        self._send(connection, b"R", struct.pack(">I", PASSWORD_WANTED))
        kind, length = struct.unpack(">cI", stream.read(5))
        password = stream.read(length - 4).rstrip(b"\0").decode()
        if kind != b"p" or password != self.password:
            self._error(connection, "28000", 'password authentication failed for user "u"')
            return False
        self._send(connection, b"R", struct.pack(">I", 0))
        self._send(connection, b"Z", b"I")
        return True

    def _cancel(self, connection):
        return False

    def _one(self, connection, stream):
        kind, length = struct.unpack(">cI", stream.read(5))
        text = stream.read(length - 4)
        if kind != b"Q" or len(text) < length - 4:  # cut off
            return False
        sql = text.rstrip(b"\0").decode()
        if sql == "SELECT version()":
            self._send(connection, b"T", struct.pack(">H", 1) + b"version\0" + struct.pack(">IHIhih", 0, 0, 25, -1, -1, 0))
            self._send(connection, b"D", struct.pack(">HI", 1, len(VERSION)) + VERSION.encode())
            self._send(connection, b"C", b"SELECT\0")
        elif sql.startswith("COPY "):
            self.copies.append(sql)
            failed = self.answer(sql)
            if failed:
                self._error(connection, *failed)
            else:
                with self.lock:
                    self.loaded.append(sql)
                self._send(connection, b"C", b"COPY\0")
        else:
            self._error(connection, "42601", f"unexpected: {sql}")
        self._send(connection, b"Z", b"I")
        return True

    def close(self):
        self.over.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # who accepts there hears of it
        self.accepting.join(JOIN_SECONDS_MAX)  # before another socket may have that number
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Hung(Redshift):
    """Lets everybody in and says nothing from then on, not to who wants to end a query either."""

    def _cancel(self, connection):
        self.over.wait()
        return False

    def _one(self, connection, stream):
        if stream.read(1):
            self.asked.set()
            self.over.wait()
        return False


class Dripping(Redshift):
    """A large error, a byte now and then, to who wants to come in."""

    def _enter(self, connection, stream):
        stream.read(8)
        connection.sendall(b"N")
        connection.sendall(b"E" + struct.pack(">I", 29000))
        while not self.over.is_set():
            connection.sendall(b"S")
            time.sleep(0.02)


class Flooding(Redshift):
    """Has ever another row."""

    def _one(self, connection, stream):
        stream.read(1)
        self._send(connection, b"T", struct.pack(">H", 1) + b"version\0" + struct.pack(">IHIhih", 0, 0, 25, -1, -1, 0))
        row = b"x" * (1 << 20)
        while not self.over.is_set():
            self._send(connection, b"D", struct.pack(">HI", 1, len(row)) + row)
