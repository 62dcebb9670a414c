#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two users and an admin on one quantd: what is the first one's stays the first one's.

Usage: test_users.py QUANTD QUANTCTL SOURCE. Users have tokens over TCP; when this runs as root there
is also a real second user on the unix socket. Prints the table of what was tried, and what came of it.
"""
import hashlib
import http.client
import json
import os
import pickle
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from unix_http import UnixConnection  # noqa: E402

QUANTD, QUANTCTL, SOURCE = sys.argv[1:4]
HOME = tempfile.mkdtemp(prefix="quantd-users-")
SOCKET = HOME + "/quantd.sock"
JOB = {
    "model": "olmoe-demo", "dataset": "file:short.txt", "eval": "file:short.txt", "wbits": 4,
    "groupsize": 128, "nsamples": 4, "seqlen": 64, "private": True,
}
LONG = {**JOB, "nsamples": 4096, "seqlen": 512}
PATIENCE = 120


class Caller:
    """A caller: with a token over TCP, or as a user of the machine on the socket."""

    def __init__(self, name, token=None, uid=None):
        self.name, self.token, self.uid, self.refused = name, token, uid, []

    def ask(self, method, path, body=None, **headers):
        """Status, headers, body. Every refusal is remembered by its request id."""
        if self.uid is None:
            answer = self._ask(method, path, body, headers)
        else:
            answer = self._as_user(method, path, body, headers)
        if answer[0] in (401, 403):
            self.refused.append(answer[1]["X-Request-Id"])
        return answer

    def get(self, path):
        status, _, body = self.ask("GET", path)
        assert status == 200, (self.name, path, status, body)
        return json.loads(body)

    def _ask(self, method, path, body, headers):
        connection = self.connect()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        result = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return result

    def connect(self):
        if self.token is None:
            return UnixConnection(SOCKET, PATIENCE)
        return http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)

    def _as_user(self, *arguments):
        """_ask() in a process of that user, which has no other right."""
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(here)
                os.setgroups([])
                os.setresgid(GROUP, GROUP, GROUP)
                os.setresuid(self.uid, self.uid, self.uid)
                with os.fdopen(there, "wb") as pipe:
                    pickle.dump(self._ask(*arguments), pipe)
                status = 0
            finally:
                os._exit(status)
        os.close(there)
        with os.fdopen(here, "rb") as pipe:
            data = pipe.read()
        assert os.waitpid(child, 0)[1] == 0, "the other user could not ask"
        return pickle.loads(data)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PORT = free_port()
GROUP = pwd.getpwnam("nobody").pw_gid
ADMIN = Caller("admin, by the socket")


def command(*options):
    return [QUANTD, "--state-dir", HOME + "/state", "--cache-dir", HOME + "/cache", "--listen",
            "unix:" + SOCKET, "--device", "cpu", "--model-root", SOURCE + "/data", "--data-root",
            HOME + "/texts", *options]


class Daemon:
    """quantd on a state folder that outlives it."""

    def __init__(self, *options):
        with open(HOME + "/log", "ab") as log:
            self.process = subprocess.Popen(
                command("--listen", f"127.0.0.1:{PORT}", *options), stderr=log,
                env={**os.environ, "HF_HUB_OFFLINE": "1"})
        end = time.time() + PATIENCE
        while time.time() < end:
            try:
                if ADMIN.ask("GET", "/healthz")[0] == 200:
                    # As the group of the socket unit does.
                    if os.geteuid() == 0:
                        os.chown(SOCKET, 0, GROUP)
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("quantd does not answer: " + log_text())

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def log_text():
    with open(HOME + "/log", encoding="utf-8") as log:
        return log.read()


def quantctl(*arguments, **environment):
    return subprocess.run([QUANTCTL, *arguments], capture_output=True, text=True, check=False,
                          timeout=PATIENCE, env={**os.environ, **environment})


def make_token(name, *options):
    done = quantctl("--server", "unix:" + SOCKET, "token", "create", name, *options)
    assert done.returncode == 0 and re.fullmatch(r"qd_\d+_[0-9a-f]{40}\n", done.stdout), done
    return done.stdout.strip()


def submit(caller, request):
    status, _, body = caller.ask("POST", "/v1/jobs", request)
    assert status == 202, (caller.name, status, body)
    return json.loads(body)["id"]


def wait_for(job, *statuses):
    end = time.time() + PATIENCE
    while time.time() < end:
        state = ADMIN.get(f"/v1/jobs/{job}")
        if state["status"] in statuses:
            return state
        time.sleep(0.05)
    raise AssertionError(f"job {job} is {state['status']}, not {statuses}")


def forbidden(caller, method, path, body=None, status=403, **headers):
    got, _, answer = caller.ask(method, path, body, **headers)
    assert got == status, (caller.name, method, path, got, answer)
    problem = json.loads(answer)
    assert problem["code"] == ("forbidden" if status == 403 else "unauthorized"), problem
    assert problem["hint"], problem


# What a stranger might try with a private job {job} whose checkpoint has a file {file}.
ATTEMPTS = (
    ("read it", "GET", "/v1/jobs/{job}", None, {}),
    ("its events", "GET", "/v1/jobs/{job}/events", None, {}),
    ("watch it", "GET", "/v1/jobs/{job}/events", None, {"Accept": "text/event-stream"}),
    ("its layers", "GET", "/v1/jobs/{job}/layers", None, {}),
    ("list its files", "GET", "/v1/jobs/{job}/artifacts", None, {}),
    ("download a file", "GET", "/v1/jobs/{job}/artifacts/{file}", None, {}),
    ("a part of a file", "GET", "/v1/jobs/{job}/artifacts/{file}", None, {"Range": "bytes=0-9"}),
    ("use its checkpoint", "POST", "/v1/jobs",
     {"kind": "eval", "model": "job:{job}", "eval": "file:short.txt", "seqlen": 64}, {}),
    ("cancel it", "POST", "/v1/jobs/{job}/cancel", None, {}),
    ("retry it", "POST", "/v1/jobs/{job}/retry", None, {}),
    ("delete it", "DELETE", "/v1/jobs/{job}", None, {}),
)
TABLE = []


def tried(what, who, outcome):
    TABLE.append((what, who, outcome))


def check_attempts(caller, jobs):
    """Each attempt on each of the first user's private jobs is refused, and changes nothing."""
    for what, method, path, body, headers in ATTEMPTS:
        for job in jobs.values():
            request = json.loads(json.dumps(body).replace("{job}", str(job)))
            forbidden(caller, method, path.format(job=job, file="config.json"), request, **headers)
        tried(what, caller.name, f"403, {len(jobs)} of {len(jobs)}")
    for status, job in jobs.items():
        assert ADMIN.get(f"/v1/jobs/{job}")["status"] == status


def check_lists(caller, jobs, mine):
    """Nothing of them in lists, pages or events."""
    hidden = set(jobs.values())
    seen, after = set(), ""
    for _ in range(100):
        page = caller.get("/v1/jobs?limit=1" + after)
        seen |= {job["id"] for job in page["data"]}
        if not page["has_more"]:
            break
        after = f"&after={page['data'][-1]['id']}"
    assert mine in seen and not seen & hidden, (seen, hidden)
    assert not caller.get("/v1/jobs?owner=user&status=succeeded")["data"]
    events = caller.get("/v1/events?after=0&limit=500")
    assert not {event["job"] for event in events["data"]} & hidden, events
    tried("find it in lists and events", caller.name, "not there")


def check_owner_and_admin(caller, jobs):
    """They can do all of it."""
    done = jobs["succeeded"]
    files = caller.get(f"/v1/jobs/{done}/artifacts")["data"]
    for entry in files:
        body = caller.ask("GET", entry["url"])[2]
        assert hashlib.sha256(body).hexdigest() == entry["sha256"], entry
    assert caller.get(f"/v1/jobs/{done}")["private"] is True
    assert caller.get(f"/v1/jobs/{done}/layers")["data"]
    assert caller.get(f"/v1/jobs/{done}/events")["data"]
    assert set(jobs.values()) <= {job["id"] for job in caller.get("/v1/jobs?limit=500")["data"]}
    tried("all of that but the last three", caller.name, "200")


def check_changes(owner, admin, jobs):
    """The owner and the admin cancel, retry and delete."""
    for caller in (owner, admin):
        status, _, body = caller.ask("POST", f"/v1/jobs/{jobs['failed']}/retry")
        assert status == 202, body
        again = json.loads(body)
        assert again["private"] is True, again
        assert caller.ask("POST", f"/v1/jobs/{again['id']}/cancel")[0] == 202
        wait_for(again["id"], "cancelled")
        assert caller.ask("DELETE", f"/v1/jobs/{again['id']}")[0] == 204
        tried("retry, cancel, delete", caller.name, "202, 202, 204")
    assert admin.ask("POST", f"/v1/jobs/{jobs['running']}/cancel")[0] == 202
    wait_for(jobs["running"], "cancelled")
    assert owner.ask("DELETE", f"/v1/jobs/{jobs['succeeded']}")[0] == 204


def check_open_job(owner, stranger):
    """A job that is not private may be read by all, and changed by its owner."""
    job = submit(owner, {**LONG, "private": False})
    assert stranger.get(f"/v1/jobs/{job}")["owner"] == "user"
    assert stranger.get(f"/v1/jobs/{job}/events")["data"]
    forbidden(stranger, "POST", f"/v1/jobs/{job}/cancel")
    forbidden(stranger, "POST", f"/v1/jobs/{job}/retry")
    forbidden(stranger, "DELETE", f"/v1/jobs/{job}")
    assert owner.ask("POST", f"/v1/jobs/{job}/cancel")[0] == 202
    wait_for(job, "cancelled")
    forbidden(stranger, "DELETE", f"/v1/jobs/{job}")
    tried("read a job that is not private", stranger.name, "200")
    tried("cancel, retry, delete one", stranger.name, "403")


def check_roles(reader, stranger):
    forbidden(reader, "POST", "/v1/jobs", JOB)
    for caller in (reader, stranger):
        forbidden(caller, "GET", "/v1/tokens")
        forbidden(caller, "POST", "/v1/tokens", {"name": "x", "role": "admin"})
        forbidden(caller, "DELETE", "/v1/tokens/user")
        forbidden(caller, "DELETE", "/v1/models/org/name")
    tried("submit with the role read", reader.name, "403")
    tried("make, list, revoke tokens, remove models", stranger.name, "403")


def check_no_token(job):
    """Over TCP no request is served without a token, nor with a wrong one."""
    for token in (None, "qd_1_" + "0" * 40, "x"):
        caller = Caller("no token" if token is None else "a wrong token", token or "")
        if token is None:
            caller.connect = lambda: http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)
        for path in (f"/v1/jobs/{job}", "/v1/jobs/999999", "/v1/jobs", "/v1/events", "/metrics"):
            forbidden(caller, "GET", path, status=401)
        assert caller.ask("GET", "/healthz")[0] == 200
        tried("anything over TCP", caller.name, "401")
        yield caller


def check_revoked(stranger, job):
    """A revoked token is none at once, its event stream ends, and so it stays after a restart."""
    connection = stranger.connect()
    connection.request("GET", f"/v1/jobs/{job}/events",
                       headers={"Accept": "text/event-stream",
                                "Authorization": "Bearer " + stranger.token})
    stream = connection.getresponse()
    assert stream.status == 200 and b"retry" in stream.read(5 + 5)
    done = quantctl("--server", "unix:" + SOCKET, "token", "revoke", stranger.name)
    assert done.returncode == 0, done
    forbidden(stranger, "GET", "/v1/jobs", status=401)
    stream.read()  # returns when the stream has ended, long before it could by itself
    assert ADMIN.get(f"/v1/jobs/{job}")["status"] == "running"
    tried("anything, and an open event stream, when revoked", stranger.name, "401, the stream ends")


def check_client(owner, job):
    """quantctl shows its token over TCP, hides it, and says what to do without one."""
    server = f"127.0.0.1:{PORT}"
    done = quantctl("--server", server, "show", str(job), QUANTD_TOKEN=owner.token)
    assert done.returncode == 0 and owner.token not in done.stdout + done.stderr, done
    with open(HOME + "/token", "w", encoding="utf-8") as file:
        file.write(owner.token + "\n")
    done = quantctl("--server", server, "show", str(job), QUANTD_TOKEN_FILE=HOME + "/token")
    assert done.returncode == 0, done
    done = quantctl("--server", server, "list", "--token-file", HOME + "/token")
    assert done.returncode == 0, done
    done = quantctl("--server", server, "show", str(job), QUANTD_TOKEN="wrong-token")
    assert done.returncode == 3 and "token create" in done.stderr, done
    assert "wrong-token" not in done.stderr, done
    done = quantctl("--server", server, "list", QUANTD_TOKEN="a\r\nX-Evil: b")
    assert done.returncode == 2, done
    done = quantctl("--server", server, "show", str(job), QUANTD_TOKEN="")
    assert done.returncode == 3 and "QUANTD_TOKEN" in done.stderr, done
    return 2  # refusals, of the wrong one and without one


def check_log(callers, others):
    """Each refusal is one line with its request id, and there are no more but @others."""
    lines = [line for line in log_text().splitlines() if " refused: 40" in line]
    ids = [re.search(r"request ([0-9a-f-]+) refused", line).group(1) for line in lines]
    refused = [request for caller in callers for request in caller.refused]
    assert len(ids) == len(set(ids)), "a refusal is logged twice"
    missing = set(refused) - set(ids)
    assert not missing, f"{len(missing)} refusals are not in the log"
    assert len(ids) == len(refused) + others, (len(ids), len(refused), others)
    tokens = [caller.token for caller in callers if caller.token and len(caller.token) > 20]
    assert not any(token in log_text() for token in tokens), "a token is in the log"
    tried("refusals, and lines of the log", "all", f"{len(ids)} and {len(lines)}")


def check_open_address():
    """Not without a token."""
    open_port = free_port()
    state = HOME + "/other"
    options = ["--state-dir", state, "--listen", f"0.0.0.0:{open_port}"]
    done = subprocess.run(command(*options), capture_output=True, text=True, timeout=PATIENCE,
                          check=False)
    assert done.returncode == 1 and "there is no token" in done.stderr, done
    assert "token create" in done.stderr, done
    done = subprocess.run(command("--check-config", *options), capture_output=True, text=True,
                          timeout=PATIENCE, check=False)
    assert done.returncode == 0 and "token" in done.stdout, done
    tried("listen on 0.0.0.0 without a token", "quantd", "does not start")


def prepare():
    os.chmod(HOME, 0o711)
    os.makedirs(HOME + "/texts")
    with open(SOURCE + "/data/texts/demo-calibration.txt", "rb") as f:
        text = f.read(60000)
    with open(HOME + "/texts/short.txt", "wb") as f:
        f.write(text[:text.rindex(b"\n")])
    with open(HOME + "/texts/damaged.txt", "wb") as f:
        f.write(text + b"\xff")


def second_users():
    """The other user by a token, and a real user on the socket when there can be one."""
    other = Caller("other", make_token("other"))
    if os.geteuid():
        print("no second user on the socket: that needs root")
        return [other]
    return [other, Caller("nobody, by the socket", uid=pwd.getpwnam("nobody").pw_uid)]


def first_jobs(user):
    """A private job of each kind: one that ended well, one that failed, one that runs."""
    jobs = {"succeeded": submit(user, JOB),
            "failed": submit(user, {**JOB, "dataset": "file:damaged.txt"})}
    wait_for(jobs["succeeded"], "succeeded")
    wait_for(jobs["failed"], "failed")
    jobs["running"] = submit(user, LONG)
    wait_for(jobs["running"], "running")
    return jobs


def main():
    prepare()
    daemon = Daemon()
    try:
        user = Caller("user", make_token("user"))
        reader = Caller("a reader", make_token("reader", "--role", "read"))
        admin = Caller("admin, by a token", make_token("admin", "--role", "admin"))
        strangers = second_users()
        jobs = first_jobs(user)
        mine = submit(strangers[0], {**JOB, "private": False})
        for stranger in strangers:
            check_attempts(stranger, jobs)
            check_lists(stranger, jobs, mine)
        for caller in (user, admin, ADMIN):
            check_owner_and_admin(caller, jobs)
        unknown = list(check_no_token(jobs["running"]))
        check_roles(reader, strangers[0])
        others = check_client(user, jobs["succeeded"])
        daemon.kill()
        daemon = Daemon()
        forbidden(strangers[0], "GET", f"/v1/jobs/{jobs['running']}")
        wait_for(jobs["running"], "running")
        check_changes(user, admin, jobs)
        tried("tokens and private jobs after kill -9", "all", "as before")
        check_open_job(user, strangers[0])
        watched = submit(user, {**LONG, "private": False})
        wait_for(mine, "succeeded")
        wait_for(watched, "running")
        check_revoked(strangers[0], watched)
        check_log([user, reader, admin, ADMIN, *strangers, *unknown], others)
        daemon.kill()
        check_open_address()
        for what, who, outcome in dict.fromkeys(TABLE):
            print(f"| {what} | {who} | {outcome} |")
    finally:
        daemon.process.kill()
        daemon.process.wait()
        shutil.rmtree(HOME, ignore_errors=True)


main()
