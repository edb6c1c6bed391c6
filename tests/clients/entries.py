# SPDX-License-Identifier: MIT
"""The entries of the table (client × entry): what a client does with each, and what comes of it."""
import json

from clients import Entry
from sbx import *  # noqa: F403

UNTIL_GO = "until [ -e /workspace/go ]; do sleep 0.005; done"


def at(name, script=None):
    """Prepares: the entry's path, after that script was run."""
    def prepare(box):
        if script:
            box.cmd(script)
        return box.at(name)
    return prepare


def live(name, script):
    """Prepares: the script runs; it is let go when somebody waits for it."""
    def prepare(box):
        box.ok("true")
        write_nonblock(box.at("cmd"), script + "\n")
        box.wait_running(1)
        if os.fork() == 0:
            # Who polls is not among the waiting; the reader is there by then.
            with contextlib.suppress(Exception):
                wait_for(lambda: waiting(box.mount) > 0, timeout=1, what="the reader")
            open(box.at("files/go"), "w").close()
            os._exit(0)
        return box.at(name)
    return prepare


def write_nonblock(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, text.encode())
    os.close(fd)


def waiting(m):
    return int(re.search(r"waiting requests: (\d+)", read(m.at(".sandboxfs/status"))).group(1))


def prints(text):
    def expected(_, got):
        eq(got, text)
    return expected


def prints_what_is_in(name):
    def expected(box, got):
        check(got, "nothing was read")
        eq(got, box.read(name))
    return expected


def ran_once(out, err, code):
    def expected(box, got):
        eq(got, "", "the client's own output")
        eq(read(box.at("files/ran")), "x\n", "runs that had ended when the client had")
        eq((box.read("out"), box.read("err"), box.read("exit")), (out, err, code))
        eq(box.last(), 1, "number of runs")
    return expected


def says(script, text):
    """After a write: the box's next command prints that."""
    def expected(box, got):
        eq(got, "")
        eq(box.ok(script), text)
    return expected


def first_event(box, got):
    event = json.loads(got)
    eq((event["box"], event["event"]), (box.name, "created"))


def frozen(box, got):
    eq(got, "")
    wait_for(lambda: box.state() == "frozen", what="frozen")


def with_setting(name, value):
    def expected(box, got):
        eq((got, box.read(name)), ("", value + "\n"))
    return expected


def with_new_env(box):
    os.close(os.open(box.at("env/NEW"), os.O_WRONLY | os.O_CREAT, 0o600))
    return box.at("env/NEW")


def session(name, script=None):
    """Prepares: an entry of a session, after that script was run in it."""
    def prepare(box):
        os.mkdir(box.at("sessions/s"))
        if script:
            write(box.at("sessions/s/cmd"), script + "\n")
        return box.at("sessions/s", name)
    return prepare


def in_session(out, err, code):
    def expected(box, got):
        eq(got, "")
        eq([box.read(f"sessions/s/{name}") for name in ("out", "err", "exit")], [out, err, code])
        eq(box.read("out"), "", "the default session's")
    return expected


def named(name, script=None, ready=None):
    """Prepares: an entry of the named run web, in which that script runs and has made `ready`."""
    def prepare(box):
        os.mkdir(box.at("procs/web"))
        if script:
            write(box.at("procs/web/cmd"), script + "\n")
        if ready:
            wait_for(lambda: os.path.exists(box.at("files", ready)), what=ready)
        return box.at("procs/web", name)
    return prepare


def own_run(run, out, err, code):
    def expected(box, got):
        eq(got, "")
        eq([box.read(f"procs/{run}/{name}") for name in ("exit", "out", "err")], [code, out, err])
        eq(box.read(f"procs/{run}/session"), "")
    return expected


def input_arrived(box, got):
    eq((got, box.read("procs/web/exit")), ("", "0\n"))
    eq(box.read("files/got"), "some text\n")


def ended_as(state, code):
    def expected(box, got):
        eq(got, "")
        eq((box.read("procs/web/exit"), box.read("procs/web/state")), (code, state + "\n"))
    return expected


def a_login_shell(_, got):
    check("42" in got, got)


SCRIPT = "echo one; echo two; echo bad >&2; echo x >> /workspace/ran; (exit 3)"
LIVE = f"echo one; echo bad >&2; {UNTIL_GO}; echo two; echo worse >&2; (exit 3)"
ENTRIES = [
    Entry("cmd", "put", at("cmd"), ran_once("one\ntwo\n", "bad\n", "3\n"), SCRIPT),
    Entry("cmd, several lines", "put", at("cmd"), ran_once("1\n2\n", "", "0\n"),
          "for i in 1 2\ndo echo $i\ndone\necho x >> /workspace/ran"),
    Entry("cmd, a transaction", "talk", at("cmd"), prints("one\n7\n"), "echo one; echo $((3+4))"),
    Entry("cmd, a live transaction", "talk", at("cmd"), prints("one\ntwo\n"),
          "echo one; sleep 0.05; echo two"),
    Entry("cmd, two transactions", "twice", at("cmd"), prints("1\n2\n"), "n=$((n+1)); echo $n"),
    Entry("out", "get", at("out", "seq 1000"), prints("".join(f"{i}\n" for i in range(1, 1001)))),
    Entry("out, live", "get", live("out", LIVE), prints("one\ntwo\n")),
    Entry("out, first line, live", "line", live("out", f"{UNTIL_GO}; echo one; sleep 9"),
          prints("one\n")),
    Entry("err", "get", at("err", SCRIPT), prints("bad\n")),
    Entry("err, live", "get", live("err", LIVE), prints("bad\nworse\n")),
    Entry("exit", "get", at("exit", SCRIPT), prints("3\n")),
    Entry("exit, live", "get", live("exit", LIVE), prints("3\n")),
    Entry("exit, before any command", "get", at("exit"), prints("")),
    Entry("log", "get", at("log", "echo hi"), prints_what_is_in("log")),
    Entry("state", "get", at("state", "true"), prints("running\n")),
    Entry("state, new", "get", at("state"), prints("new\n")),
    Entry("events", "line", at("events"), first_event),
    Entry("ps", "get", at("ps"), prints_what_is_in("ps")),
    Entry("README", "get", at("README"), prints_what_is_in("README")),
    Entry("cwd", "get", at("cwd", "cd /tmp"), prints("/tmp\n")),
    Entry("cwd, written", "put", at("cwd", "true"), says("pwd", "/usr/lib\n"), "/usr/lib"),
    Entry("env", "get", at("env/HOME"), prints("/root\n")),
    Entry("env, written", "put", at("env/HOME", "true"), says("echo $HOME", "/a b\n"), "/a b"),
    Entry("env, made", "put", with_new_env, says('echo "$NEW"', "it's\n"), "it's"),
    Entry("image, written", "put", at("image"), with_setting("image", "host"), "host"),
    Entry("ctl", "put", at("ctl", "true"), frozen, "freeze"),
    Entry("procs/1/cmd", "get", at("procs/1/cmd", SCRIPT), prints(SCRIPT + "\n")),
    Entry("procs/1/out", "get", at("procs/1/out", SCRIPT), prints("one\ntwo\n")),
    Entry("procs/1/err", "get", at("procs/1/err", SCRIPT), prints("bad\n")),
    Entry("procs/1/exit", "get", at("procs/1/exit", SCRIPT), prints("3\n")),
    Entry("procs/1/log", "get", at("procs/1/log", "echo one; echo two"), prints("one\ntwo\n")),
    Entry("procs/1/state", "get", at("procs/1/state", SCRIPT), prints("exited\n")),
    Entry("procs/1/session", "get", at("procs/1/session", SCRIPT), prints("default\n")),
    Entry("procs/last/out", "get", at("procs/last/out", SCRIPT), prints("one\ntwo\n")),
    Entry("procs/2/out, live", "get", live("procs/2/out", LIVE), prints("one\ntwo\n")),
    Entry("procs/2/exit, live", "get", live("procs/2/exit", LIVE), prints("3\n")),
    Entry("sessions/s/cmd", "put", session("cmd"), in_session("one\ntwo\n", "bad\n", "3\n"),
          SCRIPT),
    Entry("sessions/s/cmd, a transaction", "talk", session("cmd"), prints("one\n"), "echo one"),
    Entry("sessions/s/out", "get", session("out", SCRIPT), prints("one\ntwo\n")),
    Entry("sessions/s/exit", "get", session("exit", SCRIPT), prints("3\n")),
    Entry("sessions/s/cwd, written", "put", session("cwd"),
          lambda box, got: eq(box.read("sessions/s/cwd"), "/usr\n"), "/usr"),
    Entry("sessions/s/user, written", "put", session("user"),
          with_setting("sessions/s/user", "nobody"), "nobody"),
    Entry("procs/new", "put", lambda box: box.at("procs/new"),
          own_run("last", "one\ntwo\n", "bad\n", "3\n"), SCRIPT),
    Entry("procs/new, its number", "talk", lambda box: box.at("procs/new"), prints("1\n"), SCRIPT),
    Entry("procs/new, two numbers", "twice", lambda box: box.at("procs/new"), prints("1\n2\n"),
          "true"),
    Entry("procs/web/cmd", "put", named("cmd"), own_run("web", "one\ntwo\n", "bad\n", "3\n"),
          SCRIPT),
    Entry("procs/web/cmd, read", "get", named("cmd", SCRIPT), prints(SCRIPT + "\n")),
    Entry("procs/web/in", "put", named("in", "cat > got"), input_arrived, "some text"),
    Entry("procs/web/out, live", "get", named("out", "echo one; sleep 0.05; echo two"),
          prints("one\ntwo\n")),
    Entry("procs/web/exit, live", "get", named("exit", "sleep 0.05; exit 3"), prints("3\n")),
    Entry("procs/web/signal", "put", named("signal", "touch up; sleep 100", "up"),
          ended_as("signalled", "143\n"), "TERM"),
    Entry("procs/web/timeout", "put", named("timeout", "sleep 100"), ended_as("timeout", "124\n"),
          "50ms"),
    Entry("tty", "talk", lambda box: box.at("tty"), a_login_shell, "echo $((40+2)); exit"),
    Entry("files", "put", lambda box: with_file(box, ""), says("cat f", "text\n"), "text"),
    Entry("files, read", "get", lambda box: with_file(box, "a\nb\n"), prints("a\nb\n")),
]


def with_file(box, text):
    with open(box.at("files/f"), "w") as f:
        f.write(text)
    return box.at("files/f")
