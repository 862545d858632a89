// node_threads.js - node's own threads, all at once: JS workers with shared memory and
// Atomics.wait (V8's futexes), libuv's pool (fs, dns, zlib, crypto), child processes.
//
//   node node_threads.js WORKERS LAPS

'use strict';
const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');
const fs = require('fs');
const dns = require('dns').promises;
const crypto = require('crypto');
const zlib = require('zlib');
const { promisify } = require('util');
const { execFile } = require('child_process');

function lock(a) {
    while (Atomics.compareExchange(a, 0, 0, 1) !== 0)
        Atomics.wait(a, 0, 1, 5);
}

function unlock(a) {
    Atomics.store(a, 0, 0);
    Atomics.notify(a, 0, 1);
}

if (!isMainThread) {
    const a = new Int32Array(workerData.shared);
    let s = 0;
    for (let i = 0; i < workerData.laps; i++) {
        lock(a);
        a[1] = a[1] + 1; // under the lock, so no increment may be lost
        unlock(a);
        const garbage = [];
        for (let k = 0; k < 100; k++)
            garbage.push({ i, k, text: 'x'.repeat(k) });
        s = (s * 31 + garbage.length + i) >>> 0;
    }
    parentPort.postMessage(s);
    return;
}

async function workers(n, laps) {
    const shared = new SharedArrayBuffer(8);
    const one = () => new Promise((resolve, reject) => {
        const w = new Worker(__filename, { workerData: { shared, laps } });
        let s;
        w.on('message', (m) => { s = m; });
        w.on('error', reject);
        w.on('exit', (code) => resolve(code === 0 ? s : -code));
    });
    const sums = await Promise.all(Array.from({ length: n }, one));
    return `${sums.join()} ${new Int32Array(shared)[1]}`;
}

async function pool(laps) {
    const text = Buffer.alloc(300000, 'some text to compress, ');
    const all = [];
    for (let i = 0; i < laps; i++) {
        const name = `file${i}`;
        all.push((async () => {
            await fs.promises.writeFile(name, text);
            const back = await fs.promises.readFile(name);
            await fs.promises.unlink(name);
            return back.equals(text);
        })());
        all.push(promisify(crypto.pbkdf2)('secret', `salt${i}`, 2000, 32, 'sha256')
            .then((k) => k.toString('hex').slice(0, 8)));
        all.push(promisify(zlib.gzip)(text).then(promisify(zlib.gunzip))
            .then((t) => t.length));
        all.push(dns.lookup('localhost', { family: 4 }).then((r) => r.address));
        all.push(promisify(execFile)('echo', [`child ${i}`]).then((r) => r.stdout.trim()));
    }
    return (await Promise.all(all)).join(' ');
}

(async () => {
    const n = Number(process.argv[2]), laps = Number(process.argv[3]);
    const [w, p] = await Promise.all([workers(n, laps * 100), pool(laps)]);
    console.log(w);
    console.log(p);
})();
