import { controller } from "../controller.ts";
import { interfaceOf } from "./pairs.ts";

/** A single subflow per interface: one more over an interface that has one is closed, whoever opened it. */
export const sspi = () =>
  controller({
    name: "sspi",
    subflowEstablished(subflow, connection) {
      const name = interfaceOf(subflow);
      const alike = connection.subflows.filter((one) => interfaceOf(one) === name);
      if (name !== undefined && alike.length > 1) connection.removeSubflow(subflow);
    },
  });
