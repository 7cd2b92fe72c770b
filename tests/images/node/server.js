// Answers GET with what a test wants to know about this process.
'use strict';

const http = require('node:http');

const server = http.createServer((request, response) => {
  const answer = {
    image: 'node',
    version: process.version.slice(1),
    uid: process.getuid(),
    gid: process.getgid(),
    path: request.url,
    env: Object.keys(process.env).sort(),
  };
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(answer) + '\n');
});

// Process 1 of a container gets only the signals it handles; without this every deletion takes 30 s.
process.on('SIGTERM', () => process.exit(0));
server.listen(Number(process.env.PORT || 8080));
