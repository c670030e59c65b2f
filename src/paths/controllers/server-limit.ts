import { controller } from "../controller.ts";

export type ServerLimitOptions = {
  /** Of each connection, from each of the client's addresses. Default 1. */
  readonly perAddress?: number;
  /** Of each connection, from whatever addresses: the kernel limits none where user space manages paths. Default 8. */
  readonly mostSubflows?: number;
};

/** On a server: closes subflows from addresses that have one already, so that nobody gains by opening many (section 3). */
export const serverLimit = ({ perAddress = 1, mostSubflows = 8 }: ServerLimitOptions = {}) =>
  controller({
    name: "server-limit",
    filter: ({ serverSide }) => serverSide,
    subflowEstablished(subflow, connection) {
      const { subflows } = connection;
      const alike = subflows.filter(({ remote }) => remote.address === subflow.remote.address);
      if (alike.length > perAddress || subflows.length > mostSubflows) connection.removeSubflow(subflow);
    },
  });
