import { controller } from "emptcp/paths";

/**
 * A controller of one's own: most connections are over before a second path would help them. Those that have carried a megabyte
 * get a subflow from every other address of this host; one that fails is told of.
 *
 *   sysctl net.mptcp.path_manager=userspace
 *   emptcp paths run examples/paths/large-flows.ts
 */
const largeBytes = 1_000_000;
const family = (address: string): string => (address.includes(":") ? "IPv6" : "IPv4");

export default controller({
  name: "large-flows",
  filter: ({ serverSide }) => !serverSide,
  established(connection) {
    const { local, manager } = connection;
    const stop = connection.every(100, () => {
      const info = connection.info();
      if (!info || info.bytesAcked + info.bytesReceived < largeBytes) return;
      stop();
      for (const { address } of manager.addresses)
        if (address !== local.address && family(address) === family(local.address))
          connection.createSubflow({ local: { address } });
    });
  },
  subflowClosed({ local, error }) {
    if (error !== undefined) console.error(`${local.address}: ${error}`);
  },
});
