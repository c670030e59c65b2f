import { address, sameAddress, selector } from "../policy/index.ts";

/** Everything between an address of this host and one of a peer, in both directions. */
export const ipPair = selector({
  name: "ip_pair",
  params: { local: address, remote: address },
  run({ flow }, { local, remote }) {
    return sameAddress(flow.local, local) && sameAddress(flow.remote, remote);
  },
  member: ({ flow }) => flow,
});
