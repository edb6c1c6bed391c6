# SPDX-License-Identifier: MIT
"""Image archives for tests, made by hand: tars, docker save archives, OCI layouts."""
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def entry(name, kind=tarfile.REGTYPE, data=b"", **fields):
    """(TarInfo, content) of one entry."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(data), 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def folder(name, **fields):
    return entry(name, tarfile.DIRTYPE, **dict({"mode": 0o755}, **fields))


def link(name, target, kind=tarfile.SYMTYPE):
    return entry(name, kind, linkname=target)


def tar(*entries, format=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def config(layers, **fields):
    """The JSON of an image of these (uncompressed) layers."""
    return json.dumps({"architecture": MACHINE, "os": "linux", "config": fields,
                       "rootfs": {"type": "layers",
                                  "diff_ids": ["sha256:" + sha(l) for l in layers]}}).encode()


def saved(layers, text=None, manifest=None, names=None, **fields):
    """As `docker save` has it: the manifest comes last."""
    text = text or config(layers, **fields)
    names = names or [f"{i:064x}/layer.tar" for i in range(len(layers))]
    manifest = manifest if manifest is not None else [{"Config": sha(text) + ".json", "RepoTags": None, "Layers": names}]
    entries = []
    for name, layer in zip(names, layers):
        entries += [folder(name.split("/")[0]), entry(name, data=layer)]
    entries += [entry(sha(text) + ".json", data=text),
                entry("manifest.json", data=json.dumps(manifest).encode())]
    return tar(*entries)


def compress(data, how):
    if how == "gzip":
        return gzip.compress(data)
    if how == "xz":
        return lzma.compress(data)
    if how == "zstd":
        return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


def descriptor(data, kind="application/vnd.oci.image.manifest.v1+json", **fields):
    return dict({"mediaType": kind, "digest": "sha256:" + sha(data), "size": len(data)}, **fields)


def layout(layers, how="gzip", change=lambda blobs, index: None, **fields):
    """An OCI layout as a tar; change() may lie in it."""
    blobs, packed = {}, [compress(l, how) for l in layers]
    text = config(layers, **fields)
    manifest = json.dumps({"schemaVersion": 2, "config": descriptor(text, "config"),
                           "layers": [descriptor(p, "layer") for p in packed]}).encode()
    for blob in packed + [text, manifest]:
        blobs[sha(blob)] = blob
    index = {"schemaVersion": 2, "manifests": [descriptor(manifest)]}
    change(blobs, index)
    return tar(entry("oci-layout", data=b'{"imageLayoutVersion": "1.0.0"}'),
               entry("index.json", data=json.dumps(index).encode()),
               *[entry("blobs/sha256/" + name, data=data) for name, data in blobs.items()])


def busybox_layer(*more):
    """A root filesystem of the machine's busybox, with what it is linked to."""
    path = shutil.which("busybox", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if not path:
        return None
    files = {"bin/busybox": os.path.realpath(path)}
    ldd = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for word in ldd.stdout.split():
        if word.startswith("/"):
            files[word.lstrip("/")] = os.path.realpath(word)
    entries = [folder("."), folder("bin"), folder("etc"), folder("root", mode=0o700)]
    entries += [entry(name, data=open(source, "rb").read(), mode=0o755)
                for name, source in sorted(files.items())]
    entries += [link(f"bin/{name}", "busybox") for name in
                ("sh", "cat", "ls", "id", "echo", "env", "pwd", "mkdir", "rm", "touch", "sleep", "test")]
    entries += [entry("etc/passwd", data=b"root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"),
                entry("etc/group", data=b"root:x:0:\nann:x:1000:\ncrew:x:7:ann\n")]
    return tar(*entries, *more)
