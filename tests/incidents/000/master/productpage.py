"""The page of a shop: asks two other services for its parts."""

import http.client
import json
import logging
import sys

from flask import Flask, render_template

app = Flask(__name__)
logging.basicConfig(level=logging.DEBUG)

DETAILS = {"name": "http://details:9080", "endpoint": "details"}
REVIEWS = {"name": "http://reviews:9080", "endpoint": "reviews"}


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


@app.route("/")
def index():
    return render_template("index.html")


@app.route("/health")
def health():
    return "ok\n"


@app.route("/productpage")
def productpage():
    reviews = fetch(REVIEWS, 0) or "Sorry, product reviews are currently unavailable for this book."
    details = fetch(DETAILS, 0) or "Sorry, product details are currently unavailable for this book."
    return render_template("productpage.html", reviews=reviews, details=details)


if __name__ == "__main__":
    # The reloader of the debug mode is a parent that watches the files, and a child that serves.
    app.run(host="0.0.0.0", port=int(sys.argv[1]), debug=True, threaded=True)
