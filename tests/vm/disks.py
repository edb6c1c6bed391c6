# SPDX-License-Identifier: MIT
"""What the virtual machine of `make test-v2` boots from, all of it below one folder: Debian's kernel,
an initramfs, a disk with the packages that the tests need, copied from this machine, and a disk
with the project. No package is installed for it, and nothing but Debian's archive is asked."""
import contextlib
import glob
import hashlib
import lzma
import os
import re
import shutil
import stat
import subprocess

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.realpath(os.path.join(HERE, "../.."))
# The newest of this release first: FUSE passthrough is from 6.9.
KERNELS = ["linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"]
# Built in with some kernels, modules with others; crc32c is not among ext4's declared needs.
DISK_MODULES = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"]
ROOM_MIB = 6144  # beside what is copied; the file is sparse
# Of tests/deps, for what is not done in there: building, checking, tests that meet no cgroup.
NOT_INSIDE = {"clang", "clang-format", "clang-tidy", "shellcheck", "mandoc", "qemu-system-x86",
              "pcmanfm", "xvfb", "xdotool", "dbus-daemon", "mc", "umoci", "libglib2.0-bin", "nodejs",
              "dpkg-dev", "autoconf", "automake", "libtool", "libonig-dev", "bubblewrap", "crun",
              "runc", "libs3-dev", "libxml2-dev", "libcurl4-openssl-dev", "libexpat1-dev"}


class Missing(Exception):
    """The machine does not have what this needs: a reason to skip."""


class Failed(Exception):
    """Something went wrong that should not."""


def output(*argv, cwd=None):
    try:
        r = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise Missing(f"no program {argv[0]}") from None
    if r.returncode != 0:
        raise Failed(f"{' '.join(argv[:3])}: {r.stderr.strip()[-300:]}")
    return r.stdout


def replace_folder(path):
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path, 0o700)
    return path


# --- kernel ---------------------------------------------------------------------------------

def kernel_package(wanted):
    """Name of the package that has the kernel itself, behind its meta package."""
    for name in [wanted] if wanted else KERNELS:
        try:
            depends = output("apt-cache", "depends", "--important", name)
        except Failed:
            continue
        found = re.search(r"Depends: (linux-image-\d\S+)", depends)
        if found or re.match(r"linux-image-\d+\.\d+\.\d", name):
            return found.group(1) if found else name
    raise Missing(f"apt knows no kernel package ({wanted or ', '.join(KERNELS)})")


def download(folder, wanted):
    """The name of the package, now in folder/NAME.part. What apt knows may be too old."""
    for last in (False, True):
        try:
            package = kernel_package(wanted)
            part = replace_folder(os.path.join(folder, package + ".part"))
            output("apt-get", "-q", "download", package, cwd=part)
            return package
        except (Failed, Missing) as e:
            if last:
                raise Missing(f"the kernel could not be downloaded: {e}") from e
            with contextlib.suppress(Failed):
                output("apt-get", "-q", "update")
    return None


def kernel(folder, wanted):
    """(vmlinuz, its modules' folder) of that package, downloaded once and unpacked."""
    try:
        place = os.path.join(folder, kernel_package(wanted))
    except Missing:
        place = None
    if not place or not os.path.isdir(place):
        place = os.path.join(folder, download(folder, wanted))
        part = place + ".part"
        output("dpkg-deb", "-x", glob.glob(part + "/*.deb")[0], part)
        os.unlink(glob.glob(part + "/*.deb")[0])
        version = os.path.basename(glob.glob(part + "/lib/modules/*")[0])
        output("depmod", "-b", part, version)
        os.rename(part, place)
    return glob.glob(place + "/boot/vmlinuz-*")[0], glob.glob(place + "/lib/modules/*")[0]


# --- initramfs ------------------------------------------------------------------------------

def cpio_entry(number, name, mode, data=b"", device=(0, 0)):
    """Kernel: driver-api/early-userspace/buffer-format.rst."""
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def modules_in_order(modules):
    """Files of DISK_MODULES, each behind those that it needs (modules.dep has them the other way)."""
    needs = {}
    with open(os.path.join(modules, "modules.dep"), encoding="utf-8") as f:
        for line in f:
            path, _, others = line.partition(":")
            needs[os.path.basename(path).split(".ko")[0]] = [path, *others.split()]
    found = []
    for name in DISK_MODULES:
        found += [path for path in reversed(needs.get(name, [])) if path not in found]
    return [os.path.join(modules, path) for path in found]


def initramfs(folder, modules):
    program = os.path.join(folder, "init")
    output("cc", "-static", "-O1", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-o", program,
           os.path.join(HERE, "init.c"))
    with open(program, "rb") as f:
        entries = [("init", stat.S_IFREG | 0o755, f.read()), ("modules", stat.S_IFDIR | 0o755, b"")]
    for i, path in enumerate(modules_in_order(modules)):
        with open(path, "rb") as f:
            data = f.read()
        data = lzma.decompress(data) if path.endswith(".xz") else data
        entries.append((f"modules/{i:02}", stat.S_IFREG | 0o644, data))
    # Standard output and error of the first process.
    archive = cpio_entry(1, "dev", stat.S_IFDIR | 0o755)
    archive += cpio_entry(2, "dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive += b"".join(cpio_entry(i + 3, *entry) for i, entry in enumerate(entries))
    path = os.path.join(folder, "initramfs")
    with open(path, "wb") as f:
        f.write(archive + cpio_entry(0, "TRAILER!!!", 0))
    return path


# --- disks ----------------------------------------------------------------------------------

def make_disk(path, tree, room_mib):
    """An ext4 of that tree; it does not exist half-made."""
    used = int(output("du", "-sm", tree).split()[0])
    with open(path + ".part", "wb") as f:
        os.fchmod(f.fileno(), 0o600)
        f.truncate((used + used // 8 + room_mib) << 20)
    output("mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, path + ".part")
    os.rename(path + ".part", path)


def wanted_packages():
    """tests/deps' list and what Debian calls essential, with all that they depend on."""
    installed, provided = {}, {}
    listing = output("dpkg-query", "-W", "-f", "${db:Status-Status}\t${Package}\t${Architecture}\t"
                     "${Essential}${Priority}\t${Pre-Depends}, ${Depends}\t${Provides}\n")
    for line in listing.splitlines():
        status, name, arch, priority, depends, provides = line.split("\t")
        if status != "installed":
            continue
        # Groups of alternatives.
        found = [re.findall(r"(?:^|\|)\s*([a-z0-9][a-z0-9+.-]+)", group)
                 for group in depends.split(",")]
        installed[name] = (arch, priority.startswith("yes") or priority.endswith("required"), found)
        for other in re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9+.-]+)", provides):
            provided.setdefault(other, []).append(name)
    todo = [[name] for name, (_, essential, _) in installed.items() if essential]
    todo += [[name] for name in output(os.path.join(TOP, "tests/deps"), "list").split()
             if name not in NOT_INSIDE]
    seen = set()
    while todo:
        group = todo.pop()
        names = [name for name in group if name in installed][:1] or \
            [other for name in group for other in provided.get(name, [])]
        for name in names:
            if name not in seen:
                seen.add(name)
                todo += installed[name][2]
    return sorted(seen)


def package_files(names):
    """Real paths of their files; those behind /etc/alternatives belong to nobody."""
    paths = set()
    for name in names:
        lists = glob.glob(f"/var/lib/dpkg/info/{name}.list") + \
            glob.glob(f"/var/lib/dpkg/info/{name}:*.list")
        for path in lists:
            with open(path, encoding="utf-8", errors="surrogateescape") as f:
                paths.update(f.read().splitlines())
    for folder in ("/usr/bin", "/usr/sbin"):
        for entry in os.scandir(folder):
            if entry.is_symlink() and os.readlink(entry.path).startswith("/etc/alternatives/"):
                paths.add(entry.path)
    real = set()
    for path in paths:
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if os.path.lexists(path) and not path.startswith(("/etc/", "/var/", "/usr/share/doc/")):
            real.add(path)
    return sorted(real)


def compiled_python(files):
    """What Python keeps of its modules, which no package has: without it each start compiles them."""
    folders = {os.path.dirname(path) for path in files if path.endswith(".py")}
    found = []
    for folder in folders:
        kept = glob.glob(glob.escape(folder) + "/__pycache__/*.pyc")
        found += [os.path.join(folder, "__pycache__"), *kept] if kept else []
    return sorted(found)


def fill_root(tree, modules, packages):
    """The packages' files, with /etc and dpkg's own of this machine."""
    files = [p for p in package_files(packages) if p.startswith("/usr/")]
    files += compiled_python(files)
    links = [p for p in glob.glob("/*") if os.path.islink(p) and os.readlink(p).startswith("usr/")]
    whole = ["/etc", "/var/lib/dpkg/status", "/var/lib/dpkg/info", "/var/lib/dpkg/diversions"]
    for name in ("dev", "home", "mnt", "opt", "proc", "run", "srv", "sys", "usr/local", "var/cache",
                 "var/log"):
        os.makedirs(os.path.join(tree, name), 0o755, exist_ok=True)
    os.makedirs(os.path.join(tree, "root"), 0o700)
    for name in ("tmp", "var/tmp"):
        os.makedirs(os.path.join(tree, name), exist_ok=True)
        os.chmod(os.path.join(tree, name), 0o1777)
    os.chmod(tree, 0o755)
    copy(tree, share(tree, links + files), "--no-recursion")
    copy(tree, whole)
    version = os.path.basename(modules)
    shutil.copytree(modules, os.path.join(tree, "usr/lib/modules", version), symlinks=True)


def share(tree, paths):
    """Hard links instead of copies of files where it can be; the paths that are still to be copied."""
    rest = []
    for path in paths:
        target = os.path.join(tree, path.lstrip("/"))
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                raise OSError
            os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
            os.link(path, target, follow_symlinks=False)
        except OSError:  # a directory, or another filesystem
            rest.append(path)
    return rest


def copy(tree, paths, *options):
    names = "\0".join(path.lstrip("/") for path in paths).encode("utf-8", "surrogateescape")
    with subprocess.Popen(["tar", "-C", "/", "--xattrs", "--xattrs-include=*", "--null",
                           *options, "-T", "-", "-cf", "-"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as source, \
            subprocess.Popen(["tar", "-C", tree, "--xattrs", "--xattrs-include=*", "-xpf", "-"],
                             stdin=source.stdout) as target:
        source.stdout.close()
        source.stdin.write(names)
        source.stdin.close()
        if target.wait() != 0 or source.wait() != 0:
            raise Failed("tar could not copy this machine's packages")


def root_disk(folder, modules):
    """Made once for each state of this machine's packages."""
    packages = wanted_packages()
    state = hashlib.sha256()
    for path in ("/var/lib/dpkg/status", "/etc/passwd", os.path.join(HERE, "disks.py")):
        with open(path, "rb") as f:
            state.update(f.read())
    state.update(" ".join([modules, *packages]).encode())
    path = os.path.join(folder, f"root-{state.hexdigest()[:16]}.ext4")
    if not os.path.exists(path):
        for old in glob.glob(folder + "/root-*"):
            os.unlink(old)
        tree = replace_folder(os.path.join(folder, "root.tree"))
        try:
            fill_root(tree, modules, packages)
            make_disk(path, tree, ROOM_MIB)
        finally:
            shutil.rmtree(tree, ignore_errors=True)
    return path


def project_disk(folder, build, arguments):
    """The project as it is now, with what is built."""
    tree = replace_folder(os.path.join(folder, "project.tree"))
    path = os.path.join(folder, "project.ext4")
    try:
        os.chmod(tree, 0o755)
        for entry in os.scandir(TOP):
            if entry.name.startswith(".") or entry.name == "build":
                continue
            output("cp", "-a", entry.path, tree)
        os.makedirs(os.path.join(tree, "build/unit"))
        for name in ("sandboxfs", "sandbox-keeper", "sandbox-init", "sandbox-image",
                     "sandbox-net"):
            output("cp", "-a", os.path.join(build, name), os.path.join(tree, "build"))
        for program in glob.glob(os.path.join(build, "unit/*")):
            output("cp", "-a", program, os.path.join(tree, "build/unit"))
        with open(os.path.join(tree, "vm-arguments"), "w", encoding="utf-8") as f:
            f.write("".join(argument + "\n" for argument in arguments))
        make_disk(path, tree, 64)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    return path
