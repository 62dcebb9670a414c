# SPDX-License-Identifier: Apache-2.0
"""A hub of models and data sets on loopback, for tests: it can misbehave.

Usage: server.py MODEL_DIR [FILES_DIR]

MODEL_DIR is served as the model quantd/olmoe-demo; FILES_DIR is laid out by URL path and holds the
public data sets. The first line of output is "PORT CDN_PORT": the hub is on 127.0.0.1, and large
files are redirected to a second host, 127.0.0.2. It ends when its standard input does.

POST /_plan takes a list of rules, which replaces the last one and empties the log:
    {"match": part of a path, "host": "hub" or "cdn", "method": "GET" or "HEAD", "times": N,
     "skip": N, "do": action, ...}
A rule applies to requests that fit, skips the first ones, and is used up after so many times.
Actions: cut (after "bytes"), stall (after "bytes"), slow ("rate" bytes a second), whole (200 to a
Range), status ("status", "headers"), loop, longer, shorter, corrupt, gzip, headers ("headers"),
siblings ("names"), json ("body"), bytes ("body", base64: instead of any file).
GET /_log gives what was asked: [{host, method, path, range, authorization, bytes}].
"""
import base64
import gzip
import hashlib
import json
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

MODEL = "quantd/olmoe-demo"
LARGE = (".safetensors", ".zip", ".gz")
BLOCK = 64 << 10
STALL_SECONDS = 30


class File:
    """A file of a repository, as the hub knows it."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.large = path.endswith(LARGE)
        if self.large:
            self.etag = hashlib.sha256(self.data).hexdigest()
        else:
            self.etag = hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()


class Bytes:
    """A file of no repository."""

    def __init__(self, data):
        self.data, self.etag = data, "none"


class Hub:
    """What the two hosts share."""

    def __init__(self, model_dir, files_dir):
        self.lock = threading.Lock()
        self.rules, self.log = [], []
        self.files_dir = files_dir
        self.model = {name: File(os.path.join(model_dir, name))
                      for name in sorted(os.listdir(model_dir)) if not name.startswith(".")}
        self.commit = hashlib.sha1("".join(f.etag for f in self.model.values()).encode()).hexdigest()
        self.blobs = {f.etag: f for f in self.model.values()}
        self.cdn = None

    def raw(self, path):
        """A file below FILES_DIR, or None."""
        parts = path.split("/")
        if not self.files_dir or ".." in parts or "" in parts:
            return None
        full = os.path.join(self.files_dir, *parts)
        if not os.path.isfile(full):
            return None
        file = File(full)
        self.blobs[file.etag] = file
        return file

    def find(self, path):
        """(file, is in a repository) that /resolve/ means."""
        match = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not match:
            return self.raw(path[1:]), False
        dataset, name, revision, file = match.groups()
        if revision not in ("main", "v1", self.commit):
            return None, True
        if dataset:
            return self.raw(f"datasets/{name}/resolve/main/{file}"), True
        return (self.model.get(file) if name == MODEL else None), True

    def take_rule(self, host, method, path):
        with self.lock:
            for rule in self.rules:
                if (rule.get("match", "") in path and rule.get("host", host) == host
                        and rule.get("method", method) == method and rule.get("times", 1 << 30) > 0):
                    if rule.get("skip", 0) > 0:
                        rule["skip"] -= 1
                        continue
                    rule["times"] = rule.get("times", 1 << 30) - 1
                    return rule
        return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = host = None

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        size = int(self.headers.get("Content-Length", 0))
        rules = json.loads(self.rfile.read(size))
        with self.hub.lock:
            self.hub.rules, self.hub.log[:] = rules, []
        self.send(200, {}, b"{}")

    def answer(self):
        path = unquote(urlsplit(self.path).path)
        if path == "/_log":
            with self.hub.lock:
                body = json.dumps(self.hub.log).encode()
            return self.send(200, {}, body)
        self.entry = {"host": self.host, "method": self.command, "path": path, "bytes": 0,
                      "range": self.headers.get("Range"),
                      "authorization": self.headers.get("Authorization")}
        with self.hub.lock:
            self.hub.log.append(self.entry)
        self.rule = self.hub.take_rule(self.host, self.command, path)
        action = self.rule.get("do")
        if action == "status":
            return self.send(self.rule["status"], self.rule.get("headers", {}), b"no")
        if action == "loop":
            return self.send(302, {"Location": self.path + ("" if "?" in self.path else "?again")})
        if action == "json":
            return self.send(200, {"Content-Type": "application/json"}, self.rule["body"].encode())
        if action == "bytes":
            return self.answer_blob(Bytes(base64.b64decode(self.rule["body"])))
        if self.host == "cdn":
            return self.answer_blob(self.hub.blobs.get(path.rsplit("/", 1)[-1]))
        if path.startswith("/api/models/"):
            return self.answer_model(path)
        if path.startswith("/api/resolve-cache/"):
            return self.answer_blob(self.hub.blobs.get(path.rsplit("/", 1)[-1]))
        return self.answer_file(path)

    def answer_model(self, path):
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(?:revision|tree)/(.+)", path)
        if not match or match.group(1) != MODEL:
            return self.send(404, {"X-Error-Code": "RepoNotFound"}, b"{}")
        if match.group(2) not in ("main", "v1", self.hub.commit):
            return self.send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
        if "/tree/" in path:  # as huggingface_hub asks
            body = [{"type": "file", "path": n, "size": len(f.data), "oid": f.etag}
                    for n, f in self.hub.model.items()]
            return self.send(200, {"Content-Type": "application/json"}, json.dumps(body).encode())
        names = self.rule.get("names", list(self.hub.model))
        body = {"id": MODEL, "sha": self.hub.commit, "siblings": [{"rfilename": n} for n in names]}
        return self.send(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def answer_file(self, path):
        file, in_repo = self.hub.find(path)
        if not file:
            return self.send(404, {"X-Error-Code": "EntryNotFound"}, b"no")
        if not in_repo:
            return self.answer_blob(file)
        headers = {"X-Repo-Commit": self.hub.commit, "X-Linked-Etag": f'"{file.etag}"',
                   "X-Linked-Size": str(len(file.data))}
        if file.large:
            headers["Location"] = f"http://127.0.0.2:{self.hub.cdn}/cdn/{file.etag}?signed=yes"
            return self.send(302, headers)
        headers["Location"] = f"/api/resolve-cache/{file.etag}"
        return self.send(307, headers)

    def answer_blob(self, file):
        if not file:
            return self.send(404, {}, b"no")
        data, headers, status = file.data, {"ETag": f'W/"{file.etag}"'}, 200
        if self.host == "hub":
            headers["X-Repo-Commit"] = self.hub.commit
        action = self.rule.get("do")
        if action == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if span and action != "whole":
            first, last = int(span.group(1)), min(int(span.group(2)), len(data) - 1)
            if first > last:
                return self.send(416, {}, b"")
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first:last + 1], 206
        if action == "gzip":
            data = gzip.compress(data)
            headers["Content-Encoding"] = "gzip"
        return self.send(status, headers, data)

    def send(self, status, headers, data=b""):
        rule = getattr(self, "rule", {})
        action = rule.get("do")
        length = len(data)
        if action in ("longer", "shorter"):
            length += 1000 if action == "longer" else -1
        self.send_response(status)
        if action == "headers":
            headers = {**headers, **rule["headers"]}
        headers.setdefault("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(data, rule, action)

    def send_body(self, data, rule, action):
        end = min(len(data), rule.get("bytes", 1000)) if action in ("cut", "stall") else len(data)
        for at in range(0, end, BLOCK):
            block = data[at:min(at + BLOCK, end)]
            try:
                self.wfile.write(block)
            except OSError:
                self.close_connection = True
                return
            if hasattr(self, "entry"):
                self.entry["bytes"] += len(block)
            if action == "slow":
                time.sleep(len(block) / rule["rate"])
        if action == "stall":
            time.sleep(rule.get("seconds", STALL_SECONDS))
        if action in ("cut", "stall", "longer", "shorter"):
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass


def serve(hub, host, address):
    handler = type("Handler", (Handler,), {"hub": hub, "host": host})
    server = Server((address, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main():
    hub = Hub(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    hub.cdn = serve(hub, "cdn", "127.0.0.2")
    print(serve(hub, "hub", "127.0.0.1"), hub.cdn, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
