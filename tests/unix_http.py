# SPDX-License-Identifier: Apache-2.0
"""HTTP over a unix socket, for tests and scripts."""
import http.client
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
