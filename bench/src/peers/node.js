// The echo server that node teaches. It is told its listening socket and its buffer; a connection that fails ends.
const [fd, highWaterMark] = process.argv.slice(1).map(Number);
const server = require('node:net').createServer({ allowHalfOpen: true, highWaterMark }, (socket) => {
    socket.on('error', () => socket.destroy());
    // Ends our side too, when the peer has ended its own and all is written.
    socket.pipe(socket);
});
// From then on it can only be an accept that failed, and another one will not.
server.on('listening', () => server.on('error', () => {}));
server.listen({ fd, backlog: 4096 });
