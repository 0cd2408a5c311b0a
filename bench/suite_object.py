# SPDX-License-Identifier: Apache-2.0
"""B19: objects, beside the same files that nginx serves and takes."""
import os
import urllib.request

import fetch
import headrace
import peers
import sigv4
from suite import Load, benchmark

BUCKET = "bench"
SIZES = (("1 KB", 1 << 10, 32), ("100 KB", 100 << 10, 16), ("10 MB", 10 << 20, 4), ("1 GB", 1 << 30, 2))
PUT_SIZES = SIZES[:3]
TARGET = ">=0.8"


class NginxFiles(peers.Nginx):
    """Files from a folder, by sendfile; PUT writes one aside and renames it, and does not wait for the disk."""

    name, load_name = "nginx-files", "object-get"

    def start(self):
        configuration = os.path.join(self.folder, "nginx.conf")
        self.root = os.path.join(self.folder, "root")
        os.makedirs(os.path.join(self.root, BUCKET), exist_ok=True)
        user = "user root;" if os.geteuid() == 0 else ""
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(f"""
daemon off; {user} worker_processes auto; pid {self.folder}/pid; error_log {self.folder}/log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_max_body_size 0; client_body_temp_path {self.root}/.body; proxy_temp_path {self.folder}/proxy;
  fastcgi_temp_path {self.folder}/fcgi; uwsgi_temp_path {self.folder}/uwsgi; scgi_temp_path {self.folder}/scgi;
  open_file_cache max=1000; default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    root {self.root};
    location / {{ dav_methods PUT; create_full_put_path on; }}
  }}
}}
""")
        self.spawn([peers.need("nginx"), "-c", configuration, "-p", self.folder, "-e", os.path.join(self.folder, "errors")])

    def store(self, name, size):
        with open(os.path.join(self.root, BUCKET, name), "wb") as file:
            write_all(file, size)


class Minio(peers.Peer):
    """Another server of S3, built from its sources, which takes ten minutes: only when it is asked for."""

    name, load_name = "minio", "object-get"

    @classmethod
    def install(cls):
        fetch.minio()

    def start(self):
        data = os.path.join(self.folder, "data")
        os.makedirs(data, exist_ok=True)
        self.spawn([fetch.minio(), "server", "--quiet", "--address", f"127.0.0.1:{self.port}", data],
                   {"MINIO_ROOT_USER": headrace.KEY_ID, "MINIO_ROOT_PASSWORD": headrace.SECRET})


peers.PEERS[Minio.name] = Minio


def write_all(file, size):
    block = os.urandom(1 << 20)
    for at in range(0, size, len(block)):
        file.write(block[:min(len(block), size - at)])


def store(b, server, name, size):
    """An object for the readers, by the same generator that measures."""
    Load("object-put", server.port, f"{BUCKET}/{name}", environment=server.environment, clients=1, records=1, bytes=size,
         batches=1, seconds=600).end()
    return f"{BUCKET}/{name}/0-0"


@benchmark("B19", "objects: GET and PUT, beside nginx with the same files", disk=True)
def objects(b):
    ours = b.headrace()
    create_bucket(ours)
    nginx = b.start(NginxFiles(b.folder))
    for label, size, clients in SIZES:
        place = store(b, ours, f"get{size}", size)
        nginx.store(f"get{size}", size)
        b.compare(f"GET of {label}, {clients} clients",
                  lambda: move(b, ours, "object-get", place, size, clients),
                  lambda: move(b, nginx, "object-get", f"{BUCKET}/get{size}", size, clients), "mb_s", TARGET)
        b.profile(f"GET of {label}", ours, make=lambda: move(b, ours, "object-get", place, size, clients))
    for label, size, clients in PUT_SIZES:
        b.compare(f"PUT of {label}, {clients} clients",
                  lambda: move(b, ours, "object-put", f"{BUCKET}/put{size}", size, clients),
                  lambda: move(b, nginx, "object-put", f"{BUCKET}/put{size}", size, clients), "mb_s", TARGET)
        b.profile(f"PUT of {label}", ours, make=lambda: move(b, ours, "object-put", f"{BUCKET}/put{size}", size, clients))
    if b.options.peers is not None and Minio.name in b.options.peers:
        beside_minio(b, ours)
    b.note("nginx does not wait for the disk when it has taken a file, and makes no checksums; Headrace does both")


def beside_minio(b, ours):
    for other in b.others(Minio.name):
        create_bucket(other)
        for label, size, clients in PUT_SIZES:
            places = {server: store(b, server, f"both{size}", size) for server in (ours, other)}
            b.compare(f"GET of {label}, {clients} clients, to MinIO",
                      lambda: move(b, ours, "object-get", places[ours], size, clients),
                      lambda: move(b, other, "object-get", places[other], size, clients), "mb_s")
            b.compare(f"PUT of {label}, {clients} clients, to MinIO",
                      lambda: move(b, ours, "object-put", f"{BUCKET}/put{size}", size, clients),
                      lambda: move(b, other, "object-put", f"{BUCKET}/put{size}", size, clients), "mb_s")


def create_bucket(server):
    host, digest = f"127.0.0.1:{server.port}", sigv4.sha256_hex(b"")
    headers = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "s3", "PUT", f"/{BUCKET}",
                         {"Host": host, "X-Amz-Content-Sha256": digest}, b"")
    urllib.request.urlopen(urllib.request.Request(f"http://{host}/{BUCKET}", method="PUT", headers=headers), timeout=60).read()


def move(b, server, load_name, place, size, clients):
    return b.run(server, 1, size, clients=clients, place=place, load_name=load_name)
