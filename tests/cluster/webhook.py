"""A mutating admission webhook that adds variables to the pods it is asked about, as those of clouds and meshes do.

It speaks HTTPS on port 8080 with the certificate of /tls, as the API server wants it.
"""

import base64
import json
import os
import signal
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIRST = {"name": "INJECTED_FIRST", "value": "before-the-others"}
LAST = [
    {"name": "INJECTED", "value": "by-the-hook"},
    {"name": "INJECTED_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    {"name": "LEVEL", "value": "debug"},
]


def operations(pod):
    for place, container in enumerate(pod["spec"]["containers"]):
        variables = [FIRST, *container.get("env", []), *LAST]
        # replaces the list where there is one
        yield {"op": "add", "path": f"/spec/containers/{place}/env", "value": variables}


def answer(review):
    request = review["request"]
    patch = json.dumps(list(operations(request["object"])))
    response = {
        "uid": request["uid"],
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(patch.encode()).decode(),
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply({"ready": True})

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.reply(answer(json.loads(self.rfile.read(length))))

    def reply(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tls/certificate.pem", "/tls/key.pem")
    server = ThreadingHTTPServer(("", 8080), Handler)
    # The handshake is the thread's: a client that says nothing keeps nobody waiting.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()
