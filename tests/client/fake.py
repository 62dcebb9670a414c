# SPDX-License-Identifier: Apache-2.0
"""A quantd that is made up: what it answers, and when, is the test's to say."""
import hashlib
import http.server
import json
import queue
import socket
import threading
import time
import urllib.parse

NOW = time.time()
HOSTILE = "evil \x1b]0;owned\x07\x1b[2J漢字"


def stamp(seconds_ago, now=NOW):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now - seconds_ago))


def job(number, **fields):
    """A job object; params are merged, all else is replaced."""
    made = {
        "id": number, "kind": "quantize", "status": "succeeded", "owner": "user", "name": "",
        "labels": {}, "private": False, "priority": 0, "attempt": 1, "queue_position": None,
        "model": {"parameters": 1000000, "layers": 3, "hidden_size": 256, "intermediate_size": 128,
                  "fingerprint": "f"},
        "created_at": stamp(7500), "started_at": stamp(7400), "finished_at": stamp(7328),
        "progress": None, "result": None, "artifacts": [], "error": None}
    params = {"model": "org/olmoe", "dataset": "wikitext2", "wbits": 4, "groupsize": 128,
              "nsamples": 128, "seqlen": 2048, "seed": 0, "batch": None, "act_order": True,
              "sym": False, "percdamp": 0.01, "eval": ["wikitext2"], "format": "gptq",
              "method": "gptq", "grid": "minmax"}
    params.update(fields.pop("params", {}))
    return {**made, **fields, "params": params}


def result(value, baseline, **fields):
    return {"perplexity": {"wikitext2": {"value": value, "stderr": 0.031, "tokens": 340_000,
                                         "windows": 166, "sha256": "w"}},
            "baseline": {"wikitext2": baseline}, "size_bytes": 300_000, "bits_per_weight": 4.25,
            "seconds": {"load": 1.5, "quantize": 61.2, "evaluate": 9.3, "total": 72.0}, **fields}


def layer(number, *matrices):
    """(name, error, tokens, method) of each matrix."""
    return {"layer": number, "seconds": 20.4, "matrices": [
        {"name": f"model.layers.{number}.{name}", "error": error, "tokens": tokens,
         "method": method, "damping": 0.01,
         **({"reason": "too few calibration tokens reached this expert"} if method == "rtn" else {})}
        for name, error, tokens, method in matrices]}


LAYERS = [layer(0, ("mlp.experts.1.up_proj", 0.25, 4000, "gptq"),
                ("mlp.experts.2.down_proj", 0.5, 100, "gptq")),
          layer(1, ("mlp.experts.63.gate_proj", 0.75, 3, "rtn"))]

DEVICE = {"id": "cuda:0", "kind": "cuda", "name": "NVIDIA H200", "library": "cuBLAS 13.0.2",
          "memory_total": 150_000_000_000, "memory_free": 120_000_000_000, "job": None}
STATUS = {
    "object": "status", "version": "0.1.0",
    "state": {"path": "/var/lib/quantd", "bytes_free": 800_000_000_000,
              "bytes_total": 1_000_000_000_000, "floor": 1_000_000_000},
    "cache": {"path": "/var/cache/quantd/hub", "bytes_free": 800_000_000_000,
              "bytes_total": 1_000_000_000_000, "limit": 0},
    "states": {"path": "/var/cache/quantd/states", "files": 3, "bytes": 2_400_000_000,
               "limit": 8_000_000_000},
    "roots": [{"kind": "model", "path": "/srv/models", "readable": True}],
    "hub": {"endpoint": "https://huggingface.co", "offline": False, "answered_at": stamp(7300),
            "failed_at": None}}


ESTIMATE = {
    "object": "estimate", "kind": "quantize", "parameters": 1_000_000, "seqlen": 2048, "batch": 8,
    "device": {k: DEVICE[k] for k in ("id", "name", "memory_total", "memory_free")},
    "memory": {"device": 9_876_000_000, "host": 1_234_000_000}, "fits": True,
    "windows": {"wikitext2": 166, "ptb": None}, "size_bytes": 3_950_000_000,
    "bits_per_weight": 4.25, "disk": {"needed": 4_000_000_000, "free": 800_000_000_000},
    "seconds": 613.0, "history_jobs": 3, "same_model": True, "reasons": {}}


def fetched(name, **fields):
    return {"id": name, "object": "model", "source": "hub", "root": None, "bytes": 13_800_000_000,
            "revisions": [{"commit": "0" * 40, "complete": True}], "last_used_at": stamp(7300),
            "pinned": False, **fields}


MODELS = {
    "object": "list", "has_more": False, "unreadable": 1, "data": [
        fetched("allenai/olmoe", pinned=True), fetched("allenai/other", last_used_at=None),
        fetched("org/half", revisions=[], bytes=5_000_000),
        {"id": "olmoe-demo", "object": "model", "source": "root", "root": "/srv/models",
         "revisions": [], "bytes": 15_000_000, "last_used_at": None, "pinned": False},
        {"id": "a/b/" + HOSTILE, "object": "model", "source": "root", "root": "/srv/models",
         "revisions": [], "bytes": 864, "last_used_at": None, "pinned": False}]}


def dataset(name, calibration, evaluation, root=None, size=None):
    return {"id": name, "object": "dataset", "source": "root" if root else "hub", "root": root,
            "bytes": size, "here": {"calibration": calibration, "evaluation": evaluation}}


DATASETS = {
    "object": "list", "has_more": True, "unreadable": 0, "data": [
        dataset("wikitext2", True, True), dataset("ptb", False, True), dataset("c4", True, False),
        dataset("c4-new", False, False), dataset("file:a.txt", True, True, "/srv/texts", 864_000),
        dataset("file:b/c.jsonl", True, True, "/srv/texts", 12)]}


def member(number, status="succeeded", size=None, loss=0.0, **values):
    """A job of a group; by default one that has ended."""
    ended = status == "succeeded"
    return {
        "id": number, "name": "", "kind": "quantize", "status": status, "values": values,
        "bits_per_weight": 4.25 if ended else None, "size_bytes": size, "pareto": False,
        "perplexity": {"wikitext2": {"value": 7.25 + loss}} if ended else {},
        "baseline": {"wikitext2": 7.25} if ended else {},
        "difference": {"wikitext2": {"kl_mean": loss}} if ended else {},
        "seconds": 72.0 if ended else None, "progress": None, "error": None,
        "url": f"/v1/jobs/{number}"}


def group(*members, name="", varies=("wbits", "groupsize"), **fields):
    statuses = [each["status"] for each in members]
    counts = {name: statuses.count(name) for name in (
        "queued", "running", "cancelling", "succeeded", "failed", "cancelled")}
    ended = counts["succeeded"] + counts["failed"] + counts["cancelled"] == len(members)
    status = next(name for name in ("failed", "cancelled", "succeeded") if counts[name] or
                  name == "succeeded") if ended else "running"
    return {
        "object": "group", "id": 3, "name": name, "owner": "user", "private": False,
        "model": "org/olmoe", "counts": counts, "varies": list(varies), "created_at": stamp(7500),
        "status": status, "finished_at": None, "seconds": 144.0,
        "members": list(members), "urls": {}, **fields}


def path_query(path):
    return path.partition("?")[2]


def listing(data):
    return {"object": "list", "data": data, "has_more": False}


def problem(status, code, detail, hint=""):
    return status, {"status": status, "code": code, "title": code, "detail": detail, "hint": hint,
                    "request_id": "0-0"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        pass

    def send_json(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status < 400 else
                         "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, number):
        """The job, the events that there are, then each as the test pushes it."""
        fake = self.server.fake
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        after = int(self.headers.get("Last-Event-ID", "0"))
        self.event("job", fake.jobs[number])
        mailbox = queue.Queue()
        with fake.lock:
            past = list(fake.events)
            fake.mailboxes.append(mailbox)
        for event in past:
            if event["seq"] > after:
                self.event(event["type"], event, event["seq"])
        while (event := mailbox.get()) is not None:
            self.event(event["type"], event, event["seq"])

    def event(self, kind, data, seq=None):
        head = f"id: {seq}\n" if seq else ""
        self.wfile.write(f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def page(self):
        """Jobs as quantd lists them: filtered, sorted and cut by the query."""
        query = dict(urllib.parse.parse_qsl(path_query(self.path)))
        jobs = [job for _, job in sorted(self.server.fake.jobs.items(), reverse=True)]
        label = query.get("label", "").split("=")
        jobs = [job for job in jobs if label == [""] or job["labels"].get(label[0]) == label[1]]
        for name, values in (("status", "status"), ("owner", "owner")):
            if name in query:
                jobs = [job for job in jobs if job[values] in query[name].split(",")]
        if "method" in query:
            jobs = [job for job in jobs if job["params"]["method"] == query["method"]]
        if query.get("sort") == "perplexity":
            jobs.sort(key=lambda job: next((entry["value"] for entry in (
                (job["result"] or {}).get("perplexity") or {}).values()), float("inf")))
        if "after" in query:
            ids = [job["id"] for job in jobs]
            jobs = jobs[ids.index(int(query["after"])) + 1:]
        limit = int(query.get("limit", 100))
        self.server.fake.listed.append(limit)
        return {**listing(jobs[:limit]), "has_more": len(jobs) > limit}

    def artifact(self, files, name=None):
        """The list of a job's files, or the bytes of one from the offset that is asked for."""
        if name is None:
            self.send_json(200, listing([
                {"name": each, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for each, data in files.items()]))
            return
        start = int(self.headers.get("Range", "bytes=0-")[len("bytes="):].rstrip("-"))
        body = files[name][start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        """Jobs are taken in as the test has them under number 1; one that is cancelled stops."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.fake.posted.append(json.loads(body or "null"))
        self.server.fake.keys.append(self.headers.get("Idempotency-Key"))
        parts = self.path.strip("/").split("/")
        if parts[1] == "jobs" and parts[3:] in (["hold"], ["release"], ["priority"]):
            job = self.server.fake.jobs[int(parts[2])]
            job.update(json.loads(body) if body else {"held": parts[3] == "hold"})
            job["queue_position"] = None if job.get("held") else 3
            self.send_json(200, job)
        elif parts[3:] == ["cancel"]:
            self.send_json(202, {**self.server.fake.jobs[int(parts[2])], "status": "cancelling"})
        elif self.path == "/v1/jobs" and self.server.fake.refusals:
            self.send_json(*self.server.fake.refusals.pop(0))
        elif self.path in self.server.fake.answers:
            self.server.fake.asked = self.server.fake.posted.pop()
            self.send_json(*self.server.fake.answers[self.path])
        else:
            self.send_json(202, self.server.fake.jobs[1])

    def do_GET(self):
        fake, path = self.server.fake, self.path.split("?")[0]
        parts = path.strip("/").split("/")
        try:
            if self.path in fake.answers:
                self.send_json(*fake.answers[self.path])
            elif path in fake.answers:
                self.send_json(*fake.answers[path])
            elif path == "/v1/jobs" and "status=succeeded&" in self.path:
                self.send_json(200, listing(fake.past))
            elif path == "/v1/jobs":
                self.send_json(200, self.page())
            elif parts[:2] == ["v1", "jobs"] and int(parts[2]) in fake.jobs:
                number = int(parts[2])
                if parts[3:] == ["events"] and "json" in self.headers.get("Accept", ""):
                    query = dict(urllib.parse.parse_qsl(path_query(self.path)))
                    later = [event for event in fake.events if event["seq"] > int(query["after"])]
                    limit = min(int(query["limit"]), fake.page)
                    self.send_json(200, {**listing(later[:limit]), "has_more": len(later) > limit})
                elif parts[3:] == ["events"]:
                    self.stream(number)
                elif parts[3:4] == ["artifacts"]:
                    self.artifact(fake.files[number], *parts[4:])
                elif parts[3:] == ["layers"]:
                    self.send_json(200, listing(fake.layers.get(number, [])))
                else:
                    self.send_json(200, fake.jobs[number])
            elif parts[:2] == ["v1", "jobs"]:
                self.send_json(*problem(404, "job_not_found", f"no job '{parts[2]}'", "list the jobs"))
            else:
                self.send_json(*problem(404, "not_found", f"nothing at '{path}'"))
        except (BrokenPipeError, ConnectionResetError):
            pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass

    def process_request(self, request, client_address):
        self.requests.append(request)
        super().process_request(request, client_address)


class Fake:
    """Serves on a port of loopback until stop(); start() again takes the same port."""

    def __init__(self):
        self.jobs, self.layers, self.files = {}, {}, {}
        self.posted, self.keys, self.past, self.listed, self.page = [], [], [], [], 500
        self.refusals = []  # of submissions, one each
        self.answers = {
            "/v1/version": (200, {"version": "0.1.0"}),
            "/v1/whoami": (200, {"owner": "user", "role": "submit", "auth": "peer"}),
            "/readyz": (200, {"status": "ok"}), "/v1/devices": (200, listing([DEVICE])),
            "/v1/estimate": (200, ESTIMATE), "/v1/status": (200, STATUS),
            "/v1/models": (200, MODELS), "/v1/datasets": (200, DATASETS)}
        self.events, self.mailboxes, self.lock = [], [], threading.Lock()
        self.port = 0
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.fake, self.server.requests = self, []
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.hang_up()
        for request in self.server.requests:  # those that are kept open
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def hang_up(self):
        """Ends all streams."""
        with self.lock:
            for mailbox in self.mailboxes:
                mailbox.put(None)
            self.mailboxes.clear()

    def push(self, kind, seconds_ago=0, **data):
        with self.lock:
            event = {"seq": len(self.events) + 1, "job": 1, "type": kind, "at": stamp(seconds_ago, time.time()),
                     "data": data}
            self.events.append(event)
            for mailbox in self.mailboxes:
                mailbox.put(event)
