#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Servers for tests of the network: world.py FOLDER [dns ADDRESS]

Without more: HTTP on ports 80 and 8080 of every address ("from PEER to HOST\\n", /slow, /blob), a sink on
9001; at PUBLIC UDP echo on 9000 and a name server. Names are lines "NAME ADDRESS…" of FOLDER/names, read at each query; a
name that has more than 20 addresses comes cut by datagram. `dns ADDRESS`: a name server there alone.
"""
import contextlib
import os
import socket
import socketserver
import struct
import sys
import threading
import time

FOLDER = sys.argv[1]
PUBLIC = "8.8.4.4"


def names():
    found = {}
    with open(os.path.join(FOLDER, "names")) as f:
        for line in f:
            words = line.split()
            if words:
                found[words[0]] = words[1:]
    return found


def answer(query, datagram):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind = struct.unpack(">H", query[at + 1:at + 3])[0]
    question = query[12:at + 5]
    with open(os.path.join(FOLDER, "asked"), "a") as f:
        f.write(f"{'.'.join(labels)} {kind} {'udp' if datagram else 'tcp'}\n")
    known = names().get(".".join(labels).lower())
    if labels[-2:] == ["example", "net"]:
        known = [f"9.{a}.{b}.{c}" for a, b, c in zip(*[iter(os.urandom(48))] * 3)]
    cut = datagram and known and len(known) > 20
    records = [] if cut or not known else [
        a for a in known if (kind == 1 and ":" not in a) or (kind == 28 and ":" in a)]
    out = query[:2] + struct.pack(">HHHHH", 0x8180 | 0x200 * bool(cut) | 3 * (known is None), 1,
                                  len(records), 0, 0) + question
    for a in records:
        raw = socket.inet_pton(socket.AF_INET if kind == 1 else socket.AF_INET6, a)
        out += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(raw)) + raw
    return out


def dns_datagrams(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 53))
    while True:
        data, peer = s.recvfrom(4096)
        with contextlib.suppress(IndexError, struct.error, UnicodeDecodeError):
            s.sendto(answer(data, True), peer)


class DnsStream(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            out = answer(self.rfile.read(struct.unpack(">H", head)[0]), False)
            self.wfile.write(struct.pack(">H", len(out)) + out)


class Http(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            self.serve()

    def serve(self):
        path = self.rfile.readline().split()
        host = ""
        while True:
            line = self.rfile.readline().strip()
            if not line:
                break
            if line.lower().startswith(b"host:"):
                host = line[5:].strip().decode()
        if len(path) > 1 and path[1] == b"/slow":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
            for i in range(600):
                self.wfile.write(b"%d\n" % i)
                time.sleep(0.1)
        elif len(path) > 1 and path[1] == b"/blob":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 4000000\r\n\r\n" + bytes(4000000))
        else:
            peer = self.client_address[0].removeprefix("::ffff:")
            body = f"from {peer} to {host}\n".encode()
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


class Sink(socketserver.BaseRequestHandler):
    def handle(self):
        n = 0
        while True:
            data = self.request.recv(1 << 16)
            n += len(data)
            if not data:
                return


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    address_family = socket.AF_INET
    daemon_threads = True
    request_queue_size = 256


def echo(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 9000))
    while True:
        data, peer = s.recvfrom(65536)
        s.sendto(data, peer)


class Server6(Server):
    """Of IPv6, and of IPv4 too: peers of the latter show as ::ffff:ADDRESS."""
    address_family = socket.AF_INET6


def background(function, *args):
    threading.Thread(target=function, args=args, daemon=True).start()


def main():
    if sys.argv[2:3] == ["dns"]:
        background(Server((sys.argv[3], 53), DnsStream).serve_forever)
        dns_datagrams(sys.argv[3])
    for port in (80, 8080):
        background(Server6(("::", port), Http).serve_forever)
    background(Server(("0.0.0.0", 9001), Sink).serve_forever)
    background(echo, PUBLIC)  # of one address: it answers from the one that was asked
    background(Server(("0.0.0.0", 53), DnsStream).serve_forever)
    dns_datagrams(PUBLIC)


main()
