import { controller } from "../controller.ts";
import { fillUp } from "./pairs.ts";

export type NdiffportsOptions = {
  /** Of each connection, the first one included. Default 2. */
  readonly subflows?: number;
};

/**
 * As many subflows between the same two addresses, from ports that the kernel chooses, so that routers that spread flows over
 * several paths may put them on different ones.
 */
export const ndiffports = ({ subflows = 2 }: NdiffportsOptions = {}) =>
  controller({
    name: "ndiffports",
    filter: ({ serverSide }) => !serverSide,
    established: (connection) => fillUp(connection, subflows),
  });
