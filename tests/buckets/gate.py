# SPDX-License-Identifier: MIT
"""Stands before a real S3 server: lets through only what is signed by Version 4, and breaks what it is
told to break.

    gate = gate.Gate(server, ca=None)         # server: rgw.Server; listens on a port of its own
    gate.url
    gate.fault("PUT", reset=True, times=2)    # the next two PUTs
    gate.seen                                 # (method, target) of every request, in order

A fault is for the requests whose method is equal and whose target has `path` in it, `times` of them
(None: all). What it can do, in this order:

    pause=S          wait before anything is read of the body
    reset=True       end the connection with RST: at once, or with after=True when the server has done it
    status=N         answer so instead of asking the server; with body=b"", headers={}, and with early=True
                     before the request's body
    cut=N            pass N bytes of the answer's body, then end the connection
    rate=N           pass the answer at N bytes a second
    stall=True       pass the headers of the answer and N=0 bytes, then keep still
    headers={}       replace (or with None: remove) headers of the server's answer
    replace=b""      another body
    garbage=True     answer with something that is not HTTP

TLS: Gate(server, tls=(certificate, key)). It sends no "100 Continue", ever.
"""
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse
import os

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import s3  # noqa: E402  pylint: disable=wrong-import-position

AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
                           r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$")
NO_BODY = (204, 304)


def error_document(code, message):
    return (f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>'
            f"<Message>{message}</Message></Error>").encode()


class Closed(Exception):
    pass


class Stream:
    """Buffered reading of a socket."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def fill(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise Closed
        self.buffer += data

    def head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        text, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = text.decode("latin-1").split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        return first, {name.strip().lower(): value.strip() for name, value in pairs}

    def some(self, limit):
        if not self.buffer:
            self.fill()
        data, self.buffer = self.buffer[:limit], self.buffer[limit:]
        return data

    def body(self, headers):
        """The pieces of a message's body."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                while b"\r\n" not in self.buffer:
                    self.fill()
                line, self.buffer = self.buffer.split(b"\r\n", 1)
                size = left = int(line.split(b";")[0], 16)
                while left:
                    data = self.some(left)
                    left -= len(data)
                    yield data
                while len(self.buffer) < 2:
                    self.fill()
                self.buffer = self.buffer[2:]
                if not size:
                    return
        left = int(headers.get("content-length", 0))
        while left:
            data = self.some(min(left, 1 << 16))
            left -= len(data)
            yield data


class Gate:
    def __init__(self, server, port=0, tls=None, region="us-east-1"):
        self.server_port, self.region = server.port, region
        self.secrets = {server.access_key: server.secret_key}
        self.tokens = {}  # access key: the session token that must come with it
        self.faults, self.seen, self.lock = [], [], threading.Lock()
        self.connections = 0
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
        self.listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def fault(self, method, path="", times=1, **what):
        with self.lock:
            self.faults.append(dict(what, method=method, path=path, times=times))

    def clear(self):
        with self.lock:
            self.faults, self.seen = [], []

    def count(self, method, path=""):
        with self.lock:
            return sum(1 for m, p in self.seen if m == method and path in p)

    def take_fault(self, method, target):
        with self.lock:
            self.seen.append((method, target))
            for fault in self.faults:
                if fault["method"] in (method, "*") and fault["path"] in target:
                    if fault["times"] is not None:
                        fault["times"] -= 1
                        if not fault["times"]:
                            self.faults.remove(fault)
                    return fault
        return {}

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        upstream = None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            client = Stream(sock)
            upstream = Stream(socket.create_connection(("127.0.0.1", self.server_port)))
            upstream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self.exchange(client, upstream):
                pass
        except (Closed, OSError, ValueError):
            pass
        finally:
            for one in (sock, upstream and upstream.sock):
                if one:
                    one.close()

    def refusal(self, method, target, headers):
        """None if the signature is right, else the code and why not."""
        match = AUTHORIZATION.match(headers.get("authorization", ""))
        if not match:
            return "AccessDenied", "only Signature Version 4 comes through here"
        access_key, day, region, signed, signature = match.groups()
        signed = signed.split(";")
        date = headers.get("x-amz-date", "")
        if access_key not in self.secrets:
            return "InvalidAccessKeyId", "no such key"
        if region != self.region:
            return "AuthorizationHeaderMalformed", f"the region is {self.region}"
        wanted = self.tokens.get(access_key)
        if headers.get("x-amz-security-token") != wanted:
            return "ExpiredToken" if wanted else "InvalidToken", "the token is not this key's"
        if signed != sorted(signed) or "host" not in signed or not date.startswith(day):
            return "AuthorizationHeaderMalformed", "headers out of order, no host, or no date"
        unsigned = [h for h in headers if h.startswith("x-amz-") and h not in signed]
        if unsigned:
            return "AccessDenied", f"not signed: {unsigned[0]}"
        path, _, query = target.partition("?")
        string = s3.string_to_sign(method, path, query, headers, signed,
                                   headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), date, region)
        if s3.signature(self.secrets[access_key], date, region, string) != signature:
            return "SignatureDoesNotMatch", "the signature is another one"
        return None

    def exchange(self, client, upstream):
        first, headers = client.head()
        method, target, _ = first.split(" ")
        fault = self.take_fault(method, target)
        if fault.get("pause"):
            time.sleep(fault["pause"])
        if fault.get("reset") and not fault.get("after"):
            return self.reset(client.sock)
        if fault.get("garbage"):
            client.sock.sendall(b"220 mail.example ESMTP\r\n" * 10)
            return False
        if "status" in fault and not fault.get("after"):
            for _ in () if fault.get("early") else client.body(headers):
                pass
            return self.answer(client.sock, method, fault["status"], fault.get("body", b""),
                               fault.get("headers") or {})
        why = self.refusal(method, target, headers)
        if why:
            # An early end with a body still to come, as servers do it.
            region = f"<Region>{self.region}</Region>".encode() if "Malformed" in why[0] else b""
            document = error_document(*why).replace(b"</Error>", region + b"</Error>")
            return self.answer(client.sock, method, 400 if region else 403, document, {"Connection": "close"})
        self.forward(client, upstream, first, headers)
        return self.relay(client, upstream, method, fault)

    def forward(self, client, upstream, first, headers):
        # The token is ours alone: the server behind knows none. It was signed, so the request must be again.
        if "x-amz-security-token" in headers:
            self.sign_again(first, headers)
        lines = [first] + [f"{name}: {value}" for name, value in headers.items()]
        upstream.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        for data in client.body(headers):
            upstream.sock.sendall(data)

    def sign_again(self, first, headers):
        access_key, _, _, signed, _ = AUTHORIZATION.match(headers["authorization"]).groups()
        del headers["x-amz-security-token"]
        names = [name for name in signed.split(";") if name != "x-amz-security-token"]
        method, target, _ = first.split(" ")
        path, _, query = target.partition("?")
        date = headers["x-amz-date"]
        string = s3.string_to_sign(method, path, query, headers, names, headers["x-amz-content-sha256"],
                                   date, self.region)
        signature = s3.signature(self.secrets[access_key], date, self.region, string)
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={access_key}/{date[:8]}/{self.region}"
                                    f"/s3/aws4_request,SignedHeaders={';'.join(names)},Signature={signature}")

    def relay(self, client, upstream, method, fault):
        first, headers = upstream.head()
        status = int(first.split(" ")[1])
        no_body = method == "HEAD" or status in NO_BODY
        pieces = iter(()) if no_body else upstream.body(headers)
        if fault.get("after"):
            for _ in pieces:
                pass
            if "status" in fault:
                return self.answer(client.sock, method, fault["status"], fault.get("body", b""), {})
            return self.reset(client.sock)
        if "replace" in fault:
            for _ in pieces:
                pass
            pieces = iter((fault["replace"],))
            headers.pop("transfer-encoding", None)
            headers["content-length"] = str(len(fault["replace"]))
        for name, value in (fault.get("headers") or {}).items():
            headers.pop(name.lower(), None)
            if value is not None:
                headers[name.lower()] = value
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        lines = [first] + [f"{name}: {value}" for name, value in headers.items()]
        client.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return self.relay_body(client.sock, pieces, chunked and not no_body, fault)

    def relay_body(self, sock, pieces, chunked, fault):
        sent = 0
        if fault.get("stall"):
            select.select([sock], [], [], 600)  # until the client has had enough
            return False
        for data in pieces:
            if "cut" in fault:
                data = data[:max(0, fault["cut"] - sent)]
            for at in range(0, len(data), 1024) if "rate" in fault else (0,):
                piece = data[at:at + 1024] if "rate" in fault else data
                if "rate" in fault:
                    time.sleep(len(piece) / fault["rate"])
                sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked and piece else piece)
            sent += len(data)
            if "cut" in fault and sent >= fault["cut"]:
                return False
        if chunked:
            sock.sendall(b"0\r\n\r\n")
        return True

    @staticmethod
    def answer(sock, method, status, body, headers):
        lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if method == "HEAD" else body))
        return headers.get("Connection") != "close"

    @staticmethod
    def reset(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        return False

    def stop(self):
        self.listener.close()


def host_of(url):
    return urllib.parse.urlsplit(url).netloc
