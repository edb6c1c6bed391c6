#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Five workers, each in a box of its own, which is fresh at first and gone at the end.

    pool.py MOUNT < commands        one command a line; answers come in the order of the lines
"""
import os
import queue
import sys
from concurrent.futures import ThreadPoolExecutor

mount = sys.argv[1]
boxes = [f"{mount}/worker-{os.getpid()}-{i}" for i in range(5)]
free = queue.SimpleQueue()


def run(command):
    box = free.get()
    try:
        with open(f"{box}/cmd", "w") as cmd:  # leaving the block waits for the command's end
            cmd.write(command)
        return open(f"{box}/exit").read().strip(), open(f"{box}/out").read()
    finally:
        free.put(box)


commands = sys.stdin.read().splitlines()
try:
    for box in boxes:
        os.mkdir(box)
        free.put(box)
    with ThreadPoolExecutor(len(boxes)) as pool:
        for command, (code, output) in zip(commands, pool.map(run, commands)):
            print(f"[{code}] $ {command}\n{output}", end="", flush=True)
finally:
    for box in filter(os.path.isdir, boxes):
        os.rmdir(box)
