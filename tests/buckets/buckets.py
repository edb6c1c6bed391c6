# SPDX-License-Identifier: MIT
"""What the tests of buckets share: a server for the whole file, a gate for each case, one operation.

    from buckets import *

    server = serve("data")              # before main(): in a network of its own; skips without Ceph

    @case
    def something():
        gate = Gate(server)
        got = op(gate, "put", "key", path)      # tests/buckets/op.c
        eq(got["code"], "0")

    main(mount=False)
"""
import atexit
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../lib")]
import rgw  # noqa: E402  pylint: disable=wrong-import-position
import sbx  # noqa: E402  pylint: disable=wrong-import-position
from gate import Gate, error_document  # noqa: E402,F401  pylint: disable=wrong-import-position,unused-import
from s3 import Refused  # noqa: E402,F401  pylint: disable=wrong-import-position,unused-import
from sbx import *  # noqa: E402,F401,F403  pylint: disable=wrong-import-position,wildcard-import,unused-wildcard-import

__all__ = sbx.__all__ + ["Gate", "Refused", "certificates", "error_document", "keys_of", "op", "program",
                         "random_file", "scratch", "serve"]


def program(name):
    return os.path.join(sbx.BUILD, "buckets", name)


FOLDER = [os.environ.get("TEST_TMP")]


def scratch(name):
    """A path of this test's own; run by hand, in a folder that goes with it."""
    if not FOLDER[0]:
        me, FOLDER[0] = os.getpid(), tempfile.mkdtemp(prefix="sandboxfs-buckets.")
        atexit.register(lambda: shutil.rmtree(FOLDER[0]) if os.getpid() == me else None)
    return os.path.join(FOLDER[0], name)


def serve(*names):
    sbx.isolate()
    if os.geteuid() != 0:
        print("skip all # a network namespace needs root")
        sys.exit(77)
    if rgw.missing():
        print(f"skip all # no {rgw.missing()}")
        sys.exit(77)
    rgw.own_network()
    server = rgw.Server(scratch("rgw"), timeout=sbx.slow(120))
    me = os.getpid()
    atexit.register(lambda: server.stop() if os.getpid() == me else None)
    for name in names:
        server.bucket(name)
    return server


def keys_of(server, token=""):
    return {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_SESSION_TOKEN": token}


def op(gate, *words, env=None, timeout=60, **settings):
    """One run of op.c: a dictionary of what it printed. Keys are the server's unless env has others."""
    server_keys = {"AWS_ACCESS_KEY_ID": next(iter(gate.secrets)),
                   "AWS_SECRET_ACCESS_KEY": next(iter(gate.secrets.values()))}
    settings = dict({"endpoint": gate.url, "bucket": "data"}, **settings)
    argv = [program("op")] + [f"{k}={v}" for k, v in settings.items()] + ["--"] + list(words)
    got = sbx.sh(argv, env=dict(server_keys, **(env or {})), timeout=timeout, check_code=0)
    if got.err:
        raise sbx.Failure(f"{words}: {got.err}")
    return dict(line.split("=", 1) for line in got.out.splitlines())


def random_file(name, size):
    path = scratch(name)
    with open(path, "wb") as f:
        f.write(os.urandom(size))
    return path


def certificates():
    """(ca, good, expired, foreign): the CA's file, then (certificate, key) for 127.0.0.1 each."""
    folder = scratch("tls")
    os.makedirs(folder, exist_ok=True)

    def at(name):
        return os.path.join(folder, name)

    def run(*argv):
        sbx.sh(["openssl", *argv], check_code=0, timeout=60)

    def authority(name):
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
            "-subj", f"/CN={name}", "-keyout", at(name + ".key"), "-out", at(name + ".pem"))

    def leaf(name, ca, *dates):
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-keyout", at(name + ".key"), "-out", at(name + ".csr"))
        with open(at("ca.conf"), "w") as f:
            f.write(f"[ca]\ndefault_ca = d\n[d]\ndatabase = {at('index')}\nnew_certs_dir = {folder}\n"
                    "rand_serial = yes\ndefault_md = sha256\npolicy = p\nx509_extensions = x\n"
                    "[p]\ncommonName = supplied\n[x]\nsubjectAltName = IP:127.0.0.1\n")
        open(at("index"), "w").close()
        run("ca", "-batch", "-notext", "-config", at("ca.conf"), "-cert", at(ca + ".pem"), "-keyfile",
            at(ca + ".key"), "-in", at(name + ".csr"), "-out", at(name + ".pem"), *dates)
        return at(name + ".pem"), at(name + ".key")

    authority("ours")
    authority("theirs")
    return (at("ours.pem"), leaf("good", "ours", "-days", "30"),
            leaf("expired", "ours", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z"),
            leaf("foreign", "theirs", "-days", "30"))
