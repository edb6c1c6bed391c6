# SPDX-License-Identifier: MIT
"""For black-box tests in Python: a daemon of one's own, boxes, clients, deadlines, a clean end.

    from sbx import *

    @case
    def echo_runs_once(m):
        box = m.box()
        eq(sh("echo 'echo hi' > b/cmd; cat b/out", cwd=box.parent).out, "hi\\n")

    main()

Each case runs in a child process of its own, which is killed with all it started when it is
over or late; a case that hangs is a failed case. All cases of a file share one mount. At the end
the daemon is stopped and what it left (mounts, processes, cgroups) is a failure.
"""
import contextlib
import errno
import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback

__all__ = ["Box", "Client", "Failure", "Mount", "Skip", "USER_A", "USER_B", "as_uid", "case", "check",
           "contextlib", "eq", "errno", "fcntl", "fresh", "main", "matches", "mounted_at", "os", "processes",
           "raises", "re", "read", "sh", "shutil", "signal", "skip", "slow", "stat", "subprocess",
           "sys", "time", "wait_for", "write"]

BUILD = os.environ.get("SBX_BUILD") or os.path.realpath(
    os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../build"))
SLOW = float(os.environ.get("SBX_SLOW", "1"))
SAN = os.environ.get("SBX_SAN", "")
DAEMON = os.path.join(BUILD, "sandboxfs")
USER_A, USER_B = 61001, 61002  # nobody's: no /etc/passwd entry is needed to be an ordinary user
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Failure(Exception):
    pass


class Skip(Exception):
    pass


def skip(what):
    raise Skip(what)


def slow(seconds):
    """A deadline, longer under a sanitizer."""
    return seconds * SLOW


def check(condition, message="check failed"):
    if not condition:
        raise Failure(message)


def eq(got, wanted, what=""):
    if got != wanted:
        raise Failure(f"{what + ': ' if what else ''}got {got!r:.600}, wanted {wanted!r:.600}")


def matches(got, pattern, what=""):
    if not re.search(pattern, got):
        raise Failure(f"{what + ': ' if what else ''}got {got!r:.600}, wanted a match of {pattern!r}")


def raises(code, function, *args, **kwargs):
    """function(*args) must fail with that errno (or one of a tuple)."""
    codes = code if isinstance(code, tuple) else (code,)
    names = " or ".join(errno.errorcode[c] for c in codes)
    try:
        function(*args, **kwargs)
    except OSError as e:
        if e.errno not in codes:
            raise Failure(f"got {errno.errorcode.get(e.errno, e.errno)}, wanted {names}") from e
        return e
    raise Failure(f"succeeded, wanted {names}")


def wait_for(condition, timeout=10.0, what="the condition"):
    """Polls until condition() is true and returns what it gave."""
    deadline = time.monotonic() + slow(timeout)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"waited {slow(timeout):g} s in vain for {what}")
        time.sleep(0.005)


def read(path, mode="r"):
    with open(path, mode) as f:
        return f.read()


def write(path, text):
    """One open, one write, one close; errors of each are OSErrors."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text if isinstance(text, bytes) else text.encode())
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)


class Client:
    """A program that is started now and asked later."""

    def __init__(self, argv, cwd=None, uid=None, stdin=subprocess.DEVNULL, env=None, text=True):
        extra = {}
        if uid is not None:
            extra = {"user": uid, "group": uid, "extra_groups": []}
        self.argv = argv
        full_env = {"PATH": SAFE_PATH, "LC_ALL": "C.UTF-8", "HOME": "/tmp", "TERM": "dumb"}
        full_env.update(env or {})
        self.proc = subprocess.Popen(
            argv, cwd=cwd, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, env=full_env, text=text, errors="replace" if text else None,
            **extra)
        self.pid = self.proc.pid
        self.out = self.err = None
        self.code = None

    def running(self):
        return self.proc.poll() is None

    def wait(self, timeout=20.0):
        """Its end: sets out, err, code. Too late is a failure, and it is killed."""
        try:
            self.out, self.err = self.proc.communicate(timeout=slow(timeout))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.out, self.err = self.proc.communicate(timeout=5)
            raise Failure(f"hung for {slow(timeout):g} s: {self.argv}; so far {self.out!r:.300} "
                          f"{self.err!r:.300}") from None
        self.code = self.proc.returncode
        return self

    def holds(self, path):
        """It has the file open."""
        folder = f"/proc/{self.pid}/fd"
        try:
            return any(os.readlink(f"{folder}/{fd}") == path for fd in os.listdir(folder))
        except OSError:
            return False

    def signal(self, number):
        self.proc.send_signal(number)

    def ended_within(self, seconds):
        start = time.monotonic()
        self.wait(seconds)
        return time.monotonic() - start


def sh(script, cwd=None, timeout=20.0, shell="bash", uid=None, check_code=None, text=True, env=None):
    """Runs a script of a shell (or a program given as a list) to its end."""
    argv = script if isinstance(script, list) else [shell, "-c", script]
    client = Client(argv, cwd=cwd, uid=uid, text=text, env=env).wait(timeout)
    if check_code is not None and client.code != check_code:
        raise Failure(f"{script!r:.300} ended with {client.code}, wanted {check_code}: "
                      f"{client.out!r:.300} {client.err!r:.600}")
    return client


def as_uid(uid, function, *args):
    """Calls function as that user in a child; an OSError or Failure there is one here."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(r)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            value = function(*args)
            report = f"ok {value!r}"
        except OSError as e:
            report = f"errno {e.errno}"
        except BaseException as e:  # pylint: disable=broad-except
            report = f"bad {type(e).__name__}: {e}"
        os.write(w, report.encode())
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as f:
        report = f.read()
    os.waitpid(pid, 0)
    kind, _, rest = report.partition(" ")
    if kind == "ok":
        import ast
        return ast.literal_eval(rest)
    if kind == "errno":
        raise OSError(int(rest), os.strerror(int(rest)))
    raise Failure(rest or "the child died")


def mounted_at(path):
    real = os.path.realpath(os.path.dirname(path)) + "/" + os.path.basename(path)
    with open("/proc/self/mountinfo") as f:
        points = [line.split()[4] for line in f]
    # Blanks and backslashes show as \ooo there.
    unescaped = [re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), p) for p in points]
    return path in unescaped or real in unescaped


def processes():
    """{pid: command line} of all processes seen (in a pid namespace of our own: all of ours)."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as f:
                st = f.read()
            if st.rsplit(")", 1)[1].split()[0] in "ZX":
                continue
            with open(f"/proc/{name}/cmdline") as f:
                line = f.read().replace("\0", " ").strip()
            found[int(name)] = line or st.split("(", 1)[1].rsplit(")", 1)[0]
        except (OSError, IndexError):
            continue
    return found


def state_hash(path):
    """As the daemon names what is of one state directory (hash_bytes in runtime/base/text.c)."""
    h, mask = 0xcbf29ce484222325, (1 << 64) - 1
    for byte in os.fsencode(path):
        h = (h ^ byte) * 0x100000001b3 & mask
    h = h + 0x9e3779b97f4a7c15 & mask
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9 & mask
    h = (h ^ h >> 27) * 0x94d049bb133111eb & mask
    h ^= h >> 31
    return f"{h & 0xffffffff:08x}"


def own_cgroups():
    """Folders of the cgroups of all processes seen that we did not put there ourselves."""
    mine = set(open("/proc/self/cgroup").read().splitlines())
    roots = {}
    for line in open("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            roots[""] = before.split()[4]
        elif kind == "cgroup":
            for option in options.split(","):
                roots[option] = before.split()[4]
    found = set()
    for pid in processes():
        with contextlib.suppress(OSError):
            for line in open(f"/proc/{pid}/cgroup"):
                line = line.rstrip("\n")
                if line in mine:
                    continue
                _, controllers, path = line.split(":", 2)
                root = roots.get(controllers.split(",")[0].replace("name=systemd", "name=systemd"))
                if root and path != "/" and ".." not in path and "sandboxfs" in path:
                    found.add(root + path)
    return found


class Box:
    def __init__(self, mount, name):
        self.mount, self.name = mount, name
        self.path = os.path.join(mount.path, name)

    def __str__(self):
        return self.path

    def at(self, *names):
        return os.path.join(self.path, *names)

    def read(self, name):
        return read(self.at(name))

    def write(self, name, text):
        write(self.at(name), text)

    def cmd(self, script):
        """Submits a script and waits for its end, as `echo script > cmd` does."""
        write(self.at("cmd"), script if script.endswith("\n") else script + "\n")

    def run(self, script):
        """(out, err, exit code) of a script."""
        self.cmd(script)
        return self.read("out"), self.read("err"), self.code()

    def ok(self, script):
        """Output of a script that must end with 0."""
        out, err, code = self.run(script)
        if code != 0:
            raise Failure(f"{script!r:.200} ended with {code} in the box: {out!r:.300} {err!r:.600}")
        return out

    def code(self):
        return int(self.read("exit"))

    def state(self):
        return self.read("state").split()[0]

    def why(self):
        return self.read("why")

    def start(self, script, uid=None):
        """A client process that submits and waits."""
        return Client(["bash", "-c", 'printf "%s\\n" "$1" >"$2"', "client", script, self.at("cmd")],
                      uid=uid)

    def last(self):
        """Number of the newest run, 0 before the first."""
        try:
            return int(os.path.basename(os.readlink(self.at("procs/last"))))
        except FileNotFoundError:
            return 0

    def run_state(self, number):
        return self.read(f"procs/{number}/state").split()[0]

    def wait_running(self, number=None):
        """Until the run (the newest one to come after `number` ones) is running."""
        wait_for(lambda: self.last() > (number or 0) and self.run_state(self.last()) == "running",
                 what="a running command")
        return self.last()


class Mount:
    """A daemon with state and mount point of its own."""
    pass_fds = ()  # what the daemon inherits beside its standard ones

    def __init__(self, options=None, ini=None):
        self.folder = tempfile.mkdtemp(prefix="sbx.", dir=os.environ.get("TEST_TMP", "/var/tmp"))
        os.chmod(self.folder, 0o755)
        self.path = os.path.join(self.folder, "mnt")
        self.state = os.path.join(self.folder, "state")
        self.log = os.path.join(self.folder, "log")
        self.options = dict(options or {})
        self.ini = ini
        self.wrapper = []  # a command that executes the daemon
        self.proc = None
        self.boxes = 0
        self.cgroups = set()
        self.before = set(processes())
        self.groups_before = own_cgroups()
        os.makedirs(self.path, exist_ok=True)
        seed_images(self.state)

    def argv(self, *more):
        options = dict(state_dir=self.state, **self.options)
        argv = [DAEMON, *more]
        if self.ini is not None:
            path = os.path.join(self.folder, "sandboxfs.ini")
            with open(path, "w") as f:
                os.fchmod(f.fileno(), 0o600)  # there may be keys in it
                f.write(self.ini)
            argv += ["-c", path]
        return argv + ["-o", ",".join(f"{k}={v}" for k, v in options.items()), self.path]

    def environment(self):
        san = os.path.join(self.folder, "san")
        env = {"PATH": SAFE_PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"}
        if SAN in ("asan", "ubsan"):
            env["ASAN_OPTIONS"] = f"log_path={san}:exitcode=99:detect_stack_use_after_return=0"
            env["UBSAN_OPTIONS"] = f"log_path={san}:print_stacktrace=1"
            env["LSAN_OPTIONS"] = f"log_path={san}"
        if SAN == "tsan":
            env["TSAN_OPTIONS"] = f"log_path={san}:exitcode=99"
        return env

    def start(self, timeout=30.0):
        """Mounts and waits until the mount answers."""
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen([*self.wrapper, *self.argv("-f")], stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=log, env=self.environment(), cwd="/",
                                         start_new_session=True, pass_fds=self.pass_fds)

        def answers():
            if self.proc.poll() is not None:
                raise Failure(f"the daemon ended with {self.proc.returncode}: {self.log_tail()}")
            return mounted_at(self.path) and os.path.exists(os.path.join(self.path, "README"))
        wait_for(answers, timeout, "the mount to answer")
        save_images(self.state)
        return self

    def log_tail(self, lines=15):
        with contextlib.suppress(OSError):
            return "\n".join(read(self.log).splitlines()[-lines:])
        return ""

    def box(self, name=None):
        self.boxes += 1
        box = Box(self, name or f"b{os.getpid()}-{self.boxes}")
        os.mkdir(box.path)
        return box

    def at(self, *names):
        return os.path.join(self.path, *names)

    def kill(self):
        """SIGKILL to the daemon, as a crash would do it."""
        self.sample()
        self.proc.kill()
        self.proc.wait()

    def restart(self):
        self.kill()
        return self.start()

    def sample(self):
        self.cgroups |= own_cgroups()

    def stop(self, timeout=40.0):
        self.sample()
        if self.proc.poll() is not None:
            raise Failure(f"the daemon has died ({self.proc.returncode}): {self.log_tail()}")
        sh([DAEMON, "stop", self.path], timeout=timeout, check_code=0, env=self.environment())
        try:
            code = self.proc.wait(slow(10))
        except subprocess.TimeoutExpired:
            raise Failure("`sandboxfs stop` has returned and the daemon is still there") from None
        if code != 0:
            raise Failure(f"the daemon ended with {code}: {self.log_tail()}")

    def leftovers(self, allowed=()):
        """A sentence about what it left behind, or None. For a stopped mount."""
        mounts = [line for line in read("/proc/self/mountinfo").splitlines()
                  if self.folder + "/" in line]
        if mounts:
            return f"mounts left: {mounts[:3]}"
        keep = {os.getpid(), 1, os.getppid(), *allowed, *self.before}
        if os.environ.get("SBX_ISOLATED"):
            # A keeper's last close writes the whole disk below its overlay.
            deadline = time.monotonic() + slow(40)
            while True:
                # Another mount's may have come later than this one's beginning.
                left = {p: c for p, c in processes().items() if p not in keep and
                        not (c.startswith("sandbox-net") and self.folder not in c)}
                if not left or time.monotonic() > deadline:
                    break
                time.sleep(0.01)
            if left:
                return f"processes left: {left}"
        # Of another mount there may be some that came later than this one's beginning.
        groups = [g for g in self.cgroups - self.groups_before
                  if f"/{state_hash(self.state)}" in g and os.path.exists(g)]
        if groups:
            return f"cgroups left: {groups[:4]}"
        return None

    def sanitizer_reports(self):
        texts = []
        for name in sorted(os.listdir(self.folder)):
            if name.startswith("san."):
                texts.append(read(os.path.join(self.folder, name)))
        with contextlib.suppress(OSError):
            log = read(self.log)
            found = re.search(r"^.*(ERROR: \w+Sanitizer|runtime error:)(.*\n){0,30}", log, re.M)
            if found:
                texts.append(found.group(0))
        return "\n".join(texts)


    def abandon(self):
        """After a failure: everything of it is killed, nothing is checked."""
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        # Only in a pid namespace of our own can no process be somebody else's.
        found = set(processes()) - self.before if os.environ.get("SBX_ISOLATED") else set()
        for pid in found - {os.getpid()}:
            if is_ours(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", self.path], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def fresh(options=None, ini=None, stop=True, wrapper=()):
    """A mount for one case only; it must end clean."""
    mount = Mount(options, ini=ini)
    mount.wrapper = list(wrapper)
    try:
        mount.start()
        yield mount
        if stop:
            reason = end_mount(mount) or mount.sanitizer_reports()
            check(not reason, reason)
        if not os.environ.get("TEST_TMP"):
            shutil.rmtree(mount.folder, ignore_errors=True)
    except BaseException:
        print("the daemon's log ends with:\n" + mount.log_tail(30), flush=True)
        mount.abandon()
        raise


# The image `host` takes seconds to make; the test files of one run share the first one made.
def shared_images():
    shared = os.environ.get("SBX_SHARED")
    return os.path.join(shared, "images") if shared else None


def seed_images(state):
    shared = shared_images()
    target = os.path.join(state, "images")
    if shared and os.path.isdir(shared) and not os.path.exists(target):
        os.makedirs(state, mode=0o700, exist_ok=True)
        subprocess.run(["cp", "-al", shared, target], check=True)


def save_images(state):
    shared = shared_images()
    source = os.path.join(state, "images")
    if not shared or os.path.exists(shared):
        return
    pid = os.fork()  # behind the tests' back: wait until an image is complete there
    if pid:
        os.waitpid(pid, 0)
        return
    os._exit(copy_images(source, shared))


def copy_images(source, shared):
    # An image is renamed into its place when it is whole: KEY/root is there then.
    names = []
    with contextlib.suppress(OSError):
        for folder, folders, _ in os.walk(source):
            if "root" in folders and "usrmask" in folders:
                names.append(folder)
                break
            if folder.count("/") - source.count("/") > 2:
                break
    if not names:
        return 0
    temp = f"{shared}.{os.getpid()}"
    with open(shared + ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return 0
        if not os.path.exists(shared):
            subprocess.run(["cp", "-al", source, temp], check=False)
            os.rename(temp, shared)
    return 0


CASES = []


def case(function=None, timeout=30.0, name=None):
    """Marks a case. timeout in seconds; longer under a sanitizer."""
    def add(f):
        CASES.append((name or f.__name__, f, timeout))
        return f
    return add(function) if function else add


def one_line(text):
    return " ".join(str(text).split())[:700]


def run_case(function, mount, report):
    """In the child: what the parent reads from report is the outcome."""
    try:
        function(*([mount] if mount else []))
        outcome = "ok"
    except Skip as e:
        outcome = f"skip {one_line(e)}"
    except Failure as e:
        at = traceback.extract_tb(e.__traceback__)
        here = [f for f in at if not f.filename.endswith("sbx.py")]
        line = here[-1].lineno if here else 0
        outcome = f"fail line {line}: {one_line(e)}"
    except BaseException as e:  # pylint: disable=broad-except
        traceback.print_exc(file=sys.stdout)
        at = [f for f in traceback.extract_tb(e.__traceback__) if not f.filename.endswith("sbx.py")]
        line = at[-1].lineno if at else 0
        outcome = f"fail line {line}: {type(e).__name__}: {one_line(e)}"
    sys.stdout.flush()
    os.write(report, outcome.encode())
    os._exit(0)


def fork_case(function, mount, timeout):
    r, w = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(r)
        run_case(function, mount, w)
    os.close(w)
    deadline = time.monotonic() + slow(timeout)
    outcome = b""
    os.set_blocking(r, False)
    import select
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            outcome = f"fail hung: not over after {slow(timeout):g} s".encode()
            break
        ready, _, _ = select.select([r], [], [], left)
        if not ready:
            continue
        chunk = os.read(r, 65536)
        if chunk:
            outcome = chunk
        break
    os.close(r)
    kill_group(pid)
    return (outcome or b"fail the case's process died").decode("utf-8", "replace")


def kill_group(pid):
    """Ends the case's process and clients that it left (in sessions of their own)."""
    children = descendants(pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return
        time.sleep(0.002)


def descendants(pid):
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                st = read(f"/proc/{name}/stat")
                parents[int(name)] = int(st.rsplit(")", 1)[1].split()[1])
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        for child, p in parents.items():
            if p == parent and child not in found and not is_ours(child):
                found.append(child)
                todo.append(child)
    return found


def is_ours(pid):
    with contextlib.suppress(OSError):
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("sandbox")
    return False


def isolate():
    """Run by hand: into a mount, a pid and a network namespace, as tests/run does it."""
    if os.environ.get("SBX_ISOLATED") or os.geteuid() != 0:
        return
    env = dict(os.environ, SBX_ISOLATED="1", PATH=SAFE_PATH, LC_ALL="C.UTF-8",
               PYTHONDONTWRITEBYTECODE="1")
    os.execvpe("unshare", ["unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc",
                           "--kill-child=KILL", "--", "/bin/bash", "-c",
                           'ip link set lo up; "$@"; exit $?', "test", *sys.argv], env)


def say(kind, name, reason=""):
    tail = {"not ok": f" - {reason}", "skip": f" # {reason}"}.get(kind, "")
    print(f"{kind} {name}{tail}", flush=True)


def end_mount(mount):
    """Stops it and looks for leftovers; the reason why that is a failure, or None."""
    try:
        if mount.proc and mount.proc.poll() is None:
            mount.stop()
        elif mount.proc:
            return f"the daemon has died ({mount.proc.returncode})"
        return mount.leftovers()
    except Failure as e:
        return one_line(e)


def main(options=None, mount=True, ini=None):
    """Runs the cases (those named on the command line, or all) and ends the program."""
    isolate()
    if os.geteuid() != 0:
        print("skip all # these tests mount: root is needed")
        sys.exit(77)
    m, failed, skipped, passed = None, 0, 0, 0
    if mount:
        m = Mount(options, ini=ini)
        try:
            m.start()
        except Failure as e:
            say("not ok", "mount", one_line(e))
            sys.exit(1)
    wanted = sys.argv[1:]
    for name, function, timeout in CASES:
        if wanted and name not in wanted:
            continue
        start = time.monotonic()
        outcome = fork_case(function, m, timeout)
        if os.environ.get("SBX_TIMES"):
            print(f"# {name}: {time.monotonic() - start:.2f} s")
        if m:
            m.sample()
        kind, _, reason = outcome.partition(" ")
        if kind == "ok":
            passed += 1
            say("ok", name)
        elif kind == "skip":
            skipped += 1
            say("skip", name, reason)
        else:
            failed += 1
            say("not ok", name, reason)
    if m:
        reason = end_mount(m)
        report = m.sanitizer_reports()
        if report:
            print(report)
            reason = reason or "a sanitizer reported"
        say("not ok" if reason else "ok", "clean-end", reason or "")
        if reason:
            print("the daemon's log ends with:\n" + m.log_tail(30))
            failed += 1
    if not os.environ.get("TEST_TMP") and m and not failed:
        shutil.rmtree(m.folder, ignore_errors=True)
    sys.exit(1 if failed else 77 if skipped and not passed else 0)
