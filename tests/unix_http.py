# SPDX-License-Identifier: Apache-2.0
"""HTTP over a unix socket, for tests and scripts."""
import http.client
import json
import socket


class UnixConnection(http.client.HTTPConnection):
    """To the socket at @path; an answer may take @timeout seconds."""

    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(socket_path, method, path, body=None, timeout=60):
    """The status of one request, and the JSON that was answered; None when nothing was."""
    connection = UnixConnection(socket_path, timeout)
    try:
        connection.request(method, path, None if body is None else json.dumps(body),
                           {} if body is None else {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()
