# SPDX-License-Identifier: MIT
"""Clients of every kind, for tables of (client × entry).

A client is a program with up to four tiny scripts. $F is the entry's path, $T the text, $W a
folder to write in; what a script prints is what the cell compares.

    put    opens F for writing, writes T and a newline, closes
    get    reads F to its end, prints it exactly
    talk   opens F read-write, writes T, prints all that comes to the end of file
    twice  the same, then writes T again on the same handle and prints what comes
    line   prints the first line of F and goes away

A script that is missing is a thing that this program cannot do.
"""
import os

from sbx import case, eq, sh, shutil, skip, subprocess

HERE = os.path.dirname(os.path.realpath(__file__))
VERBS = ("put", "get", "talk", "twice", "line")

# The shells: redirections of commands, and descriptors of their own.
PRINT = 'while IFS= read -r l; do printf "%s\\n" "$l"; done'
SHELL = {
    "put": 'echo "$T" > "$F"',
    "get": PRINT + ' < "$F"',
    "talk": f'exec 3<>"$F"; echo "$T" >&3; {PRINT} <&3; exec 3>&-',
    "twice": f'exec 3<>"$F"; for i in 1 2; do echo "$T" >&3; cat <&3; done; exec 3>&-',
    "line": 'read -r l < "$F"; printf "%s\\n" "$l"',
}
SHELL_EXEC = {
    "put": 'exec 4>"$F"; printf "%s\\n" "$T" >&4; exec 4>&-',
    "get": 'exec 4<"$F"; cat <&4; exec 4<&-',
    "talk": '{ echo "$T"; cat <&3 >&4; } 3<>"$F" 4>&1 >&3',
    "line": 'exec 4<"$F"; read -r l <&4; printf "%s\\n" "$l"',
}

PYTHON = {
    "put": "import os\nopen(os.environ['F'],'w').write(os.environ['T']+'\\n')",
    "get": "import os\nprint(open(os.environ['F']).read(), end='')",
    "talk": "import os,sys\nf=open(os.environ['F'],'r+b',buffering=0)\n"
            "f.write(os.environb[b'T']+b'\\n')\nsys.stdout.buffer.write(f.read())",
    "twice": "import os,sys\nwith open(os.environ['F'],'r+b',buffering=0) as f:\n for i in 1,2:\n"
             "  f.write(os.environb[b'T']+b'\\n')\n  sys.stdout.buffer.write(f.read())",
    "line": "import os\nwith open(os.environ['F']) as f: print(f.readline(), end='')",
}
PYTHON_OS = {
    "put": "import os\nf=os.open(os.environ['F'],os.O_WRONLY)\n"
           "os.write(f,os.environb[b'T']+b'\\n')\nos.close(f)",
    "get": "import os,sys\nf=os.open(os.environ['F'],os.O_RDONLY)\n"
           "while c:=os.read(f,7): os.write(1,c)",
    "talk": "import os\nf=os.open(os.environ['F'],os.O_RDWR)\nos.write(f,os.environb[b'T']+b'\\n')\n"
            "while c:=os.read(f,7): os.write(1,c)",
    "line": "import os\nos.write(1,os.read(os.open(os.environ['F'],os.O_RDONLY),65536)"
            ".splitlines(True)[0])",
}
NODE_SYNC = {
    "put": "require('fs').writeFileSync(process.env.F, process.env.T+'\\n')",
    "get": "process.stdout.write(require('fs').readFileSync(process.env.F))",
    "talk": "const fs=require('fs'), f=fs.openSync(process.env.F,'r+'), b=Buffer.alloc(99);"
            "fs.writeSync(f, process.env.T+'\\n');"
            "for(let n; n=fs.readSync(f,b,0,99,null);) fs.writeSync(1,b,0,n); fs.closeSync(f)",
    "twice": "const fs=require('fs'), f=fs.openSync(process.env.F,'r+'), b=Buffer.alloc(99);"
             "for(let i=0;i<2;i++){ fs.writeSync(f, process.env.T+'\\n');"
             "for(let n; n=fs.readSync(f,b,0,99,null);) fs.writeSync(1,b,0,n) } fs.closeSync(f)",
    "line": "const fs=require('fs'), b=Buffer.alloc(65536);"
            "const n=fs.readSync(fs.openSync(process.env.F),b); fs.writeSync(1, "
            "b.toString('utf8',0,n).split('\\n')[0]+'\\n')",
}
NODE_ASYNC = {
    "put": "require('fs').promises.writeFile(process.env.F, process.env.T+'\\n')",
    "get": "require('fs').createReadStream(process.env.F).pipe(process.stdout)",
    "talk": "const fs=require('fs'); fs.open(process.env.F,'r+',(e,f)=>{ if(e) throw e;"
            "fs.write(f, process.env.T+'\\n', e=>{ if(e) throw e; const b=Buffer.alloc(99);"
            "const next=()=>fs.read(f,b,0,99,null,(e,n)=>{ if(e) throw e;"
            "if(!n) return fs.close(f); process.stdout.write(Buffer.from(b.subarray(0,n))); next() });"
            "next() }) })",
    "line": "const s=require('fs').createReadStream(process.env.F,{encoding:'utf8'});"
            "s.once('data',d=>{ process.stdout.write(d.split('\\n')[0]+'\\n'); process.exit() })",
}
PERL = {
    "put": "open F,'>',$ENV{F} or die $!; print F \"$ENV{T}\\n\"; close F or die $!",
    "get": "open F,'<',$ENV{F} or die $!; print while <F>",
    "talk": "open F,'+<',$ENV{F} or die $!; syswrite F,\"$ENV{T}\\n\" or die $!;"
            "print $b while sysread F,$b,99; close F",
    "twice": "$|=1; open F,'+<',$ENV{F} or die $!; for (1,2) { syswrite F,\"$ENV{T}\\n\" or die $!;"
             "print $b while sysread F,$b,99 } close F",
    "line": "open F,'<',$ENV{F} or die $!; print scalar <F>",
}
AWK = {
    "put": 'BEGIN { print ENVIRON["T"] > ENVIRON["F"]; close(ENVIRON["F"]) }',
    "get": 'BEGIN { while ((getline l < ENVIRON["F"]) > 0) print l; close(ENVIRON["F"]) }',
    "line": 'BEGIN { getline l < ENVIRON["F"]; print l; close(ENVIRON["F"]) }',
}
# awk has no files open both ways, but its own input and output may be one.
AWK_TALK = ("{awk} 'BEGIN {{ print ENVIRON[\"T\"]; fflush(); while ((getline l < \"-\") > 0) "
            "print l > \"/dev/stderr\" }}' 4>&1 0<>\"$F\" 1>&0 2>&4")
C = {verb: verb for verb in VERBS}

COREUTILS = {
    "cat": {"put": 'echo "$T" | cat > "$F"', "get": 'cat "$F"'},
    "head": {"get": 'head -n 9999 "$F"', "line": 'head -n 1 "$F"'},
    "tail": {"get": 'tail -n +1 "$F"'},
    "tail -c": {"get": 'tail -c 9999 "$F"'},
    "dd": {"put": 'echo "$T" > "$W/i"; dd if="$W/i" of="$F" status=none',
           "get": 'dd if="$F" bs=5 status=none',
           "line": 'dd if="$F" bs=4096 count=1 status=none | head -n 1'},
    "cp": {"put": 'echo "$T" > "$W/i"; cp "$W/i" "$F"', "get": 'cp "$F" "$W/o" && cat "$W/o"'},
    "tee": {"put": 'echo "$T" | tee "$F" > "$W/o"', "get": 'tee < "$F"'},
    "sed": {"put": 'echo "$T" | sed -n "w $F"', "get": 'sed -n p "$F"', "line": 'sed 1q "$F"'},
    "grep": {"get": 'grep "" "$F"', "line": 'grep -m 1 "" "$F"'},
    "sort": {"get": 'sort -s -k99 "$F"'},
    "busybox cat": {"get": 'busybox cat "$F"'},
    "busybox cp": {"put": 'echo "$T" > "$W/i"; busybox cp "$W/i" "$F"',
                   "get": 'busybox cp "$F" "$W/o" && cat "$W/o"'},
}


class Kind:
    """A client: needs (a program), argv in front of the script, and the scripts."""

    def __init__(self, name, needs, argv, scripts):
        self.name, self.needs, self.argv, self.scripts = name, needs, argv, scripts

    def run(self, verb, path, text, folder, timeout=20.0):
        return sh(self.argv + [self.script(verb)], timeout=timeout, env=self.environment(
            path, text, folder))

    def script(self, verb):
        return self.scripts[verb]

    @staticmethod
    def environment(path, text, folder):
        return {"F": path, "T": text, "W": folder}


class CKind(Kind):
    """The small C program, compiled by whoever needs it first."""

    def run(self, verb, path, text, folder, timeout=20.0):
        return sh([compiled("clients/io"), verb], timeout=timeout,
                  env=self.environment(path, text, folder))


def awks():
    found = []
    for awk in ("gawk", "mawk"):
        found.append(Kind(awk, awk, [awk], AWK))
        found.append(Kind(awk + " on 0 and 1", awk, ["bash", "-c"],
                          {"talk": AWK_TALK.format(awk=awk)}))
    return found


SHELLS = [
    Kind("bash", "bash", ["bash", "-c"], SHELL),
    Kind("bash exec", "bash", ["bash", "-c"], SHELL_EXEC),
    Kind("dash", "dash", ["dash", "-c"], SHELL),
    Kind("dash exec", "dash", ["dash", "-c"], SHELL_EXEC),
    Kind("busybox sh", "busybox", ["busybox", "sh", "-c"], SHELL),
]
LANGUAGES = [
    Kind("python", "python3", ["python3", "-c"], PYTHON),
    Kind("python os", "python3", ["python3", "-c"], PYTHON_OS),
    Kind("node sync", "node", ["node", "-e"], NODE_SYNC),
    Kind("node async", "node", ["node", "-e"], NODE_ASYNC),
    Kind("perl", "perl", ["perl", "-e"], PERL),
    CKind("C", "cc", [], C),
] + awks()
TOOLS = [Kind(name, name.split()[0], ["bash", "-c"], scripts)
         for name, scripts in COREUTILS.items()]


def compiled(name):
    """The program of tests/NAME.c, compiled once a file of tests."""
    folder = os.environ.get("SBX_SHARED") or os.environ.get("TEST_TMP") or "/var/tmp"
    source = os.path.join(HERE, "..", name + ".c")
    program = os.path.join(folder, f"sbx-{os.path.basename(name)}-{os.stat(source).st_mtime_ns}")
    if not os.path.exists(program):
        if not shutil.which("cc"):
            skip("cc")
        temp = f"{program}.{os.getpid()}"
        subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror",
                        "-pthread", "-o", temp, source], check=True)
        os.rename(temp, program)
    return program


class Entry:
    """A row of the table: prepare(box) returns the path; expected(box, got) checks.

    verb is what the client does with it, text what it writes.
    """

    def __init__(self, name, verb, prepare, expected, text=""):
        self.name, self.verb, self.prepare, self.expected = name, verb, prepare, expected
        self.text = text


# What such a program does not do with any file of the kind, by its nature.
# - mawk fills its buffer before it looks for a line, also where waiting for more is for ever.
# - grep calls it an error to find nothing.
WITHOUT = {
    ("mawk", "events"),
    ("grep", "exit, before any command"),
}


def can_do(kind, entry):
    return entry.verb in kind.scripts and (kind.name, entry.name) not in WITHOUT


def add_cells(kinds, entries):
    """A case for each client and entry that it can do."""
    for kind in kinds:
        for entry in entries:
            if can_do(kind, entry):
                add_cell(kind, entry)


def add_cell(kind, entry):
    def run(m):
        if not shutil.which(kind.needs):
            skip(kind.needs)
        box = m.box()
        path = entry.prepare(box)
        folder = os.path.join(m.folder, "w-" + box.name)
        os.mkdir(folder)
        result = kind.run(entry.verb, path, entry.text, folder)
        eq((result.code, result.err), (0, ""), "the client's exit and errors")
        entry.expected(box, result.out)
        shutil.rmtree(folder)
        os.rmdir(box.path)
    case(run, name=f"{kind.name} × {entry.name}")
