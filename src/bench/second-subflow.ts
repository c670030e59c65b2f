/** A controller for `emptcp paths run`: what baseline/second_subflow.c is for mptcpd. The address comes in the environment. */
import { controller } from "../paths/index.ts";

const address = process.env["SECOND_ADDRESS"];
if (address === undefined) throw new Error("Cannot open second subflows: SECOND_ADDRESS is not set");

export default controller({
  name: "second-subflow",
  filter: ({ serverSide }) => !serverSide,
  established(connection) {
    // Those that have theirs from a process before this one are told of, too.
    if (connection.subflows.length + connection.pending.length < 2) connection.createSubflow({ local: { address } });
  },
});
