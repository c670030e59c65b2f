import { addrAdv } from "emptcp/paths";

/**
 * Where the kernel's own path manager is good enough: each address that an interface gets becomes an endpoint that it opens
 * subflows from, and ends with the address. On a server flag "signal" has it announce them instead.
 *
 *   emptcp paths run examples/paths/addr-adv.ts
 */
export default addrAdv({ flags: ["subflow"] });
