import { controller } from "../controller.ts";

export type ServerLimitOptions = {
  /** Of each connection, from each of the client's addresses. Default 1. */
  readonly perAddress?: number;
};

/** On a server: closes subflows from addresses that have one already, so that nobody gains by opening many (section 3). */
export const serverLimit = ({ perAddress = 1 }: ServerLimitOptions = {}) =>
  controller({
    name: "server-limit",
    filter: ({ serverSide }) => serverSide,
    subflowEstablished(subflow, connection) {
      const { address } = subflow.remote;
      const alike = connection.subflows.filter((one) => one.remote.address === address);
      if (alike.length > perAddress) connection.removeSubflow(subflow);
    },
  });
