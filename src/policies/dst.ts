import { inPrefix, prefix, selector } from "../policy/index.ts";

/** Packets to an address or a prefix. */
export const dst = selector({
  name: "dst",
  params: { prefix },
  run({ ip }, { prefix }) {
    return inPrefix(ip.destination, prefix);
  },
  member: ({ ip }) => ({ prefix: ip.destination }),
});
