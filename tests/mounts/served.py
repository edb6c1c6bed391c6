# SPDX-License-Identifier: MIT
"""For tests of buckets in boxes: a real server for the whole file, one mount whose ini file has keys
for it, and buckets.

    from served import *

    @case
    def something(m):
        box, name = m.box(), bucket()
        mount(box, "data", name); eq(box.run("ls /mnt/data").out, "")

    main()
"""
import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.path.insert(0, os.path.join(HERE, "../buckets"))
import rgw  # noqa: E402
import s3  # noqa: E402
import sbx  # noqa: E402
from gate import Gate  # noqa: E402
from sbx import *  # noqa: E402,F403

__all__ = [*sbx.__all__, "Gate", "bucket", "client", "ini", "main", "mount", "mounting", "s3", "sbx", "server", "text"]

SCRATCH = os.environ.get("TEST_TMP", "/var/tmp")


class Running:
    """What a case needs of the server that its parent started."""
    url = access_key = secret_key = None
    port = 0


server = Running()


def client():
    return s3.Client(server.url, server.access_key, server.secret_key)


def bucket(made=[0]):  # pylint: disable=dangerous-default-value
    made[0] += 1
    name = f"t{os.getpid()}-{made[0]}"
    client().request("PUT", name)
    return name


def ini(more=""):
    """Keys for everybody, for root, for USER_A; wrong ones; servers on this machine may be named."""
    good = f"access_key_id = {server.access_key}\nsecret_access_key = {server.secret_key}\n"
    at = f"endpoint = {server.url}\nstyle = path\n"
    return (f"root_mode = 1777\n[buckets]\nendpoints = http://127.0.0.1:*\nretry_for = 2s\n"
            f"[credentials all]\n{good}{at}users = *\n"
            f"[credentials root]\n{good}{at}"
            f"[credentials alice]\n{good}{at}users = {USER_A}\n"
            f"[credentials anywhere]\n{good}users = *\n"
            f"[credentials wrong]\naccess_key_id = {server.access_key}\nsecret_access_key = wrongwrong\n{at}users = *\n"
            f"[credentials unknown]\naccess_key_id = NOBODY\nsecret_access_key = wrongwrong\n{at}users = *\n"
            + more)


def text(name, **settings):
    settings.setdefault("credentials", "all")
    source = name if "://" in name else "s3://" + name
    lines = [f"source = {source}"] + [f"{k} = {v}" for k, v in settings.items() if v is not None]
    return "\n".join(lines) + "\n"


def mounting(box, name, what):
    """Writes mounts/NAME; errors of the close are OSErrors."""
    path = box.at("mounts", name)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        os.write(fd, what.encode())
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)


def mount(box, name, source, **settings):
    mounting(box, name, text(source, **settings))
    return "/mnt/" + name


def main(more=""):
    """The server, the mount, the cases, the end of all."""
    sbx.isolate()
    rgw.serve_file(Running, SCRATCH, lambda: sbx.main(ini=ini(more)))
