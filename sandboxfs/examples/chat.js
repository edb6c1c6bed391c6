#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// The loop of a chat agent. Each conversation is a session of one box: it has a directory, variables
// and jobs of its own, which are still there when it goes on tomorrow.
//
//   chat.js BOX        then lines "NAME: command" on standard input

process.env.UV_THREADPOOL_SIZE = 64;    // as many conversations may wait at the same time
const fs = require('node:fs/promises');
const readline = require('node:readline');
const box = process.argv[2];

async function exists(folder) {
    await fs.mkdir(folder).catch(e => { if (e.code !== 'EEXIST') throw e; });
}

async function answer(name, command) {
    const session = `${box}/sessions/${name}`;
    await exists(session);
    await fs.writeFile(`${session}/cmd`, command + '\n');    // resolves when the command has ended
    const texts = ['out', 'err', 'exit'].map(file => fs.readFile(`${session}/${file}`, 'utf8'));
    const [out, err, code] = await Promise.all(texts);
    for (const line of (out + err).split('\n').slice(0, -1))
        console.log(`${name}: ${line}`);
    console.log(`${name}: [${code.trim()}]`);
}

async function main() {
    const last = new Map();    // of each conversation: its turns are in order, others go on meanwhile
    await exists(box);
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const [, name, command] = line.match(/^(\w+): (.*)$/) ?? [];
        if (name)
            last.set(name, Promise.resolve(last.get(name)).then(() => answer(name, command))
                .catch(e => console.log(`${name}: ${e.message}`)));
    }
    await Promise.all(last.values());
}

main();
