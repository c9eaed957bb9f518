// A TLS server or a TLS client of Node, which ends its connections as asked:
// tls_peers.js server CERTIFICATE-AND-KEY COUNT, or tls_peers.js client PORT COUNT end|destroy TLSv1.2|TLSv1.3.
'use strict';
const fs = require('node:fs');
const tls = require('node:tls');

const RESPONSE = 3000;
const [role, place, count, end, version] = process.argv.slice(2);

function serve() {
  const both = fs.readFileSync(place);
  let open = Number(count);
  const server = tls.createServer({ key: both, cert: both }, (connection) => {
    connection.on('data', () => connection.write('x'.repeat(RESPONSE)));
    // It answers the client's end with its own: allowHalfOpen is false.
    connection.on('error', () => {});
    connection.on('close', () => {
      if (--open === 0) {
        console.log('done');
        server.close();
      }
    });
  });
  server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
}

function request(left) {
  if (left === 0) {
    console.log('done');
    return;
  }
  // Nobody checks certificates here: the peer is this program.
  const limits = { minVersion: version, maxVersion: version };
  const connection = tls.connect({ port: Number(place), host: '127.0.0.1', rejectUnauthorized: false, ...limits });
  let received = 0;
  connection.on('secureConnect', () => connection.write('hello'));
  connection.on('data', (data) => {
    received += data.length;
    if (received === RESPONSE) {
      hangUp(connection);
    }
  });
  connection.on('error', () => {});
  connection.on('close', () => request(left - 1));
}

function hangUp(connection) {
  if (end === 'end') {
    connection.end();
  } else {
    connection.destroy();
  }
}

if (role === 'server') {
  serve();
} else {
  request(Number(count));
}
