import { address, sameAddress, selector, u16 } from "../policy/index.ts";

/** One subflow by its 4-tuple as seen from this host; both directions. */
export const subflow = selector({
  name: "subflow",
  params: { local: address, remote: address, localPort: u16, remotePort: u16 },
  run({ flow }, { local, remote, localPort, remotePort }) {
    return (
      flow.localPort === localPort &&
      flow.remotePort === remotePort &&
      sameAddress(flow.local, local) &&
      sameAddress(flow.remote, remote)
    );
  },
  member: ({ flow }) => flow,
});
