// The page of a shop, in Node.js: it takes REVIEWS_PORT for a port.
'use strict';

const http = require('node:http');

const port = process.env.REVIEWS_PORT || '9080';
const reviews = `http://reviews:${port}/reviews/0`;

http.createServer(async (request, response) => {
  let text;
  try {
    text = await (await fetch(reviews)).text();
  } catch {
    text = 'Sorry, product reviews are currently unavailable for this book.';
  }
  response.end(`${text}\n`);
}).listen(8080);

process.on('SIGTERM', () => process.exit(0));
