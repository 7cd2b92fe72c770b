"""Serves one image, the files of this container, and sends its layer over the given number of seconds.

Arguments: PORT SECONDS NAME. The image is PORT/NAME:1.
"""

import gzip
import hashlib
import io
import json
import os
import signal
import sys
import tarfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, SECONDS, NAME = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]


def pack():
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for entry in ("app", "bin", "etc/passwd", "lib", "lib64", "sbin", "tmp", "usr"):
            tar.add("/" + entry, entry)
        # A layer that the runtime has seen before is not fetched again.
        name = NAME.encode()
        unique = tarfile.TarInfo("image-name")
        unique.size = len(name)
        tar.addfile(unique, io.BytesIO(name))
    return archive.getvalue()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


plain = pack()
layer = gzip.compress(plain, compresslevel=1)
config = json.dumps({
    "architecture": "arm64" if os.uname().machine == "aarch64" else "amd64",
    "os": "linux",
    "config": {"Entrypoint": ["/usr/bin/python3.11", "-u", "/app/server.py"], "User": "1000:1000"},
    "rootfs": {"type": "layers", "diff_ids": [digest(plain)]},
}).encode()
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
manifest = json.dumps({
    "schemaVersion": 2,
    "mediaType": MANIFEST_TYPE,
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)},
    "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(layer), "size": len(layer)}],
}).encode()
CONTENT = {
    "/v2/": (b"{}", "application/json"),
    f"/v2/{NAME}/manifests/1": (manifest, MANIFEST_TYPE),
    f"/v2/{NAME}/manifests/{digest(manifest)}": (manifest, MANIFEST_TYPE),
    f"/v2/{NAME}/blobs/{digest(config)}": (config, "application/octet-stream"),
    f"/v2/{NAME}/blobs/{digest(layer)}": (layer, "application/octet-stream"),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A runtime tries TLS first and goes on without it when the answer to that is HTTP: not without a status line.
    default_request_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        content, kind = CONTENT.get(self.path.split("?")[0], (b"{}", None))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "application/json")
        self.send_header("Content-Length", str(len(content)))
        if kind == MANIFEST_TYPE:
            self.send_header("Docker-Content-Digest", digest(content))
        self.end_headers()
        if not body:
            return
        parts = 20 if content is layer else 1
        size = len(content) // parts + 1
        for start in range(0, len(content), size):
            self.wfile.write(content[start:start + size])
            if parts > 1:
                time.sleep(SECONDS / parts)


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
