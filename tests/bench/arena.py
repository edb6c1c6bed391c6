# SPDX-License-Identifier: MIT
"""Where buckets are measured: the server, a way to it that takes time, and who is compared.

    arena = Arena(build, folder)
    arena.way = arena.far                     # or arena.near: where all of them ask from now on
    seconds, etags = arena.ask([arena.signed("GET", key), …], threads=8)
    with arena.contenders["s3fs"].mounted() as path: …

Every contender is mounted anew for each figure, so that nothing of it is warm but the server.
"""
import contextlib
import datetime
import hashlib
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.join(HERE, "../buckets"), os.path.join(HERE, "../lib")]
import rgw  # noqa: E402  pylint: disable=wrong-import-position
import s3  # noqa: E402  pylint: disable=wrong-import-position
from sbx import mounted_at, read, wait_for  # noqa: E402  pylint: disable=wrong-import-position

MIB = 1 << 20
PART = 8 * MIB
UNSIGNED = "UNSIGNED-PAYLOAD"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Way:
    """A URL of the server; with a delay, by a process of delay.c, which counts."""

    def __init__(self, arena, name, one_way_ms=0):
        self.url, self.proc = arena.server.url, None
        if not one_way_ms:
            return
        port, counters = 7600, os.path.join(arena.folder, name)
        self.url = f"http://127.0.0.1:{port}"
        self.proc = subprocess.Popen([arena.compiled("delay"), str(port), str(arena.server.port),
                                      str(one_way_ms * 1000), counters], stdout=subprocess.PIPE)
        if self.proc.stdout.read(1) != b"\n":
            raise RuntimeError("the delaying proxy does not come up")
        with open(counters, "rb") as f:
            self.counters = mmap.mmap(f.fileno(), 24, prot=mmap.PROT_READ)

    def received(self):
        """Bytes from the server so far."""
        return struct.unpack_from("Q", self.counters)[0]

    def end(self):
        if self.proc:
            self.proc.kill()
            self.proc.wait()


class Arena:
    def __init__(self, build, folder):
        self.build, self.folder = build, folder
        self.server = rgw.Server(os.path.join(folder, "rgw"))
        self.bucket, self.buckets = None, set()
        self.client = self.server.client()
        self.use("bench")
        # What is written: bytes that no compression or recognition of blocks makes shorter.
        self.source = os.path.join(folder, "source")
        with open(self.source, "wb") as f:
            f.write(os.urandom(64 * MIB))
        with open(self.source, "rb") as f:
            self.data = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        self.hashes = {}
        self.near, self.far = Way(self, "near"), Way(self, "far", 15)
        self.way = self.near
        self.contenders = {c.name: c for c in (Ours(self), S3fs(self), Rclone(self, "off"), Rclone(self, "full"))
                           if c.is_there()}

    def end(self):
        self.far.end()
        self.server.stop()

    def use(self, bucket):
        """From now on all of it happens in that bucket."""
        if bucket not in self.buckets:
            self.server.bucket(bucket)
        self.buckets.add(bucket)
        self.bucket = bucket

    def compiled(self, name, *libraries):
        program = os.path.join(self.folder, name)
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not compiler:
            raise RuntimeError("no C compiler")
        if not os.path.exists(program):
            subprocess.run([compiler, "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-pthread", "-o", program,
                            os.path.join(HERE, name + ".c"), *libraries], check=True)
        return program

    # --- requests of our own ---------------------------------------------------------------------

    def digest(self, offset, length):
        at = (offset, length)
        if at not in self.hashes:
            self.hashes[at] = hashlib.sha256(self.data[offset:offset + length]).hexdigest()
        return self.hashes[at]

    def signed(self, method, key="", query=None, body=None, span=None, hashed=True):
        """One line for ceiling.c. body: (offset, length) in the source; span: (from, length) of the object."""
        offset, length = body or (0, 0)
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        path = f"/{self.bucket}" + ("/" + s3.quote(key, "/") if key else "")
        text = "&".join(f"{s3.quote(k)}={s3.quote(str(v))}" for k, v in sorted((query or {}).items()))
        payload = self.digest(offset, length) if body and hashed else UNSIGNED
        headers = {"host": self.way.url[7:], "x-amz-content-sha256": payload, "x-amz-date": date}
        names = sorted(headers)
        string = s3.string_to_sign(method, path, text, headers, names, payload, date, "us-east-1")
        made = s3.signature(self.server.secret_key, date, "us-east-1", string)
        lines = [f"{name}: {headers[name]}" for name in names[1:]]
        lines.append(f"Authorization: AWS4-HMAC-SHA256 Credential={self.server.access_key}/{date[:8]}/us-east-1/s3/"
                     f"aws4_request,SignedHeaders={';'.join(names)},Signature={made}")
        if span:
            lines.append(f"Range: bytes={span[0]}-{span[0] + span[1] - 1}")
        return "\t".join([method, self.way.url + path + ("?" + text if text else ""), str(offset), str(length),
                          *lines])

    def ask(self, lines, threads):
        """(seconds, ETags) of all those requests."""
        program = self.compiled("ceiling", "-lcurl", "-lcrypto")
        got = subprocess.run([program, str(threads), self.source], input="\n".join(lines) + "\n", text=True,
                             stdout=subprocess.PIPE, check=True).stdout.split("\n")
        return float(got[0]), got[1:-1]

    def own_client(self):
        """s3.py by the same way, for the two requests that frame an upload."""
        return self.server.client(self.way.url)

    def upload(self, key, size, threads=8, hashed=True):
        """Seconds for an object of that size, in parts."""
        client, start = self.own_client(), time.perf_counter()
        answer = client.request("POST", self.bucket, key, query={"uploads": ""})[1].decode()
        took = time.perf_counter() - start
        uid = answer.split("<UploadId>")[1].split("<")[0]
        lines = []
        for i in range(-(-size // PART)):
            body = ((i * PART) % len(self.data), min(PART, size - i * PART))
            lines.append(self.signed("PUT", key, {"partNumber": i + 1, "uploadId": uid}, body, hashed=hashed))
        seconds, etags = self.ask(lines, threads)
        parts = "".join(f"<Part><PartNumber>{i + 1}</PartNumber><ETag>{e}</ETag></Part>" for i, e in enumerate(etags))
        start = time.perf_counter()
        client.request("POST", self.bucket, key, query={"uploadId": uid},
                       body=f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode())
        return took + seconds + time.perf_counter() - start

    def there(self, prefix):
        """Is there any object below that prefix?"""
        page = self.client.request("GET", self.bucket, query={"list-type": "2", "prefix": prefix, "max-keys": "1"})[1]
        return b"<Key>" in page

    def put_many(self, prefix, n, length=4096, threads=16):
        self.ask([self.signed("PUT", f"{prefix}/f{i:06}", body=(i % 4096 * 4096, length), hashed=False)
                  for i in range(n)], threads)


# --- who is compared ---------------------------------------------------------------------------------


class Contender:
    """A program that mounts the bucket, in the foreground."""
    name = program = None
    late = False  # what it has taken it sends only after close has returned

    def __init__(self, arena):
        self.arena, self.proc = arena, None
        self.folder = os.path.join(arena.folder, self.name.replace(" ", "-"))
        self.path = os.path.join(self.folder, "mnt")

    def is_there(self):
        if shutil.which(self.program):
            return True
        print(f"  (no {self.name}: {self.program} is not installed)")
        return False

    def argv(self):
        raise NotImplementedError

    def environment(self):
        return {}

    @contextlib.contextmanager
    def mounted(self):
        os.makedirs(self.path)
        os.mkdir(self.folder + "/tmp")
        env = {"PATH": PATH, "HOME": self.folder, "AWS_ACCESS_KEY_ID": self.arena.server.access_key,
               "AWS_SECRET_ACCESS_KEY": self.arena.server.secret_key, **self.environment()}
        with open(self.folder + "/log", "wb") as log:
            self.proc = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        try:
            wait_for(lambda: self.proc.poll() is not None or mounted_at(self.path), 30, self.name)
            os.stat(self.path)
            yield self.path
            wait_for(self.unmount, 60, "umount")
            self.proc.wait(60)
        except BaseException:
            print(read(self.folder + "/log")[-2000:])
            raise
        finally:
            if self.proc.poll() is None:
                self.proc.send_signal(signal.SIGKILL)
                self.proc.wait()
            subprocess.run(["umount", "-l", self.path], check=False, stderr=subprocess.DEVNULL)
            shutil.rmtree(self.folder)

    def unmount(self):
        return subprocess.run(["umount", self.path], check=False, stderr=subprocess.DEVNULL).returncode == 0

    def memory(self):
        """{name: bytes} of its process."""
        found = {}
        for line in read(f"/proc/{self.proc.pid}/smaps_rollup").splitlines():
            words = line.split()
            if len(words) == 3 and words[2] == "kB":
                found[words[0][:-1]] = int(words[1]) << 10
        return {"rss": found["Rss"], "pss": found["Pss"],
                "private": found["Private_Clean"] + found["Private_Dirty"], "anonymous": found["Anonymous"]}


class Ours(Contender):
    name = "sandbox-bucket"

    def is_there(self):
        return True

    def argv(self):
        return [os.path.join(self.arena.build, "sandbox-bucket"), "-f", "-o",
                f"endpoint={self.arena.way.url},spool_dir={self.folder}/tmp", f"s3://{self.arena.bucket}", self.path]


class S3fs(Contender):
    name = program = "s3fs"

    def argv(self):
        return ["s3fs", self.arena.bucket, self.path, "-f", "-o",
                f"url={self.arena.way.url},use_path_request_style,endpoint=us-east-1,tmpdir={self.folder}/tmp"]

    def environment(self):
        return {"AWSACCESSKEYID": self.arena.server.access_key, "AWSSECRETACCESSKEY": self.arena.server.secret_key}


class Rclone(Contender):
    program = "rclone"

    def __init__(self, arena, mode):
        self.name, self.mode = f"rclone {mode}", mode
        self.late = mode == "full"
        super().__init__(arena)

    def argv(self):
        return ["rclone", "mount", f"b:{self.arena.bucket}", self.path, "--vfs-cache-mode", self.mode,
                "--cache-dir", self.folder + "/tmp"]

    def environment(self):
        return {"RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_B_TYPE": "s3", "RCLONE_CONFIG_B_PROVIDER": "Ceph",
                "RCLONE_CONFIG_B_ENV_AUTH": "true", "RCLONE_CONFIG_B_REGION": "us-east-1",
                "RCLONE_CONFIG_B_ENDPOINT": self.arena.way.url}
