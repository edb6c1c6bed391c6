# SPDX-License-Identifier: MIT
"""A server that is made up, for what a real one cannot do within a test: a directory of a million names, files
larger than the memory of the machine, keys of any bytes. It keeps small objects, of large ones only the hashes;
it looks at no signature. What it knows of S3 is what the tests need.

    made = Made(); made.url
    made.names = sorted(keys)                 # bytes; objects of one byte each, beside those that were put
    made.patterned(b"big", size)              # an object whose bytes are pattern(0, size)
    made.is_pattern(b"big", size)             # was it put so? From the hashes of its parts
"""
import bisect
import hashlib
import os
import re
import socket
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from gate import Closed, Stream, error_document  # noqa: E402  pylint: disable=wrong-import-position

MIB = 1 << 20
KEPT = 1 << 16
BLOCK = os.urandom(4096)


def pattern(offset, size):
    """Bytes that tell where they belong: each 4 KiB begin with their number."""
    first, last = offset >> 12, (offset + size + 4095) >> 12
    block = bytearray(BLOCK * (last - first))
    for i in range(last - first):
        block[i << 12:(i << 12) + 8] = (first + i).to_bytes(8, "big")
    skip = offset - (first << 12)
    return bytes(block[skip:skip + size])


def md5_of_pattern(offset, size):
    digest = hashlib.md5()
    for at in range(offset, offset + size, MIB):
        digest.update(pattern(at, min(MIB, offset + size - at)))
    return digest.hexdigest()


class Object:
    def __init__(self, size, etag, data=None, parts=()):
        self.size, self.etag, self.data, self.parts = size, etag, data, parts


ONE = Object(1, hashlib.md5(b"x").hexdigest(), b"x")


class Made:
    def __init__(self):
        self.names, self.objects, self.uploads, self.seen = [], {}, {}, []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def patterned(self, key, size):
        self.objects[key] = Object(size, hashlib.md5(b"%d" % size).hexdigest())

    def is_pattern(self, key, size):
        at, whole = 0, self.objects[key]
        for part_size, md5 in whole.parts:
            if md5_of_pattern(at, part_size) != md5:
                return False
            at += part_size
        return at == whole.size == size

    # --- connections ---------------------------------------------------------------------------

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = Stream(sock)
            while True:
                first, headers = stream.head()
                method, target, _ = first.split(" ")
                path, _, query = target.partition("?")
                key = urllib.parse.unquote_to_bytes(path).split(b"/", 2)[2:]
                params = dict(urllib.parse.parse_qsl(query, keep_blank_values=True, encoding="latin-1"))
                body, digest, size = [], hashlib.md5(), 0
                for data in stream.body(headers):
                    digest.update(data)
                    size += len(data)
                    if size <= KEPT or method == "POST":
                        body.append(data)
                self.seen.append((method, target))
                self.answer(sock, method, key[0] if key else b"", params, headers,
                            Object(size, digest.hexdigest(), b"".join(body)))
        except (Closed, OSError, ValueError):
            pass
        finally:
            sock.close()

    def answer(self, sock, method, key, params, headers, body):
        run = getattr(self, "do_" + method.lower())
        with self.lock:
            status, document, more = run(key, params, headers, body)
        length = more.pop("Content-Length", len(document))
        text = "".join(f"{k}: {v}\r\n" for k, v in more.items())
        sock.sendall(f"HTTP/1.1 {status} Made\r\nContent-Length: {length}\r\n"
                     f"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n{text}\r\n".encode())
        if method == "HEAD":
            return
        if isinstance(document, range):
            for at in range(document.start, document.stop, MIB):
                sock.sendall(pattern(at, min(MIB, document.stop - at)))
        else:
            sock.sendall(document)

    # --- requests ------------------------------------------------------------------------------

    def find(self, key):
        at = bisect.bisect_left(self.names, key)
        return self.objects.get(key) or (ONE if self.names[at:at + 1] == [key] else None)

    def do_get(self, key, params, headers, _body):
        if not key:
            return self.uploads_page() if "uploads" in params else self.page(params)
        found = self.find(key)
        if not found:
            return 404, error_document("NoSuchKey", "none"), {}
        more = {"ETag": f'"{found.etag}"'}
        start, end = 0, found.size
        wanted = re.match(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if wanted:
            start, end = int(wanted[1]), min(found.size, int(wanted[2] or found.size - 1) + 1)
            more["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
        more["Content-Length"] = end - start
        return (206 if wanted else 200, found.data[start:end] if found.data is not None else range(start, end), more)

    do_head = do_get

    def do_put(self, key, params, headers, body):
        source = headers.get("x-amz-copy-source")
        if source:
            body = self.find(urllib.parse.unquote_to_bytes(source).split(b"/", 2)[2])
        if "uploadId" in params:
            self.uploads[params["uploadId"]][1][int(params["partNumber"])] = (body.size, body.etag)
        else:
            self.objects[key] = Object(body.size, body.etag, body.data if body.size <= KEPT else None,
                                       [(body.size, body.etag)])
        document = f"<CopyObjectResult><ETag>\"{body.etag}\"</ETag></CopyObjectResult>".encode() if source else b""
        return 200, document, {"ETag": f'"{body.etag}"'}

    def do_post(self, key, params, _headers, body):
        if "delete" in params:
            for name in re.findall(rb"<Key>(.*?)</Key>", body.data, re.S):
                self.objects.pop(re.sub(rb"&#(\d+);", lambda m: bytes([int(m[1])]), name), None)
            return 200, b"<DeleteResult/>", {}
        if "uploads" in params:
            name = f"u{len(self.seen)}"
            self.uploads[name] = (key, {})
            return 200, f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId>" \
                        "</InitiateMultipartUploadResult>".encode(), {}
        _, parts = self.uploads.pop(params["uploadId"])
        parts = [parts[i] for i in sorted(parts)]
        digest = hashlib.md5(b"".join(bytes.fromhex(md5) for _, md5 in parts)).hexdigest()
        whole = Object(sum(size for size, _ in parts), f"{digest}-{len(parts)}", None, parts)
        self.objects[key] = whole
        return 200, f'<CompleteMultipartUploadResult><ETag>"{whole.etag}"</ETag>' \
                    "</CompleteMultipartUploadResult>".encode(), {}

    def do_delete(self, key, params, _headers, _body):
        if "uploadId" in params:
            self.uploads.pop(params["uploadId"], None)
        else:
            self.objects.pop(key, None)
        return 204, b"", {}

    def uploads_page(self):
        return 200, b"<ListMultipartUploadsResult/>", {}

    def page(self, params):
        """ListObjectsV2. What was put beside the fixed names is merged in; there is little of it."""
        names = sorted(set(self.names) | set(self.objects)) if self.objects else self.names
        prefix, limit = params.get("prefix", "").encode("latin-1"), int(params.get("max-keys", 1000))
        token = bytes.fromhex(params.get("continuation-token", ""))
        at, last, items = bisect.bisect_left(names, max(prefix, token)), b"", []
        while at < len(names) and names[at].startswith(prefix) and len(items) < limit:
            name = names[at]
            slash = name.find(b"/", len(prefix)) if params.get("delimiter") else -1
            if slash >= 0:
                items.append(b"<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>" % quote(name[:slash + 1]))
                last = name[:slash] + b"0"  # what is next behind a slash
                at = bisect.bisect_left(names, last)
            else:
                found = self.find(name)
                items.append(b"<Contents><Key>%s</Key><Size>%d</Size><ETag>&quot;%s&quot;</ETag></Contents>" % (
                    quote(name), found.size, found.etag.encode()))
                last, at = name + b"\0", at + 1
        more = b""
        if at < len(names) and names[at].startswith(prefix):
            more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>%s</NextContinuationToken>" % \
                last.hex().encode()
        return 200, b"<ListBucketResult><EncodingType>url</EncodingType>" + b"".join(items) + more + \
            b"</ListBucketResult>", {}

    def stop(self):
        self.listener.close()


def quote(name):
    return urllib.parse.quote(name, safe="/").encode()
