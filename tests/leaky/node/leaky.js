// A client in JavaScript that closes two connections when the server has ended its side, and forgets the others.
// `node --perf-basic-prof leaky.js COUNT SECONDS [GO]`; it begins when the file GO is there.
'use strict';
const fs = require('fs');
const net = require('net');
const [count, seconds] = process.argv.slice(2).map(Number);
const go = process.argv[4] || '/';
const held = [];

function closeFinished(socket) {
  socket.destroy();
}

function dialBackend(port, left) {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.resume();
  socket.on('end', () => {
    if (left > count) closeFinished(socket);
    else held.push(socket);
    if (left > 1) dialBackend(port, left - 1);
    else console.log(`ready ${held.length}`);
  });
}

function begin(port) {
  if (fs.existsSync(go)) dialBackend(port, count + 2);
  else setTimeout(() => begin(port), 50);
}

const server = net.createServer((socket) => socket.end());
server.listen(0, '127.0.0.1', () => {
  console.log('waiting');
  begin(server.address().port);
});
setTimeout(() => process.exit(0), seconds * 1000);
