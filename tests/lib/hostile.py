# SPDX-License-Identifier: MIT
"""For tests in which a box works under the host's hands: programs that run in the box, things of
the machine that nothing in the box may reach, and whether they were reached.

    storm = program("storm")                 compiled once for each run of a file
    with Precious(m.folder + "/precious") as precious:
        ...
        precious.check("what was tried")     nothing read, nothing changed
"""
import os
import shutil
import stat
import tempfile

from sbx import BUILD, Failure, Skip, sh, slow, time

HERE = os.path.dirname(os.path.realpath(__file__))
BOX_PROGRAMS = os.path.realpath(os.path.join(HERE, "../security/box"))
ROOT = os.path.realpath(os.path.join(HERE, "../.."))
ESCAPED = "ESCAPED"


def program(name, *options):
    """Path of a program of tests/security/box, compiled now; the folder goes with the run."""
    if not shutil.which("cc"):
        raise Skip("cc")
    folder = tempfile.mkdtemp(prefix="sbx-program.", dir=os.environ.get("TEST_TMP", "/var/tmp"))
    path = os.path.join(folder, name)
    source = os.path.join(BOX_PROGRAMS, name + ".c")
    sh(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}",
        f"-I{ROOT}/runtime", "-o", path, source, *options], timeout=60, check_code=0)
    with open(path, "rb") as f:
        data = f.read()
    shutil.rmtree(folder)
    return data


def install(data, path):
    """A program's bytes as an executable file."""
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, 0o755)
    return path


class Precious:
    """A folder of the machine: `secret` and some below it, readable by all, to be changed by none."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path)
        os.chmod(path, 0o755)
        self.put("secret")
        for i in range(4):
            os.mkdir(os.path.join(path, f"y{i}"), 0o755)
            self.put(f"y{i}/secret")
        self.before = self.fingerprint()
        # What would show that somebody was here: a content, and the numbers of the objects.
        self.marks = {ESCAPED}
        for name in ("", "secret", "y0"):
            st = os.stat(os.path.join(path, name))
            self.marks.add(f"<{st.st_dev}:{st.st_ino}>")

    def put(self, name):
        path = os.path.join(self.path, name)
        with open(path, "w") as f:
            f.write(ESCAPED + "\n")
        os.chmod(path, 0o644)

    def fingerprint(self):
        found = []
        for folder, folders, files in os.walk(self.path):
            for name in [".", *sorted(folders), *sorted(files)]:
                path = os.path.join(folder, name)
                st = os.lstat(path)
                text = ""
                if stat.S_ISREG(st.st_mode):
                    with open(path) as f:
                        text = f.read(100)
                found.append((os.path.relpath(path, self.path), st.st_mode, st.st_uid, st.st_gid,
                              st.st_nlink, st.st_size, st.st_mtime_ns, st.st_ctime_ns, text))
        return found

    def changes(self):
        now = self.fingerprint()
        return [entry for entry in now if entry not in self.before] + \
            [entry for entry in self.before if entry not in now]

    def reached(self, *texts):
        """What somebody got hold of, or None. texts: what programs printed."""
        for text in texts:
            for mark in self.marks:
                if mark in text:
                    return f"{mark} came out: {text[max(0, text.find(mark) - 100):][:200]!r}"
        changes = self.changes()
        return f"changed: {changes[:3]}" if changes else None


def words_of(folder):
    """All contents and link targets below a copy, as one text."""
    found = []
    for top, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(top, name)
            st = os.lstat(path)
            if stat.S_ISLNK(st.st_mode):
                continue
            if stat.S_ISREG(st.st_mode) and st.st_size < 1 << 20:
                with open(path, errors="replace") as f:
                    found.append(f.read())
    return "\n".join(found)


def until(seconds, at_least=1):
    """Rounds until the time is over, but so many."""
    end, n = time.monotonic() + seconds, 0
    while n < at_least or time.monotonic() < end:
        yield n
        n += 1


__all__ = ["BUILD", "ESCAPED", "Failure", "Precious", "install", "program", "slow", "until",
           "words_of"]
