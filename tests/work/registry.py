# SPDX-License-Identifier: MIT
"""python3 registry.py FOLDER PORT: a registry of npm's kind on loopback, for the tarballs in FOLDER."""
import base64
import hashlib
import http.server
import json
import os
import sys
import tarfile
import urllib.parse

FOLDER, PORT = sys.argv[1], int(sys.argv[2])
packages = {}


def add(file):
    path = os.path.join(FOLDER, file)
    with open(path, "rb") as f:
        digest = hashlib.sha512(f.read()).digest()
    with tarfile.open(path) as tar:
        name = min((n for n in tar.getnames() if n.endswith("/package.json")), key=lambda n: n.count("/"))
        about = json.load(tar.extractfile(name))
    about["dist"] = {"tarball": f"http://127.0.0.1:{PORT}/-/{file}",
                     "integrity": "sha512-" + base64.b64encode(digest).decode()}
    # What would run when it is installed is said there as well.
    about["hasInstallScript"] = bool({"preinstall", "install", "postinstall"} & set(about.get("scripts", {})))
    entry = packages.setdefault(about["name"], {"name": about["name"], "versions": {}, "dist-tags": {}})
    entry["versions"][about["version"]] = about
    entry["dist-tags"]["latest"] = max(entry["versions"],
                                       key=lambda v: [int(n) for n in v.split("-")[0].split(".")])


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        path = urllib.parse.unquote(self.path)
        if path.startswith("/-/"):
            self.path = path[2:]
            super().do_GET()
            return
        known = packages.get(path[1:])
        body = json.dumps(known or {"error": "not found"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.send_error(404)  # audits and the like


for tarball in sorted(os.listdir(FOLDER)):
    if tarball.endswith(".tgz"):
        add(tarball)
os.chdir(FOLDER)
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
