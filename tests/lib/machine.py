# SPDX-License-Identifier: MIT
"""A machine with a network, made of namespaces: this test's own is the machine, another one the world,
which has every address below on its loopback. No packet leaves the two.

    from machine import *
    world = start_world()      # before main()
"""
import ctypes
import os
import subprocess
import tempfile
import time

from sbx import Failure, isolate, read, wait_for, write

__all__ = ["MACHINE", "METADATA", "PRIVATE", "PUBLIC", "PUBLIC2", "World", "outside", "start_world"]

PUBLIC, PUBLIC2 = "8.8.4.4", "9.9.4.4"
PRIVATE = ["10.5.5.5", "172.20.1.1", "192.168.9.9", "100.70.1.1", "198.18.5.5", "203.0.113.7",
           "192.0.2.9", "240.0.0.9"]
METADATA = "169.254.169.254"
NEVER = [METADATA, "168.63.129.16", "100.100.100.200"]
MACHINE = ["198.41.7.2", "198.41.8.2"]
HERE = os.path.dirname(os.path.realpath(__file__))


def outside(*argv):
    """Runs a program on the machine; its output."""
    p = subprocess.run(argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if p.returncode:
        raise Failure(f"{argv} ended with {p.returncode}: {p.stdout!r:.400}")
    return p.stdout


class World:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="world.", dir=os.environ.get("TEST_TMP", "/var/tmp"))
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        wait_for(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") !=
                 os.readlink("/proc/self/ns/net"), what="the world's namespace")
        self.link()
        self.names({})
        self.servers = [self.inside("python3", os.path.join(HERE, "world.py"), self.folder)]
        self.servers.append(subprocess.Popen(
            ["python3", os.path.join(HERE, "world.py"), self.folder, "dns", "127.0.0.53"]))
        # The machine's own web server, on all its addresses: what a box must never reach.
        self.servers.append(subprocess.Popen(
            ["python3", "-m", "http.server", "8081", "--bind", "0.0.0.0", "-d", self.folder],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        self.resolv_conf("nameserver 127.0.0.53\n")
        wait_for(self.answers, what="the servers")

    def inside(self, *argv, **more):
        return subprocess.Popen(["nsenter", "--net", "-t", str(self.holder.pid), *argv], **more)

    def run(self, *argv):
        return outside("nsenter", "--net", "-t", str(self.holder.pid), *argv)

    def link(self):
        outside("ip", "link", "add", "wan", "type", "veth", "peer", "name", "w0", "netns",
                str(self.holder.pid))
        for address in MACHINE:
            outside("ip", "addr", "add", address + "/24", "dev", "wan")
        outside("ip", "link", "set", "wan", "up")
        outside("ip", "route", "add", "default", "via", "198.41.7.1")
        script = "ip link set lo up; ip link set w0 up; ip addr add 198.41.7.1/24 dev w0\n"
        for address in [PUBLIC, PUBLIC2, *PRIVATE, *NEVER]:
            script += f"ip addr add {address}/32 dev lo\n"
        self.run("sh", "-ec", script)

    def answers(self):
        try:
            return subprocess.run(["curl", "-s", "-m", "1", f"http://{PUBLIC}/"], check=False,
                                  stdout=subprocess.DEVNULL).returncode == 0
        except OSError:
            return False

    def names(self, table):
        """{name: "address address…"}"""
        text = "".join(f"{name} {addresses}\n" for name, addresses in table.items())
        path = os.path.join(self.folder, "names")
        with open(path + "~", "w") as f:
            f.write(text)
        os.rename(path + "~", path)

    def asked(self):
        path = os.path.join(self.folder, "asked")
        return read(path) if os.path.exists(path) else ""

    def resolv_conf(self, text):
        path = os.path.join(self.folder, "resolv.conf")
        with open(path, "w") as f:
            f.write(text)
        outside("mount", "--bind", path, os.path.realpath("/etc/resolv.conf"))


def start_world():
    isolate()
    return World() if os.geteuid() == 0 else None
