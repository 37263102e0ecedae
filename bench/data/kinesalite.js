// kinesalite on the loopback: node kinesalite.js MODULES PORT SHARDS. Its own command listens on every interface.
const [modules, port, shards] = process.argv.slice(2);
// It throws what a client's broken connection says of a request that was under way (index.js, httpHandler): that is no end of the server.
process.on('uncaughtException', (error) => {
  console.error(error.stack || error);
  if (!['ECONNRESET', 'EPIPE', 'ECONNABORTED'].includes(error.code)) process.exit(1);
});
const times = { createStreamMs: 5, deleteStreamMs: 5, updateStreamMs: 5 };
const server = require(`${modules}/kinesalite`)({ ...times, shardLimit: Number(shards) });
server.keepAliveTimeout = 60_000; // node's 5 s would close connections that clients are about to use
server.listen(Number(port), '127.0.0.1', () => console.log(`kinesalite on 127.0.0.1:${port}, up to ${shards} shards`));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
