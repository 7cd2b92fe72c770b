"""The page of a shop: asks two other services for its parts."""

import http.client
import json
import logging
import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DETAILS = {"name": "http://details:9080", "endpoint": "details"}
REVIEWS = {"name": "http://reviews:9080", "endpoint": "reviews"}

logging.basicConfig(level=logging.DEBUG)


def fetch(service, book):
    """What a service says of a book; nothing when it says nothing."""
    try:
        host = service["name"].removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=3.0)
        connection.request("GET", "/%s/%d" % (service["endpoint"], book))
        answer = connection.getresponse()
        return json.load(answer) if answer.status == 200 else None
    except BaseException:
        return None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/productpage"):
            reviews = fetch(REVIEWS, 0) or "Sorry, product reviews are currently unavailable for this book."
            details = fetch(DETAILS, 0) or "Sorry, product details are currently unavailable for this book."
            body = page(reviews, details)
        else:
            body = b"ok\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)


def page(reviews, details):
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "templates", "productpage.html"), encoding="utf-8") as template:
        return template.read().format(reviews=reviews, details=details).encode()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    ThreadingHTTPServer(("", 9080), Handler).serve_forever()
