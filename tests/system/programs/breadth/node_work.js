// Workers, a server and its clients, a child, WebAssembly, a signal. The last line of output comes from the handler.
const { Worker, isMainThread, parentPort } = require('worker_threads');
const http = require('http'), zlib = require('zlib'), crypto = require('crypto'), child = require('child_process'), fs = require('fs');

if (!isMainThread) {
  let sum = 0;
  for (let i = 0; i < 300000; i++) sum = (sum * 31 + i) % 1000003;
  parentPort.postMessage(sum);
} else main();

function inWorker() {
  return new Promise((done, failed) => {
    const worker = new Worker(__filename);
    worker.on('message', done);
    worker.on('error', failed);
  });
}

function get(port, path) {
  return new Promise((done, failed) => {
    http.get({ port, path, host: '127.0.0.1' }, answer => {
      let body = '';
      answer.on('data', data => body += data);
      answer.on('end', () => done(body));
    }).on('error', failed);
  });
}

async function main() {
  console.log((await Promise.all([1, 2, 3, 4].map(inWorker))).join());
  console.log(zlib.gunzipSync(zlib.gzipSync(Buffer.alloc(1e6, 'x'))).length);
  console.log(crypto.pbkdf2Sync('a', 'b', 1000, 16, 'sha256').toString('hex'));
  console.log(child.execFileSync('sh', ['-c', 'echo child; echo $X'], { env: { X: '1', PATH: process.env.PATH } }).toString());
  const server = http.createServer((request, answer) => answer.end('hello ' + request.url));
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  const port = server.address().port;
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => get(port, '/' + i)));
  console.log(answers.length, answers[99]);
  server.close();
  const module = new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7,
    7, 1, 3, 97, 100, 100, 0, 0, 10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11]));
  console.log(new WebAssembly.Instance(module).exports.add(2, 3));
  fs.writeFileSync('file', Buffer.alloc(1000));
  console.log((await fs.promises.readFile('file')).length);
  process.on('SIGUSR2', () => { console.log('signal'); process.exit(7); });
  process.kill(process.pid, 'SIGUSR2');
  setTimeout(() => {}, 3000);
}
