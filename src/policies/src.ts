import { inPrefix, prefix, selector } from "../policy/index.ts";

/** Packets from an address or a prefix. */
export const src = selector({
  name: "src",
  params: { prefix },
  run({ ip }, { prefix }) {
    return inPrefix(ip.source, prefix);
  },
  member: ({ ip }) => ({ prefix: ip.source }),
});
