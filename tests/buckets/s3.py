# SPDX-License-Identifier: MIT
"""The client that the tests check others against: one signed request (Signature Version 4, written
from its specification, on nothing but Python's own hashes), without any retry or cleverness.

    client = s3.Client("http://127.0.0.1:7480", access_key, secret_key)
    client.put("bucket", "key", b"bytes"); client.get("bucket", "key"); client.keys("bucket")
"""
import datetime
import hashlib
import hmac
import http.client
import re
import urllib.parse


class Refused(Exception):
    def __init__(self, status, body, headers):
        super().__init__(f"{status}: {body[:500]!r}")
        self.status, self.body, self.headers = status, body, headers


def quote(raw, safe=""):
    return urllib.parse.quote(raw, safe=safe + "-._~")


def signature(secret, date, region, string):
    key = ("AWS4" + secret).encode()
    for part in (date[:8], region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, string.encode(), hashlib.sha256).hexdigest()


def string_to_sign(method, path, query, headers, signed, payload, date, region):
    """path and query as they stand in the request line, encoded; headers by lower-case name."""
    pairs = sorted(p if "=" in p else p + "=" for p in query.split("&")) if query else []
    lines = [method, path, "&".join(pairs)]
    lines += [f"{name}:{' '.join(headers[name].split())}" for name in signed]
    lines += ["", ";".join(signed), payload]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return f"AWS4-HMAC-SHA256\n{date}\n{date[:8]}/{region}/s3/aws4_request\n{digest}"


class Client:
    def __init__(self, endpoint, access_key, secret_key, region="us-east-1"):
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.access_key, self.secret_key, self.region = access_key, secret_key, region

    def request(self, method, bucket, key="", query=None, body=b"", headers=None):
        """The answer's headers and body; anything but 2xx is Refused."""
        path = "/" + quote(bucket) + ("/" + quote(key, "/") if key else "")
        text = "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted((query or {}).items()))
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        payload = hashlib.sha256(body).hexdigest()
        all_headers = {k.lower(): v for k, v in (headers or {}).items()}
        all_headers.update({"host": self.host, "x-amz-date": date, "x-amz-content-sha256": payload})
        signed = sorted(all_headers)
        string = string_to_sign(method, path, text, all_headers, signed, payload, date, self.region)
        all_headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{date[:8]}/{self.region}/s3/aws4_request,"
            f"SignedHeaders={';'.join(signed)},Signature={signature(self.secret_key, date, self.region, string)}")
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, path + ("?" + text if text else ""), body=body or None, headers=all_headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status // 100 != 2:
            raise Refused(answer.status, data, answer.headers)
        return answer.headers, data

    def put(self, bucket, key, body, headers=None):
        return self.request("PUT", bucket, key, body=body, headers=headers)[0]["ETag"]

    def get(self, bucket, key):
        return self.request("GET", bucket, key)[1]

    def head(self, bucket, key):
        return self.request("HEAD", bucket, key)[0]

    def delete(self, bucket, key):
        self.request("DELETE", bucket, key)

    def keys(self, bucket, prefix=""):
        """All keys as bytes, in the server's order."""
        found, query = [], {"list-type": "2", "encoding-type": "url", "prefix": prefix}
        while True:
            page = self.request("GET", bucket, query=query)[1].decode()
            found += [urllib.parse.unquote_to_bytes(k.replace("+", " "))
                      for k in re.findall(r"<Contents>.*?<Key>(.*?)</Key>", page, re.S)]
            token = re.search(r"<NextContinuationToken>(.*?)</NextContinuationToken>", page)
            if not token:
                return found
            query["continuation-token"] = token.group(1)

    def uploads(self, bucket):
        """Keys of multipart uploads that were begun and neither completed nor aborted."""
        page = self.request("GET", bucket, query={"uploads": ""})[1].decode()
        return re.findall(r"<Upload>.*?<Key>(.*?)</Key>", page, re.S)
