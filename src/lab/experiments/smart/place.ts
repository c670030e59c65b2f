/** A phone: two interfaces, a server behind both; and who decides about subflows: the kernel, or a controller. */
import { interfaceIndex, PathManager, type EndpointFlag } from "../../../linux/index.ts";
import { describeFailure, runControllers, type Controller } from "../../../paths/index.ts";
import type { Lab } from "../../lab.ts";
import type { LabSpec, LinkSpec } from "../../spec.ts";

/** Links of the client, each also its interface. */
export const [first, second] = ["first", "second"];
export const serverAddress = "10.0.3.2";
const secondAddress = "10.0.2.1";

export const link = { rateMbit: 5, rttMs: 20 } as const;

export type Manager = "kernel" | "userspace";

const access = (name: string): LinkSpec => ({ name, between: ["client", "router"], ...link });

/** Whatever is not bound to an interface leaves by the first one. */
export function phone(manager: Manager): LabSpec {
  return {
    hosts: {
      client: {
        routes: { "10.0.3.0/24": first, "10.0.0.0/16": second },
        sysctls: { "net.mptcp.path_manager": manager },
      },
      router: { forwards: true },
      server: { routes: { "10.0.1.0/24": "lan", "10.0.2.0/24": "lan" } },
    },
    links: [access(first), access(second), { name: "lan", between: ["router", "server"] }],
  };
}

/** Lets the kernel open subflows from the second interface. */
export function addEndpoint(lab: Lab, ...flags: EndpointFlag[]): void {
  using manager = new PathManager({ netns: lab.host("client").netns });
  const index = lab.inHost("client", () => interfaceIndex(second));
  manager.addEndpoint({ address: secondAddress, interfaceIndex: index, flags: ["subflow", ...flags] });
}

/** Runs a controller on the client while something is measured. @throws Error with the first failure of its handlers */
export async function withController<T>(lab: Lab, controller: Controller, measure: () => Promise<T>): Promise<T> {
  const failures: string[] = [];
  const run = await runControllers([controller], {
    netns: lab.host("client").netns,
    failed: (failure) => failures.push(describeFailure(failure)),
  });
  try {
    const result = await measure();
    if (failures.length > 0) throw new Error(failures[0]);
    return result;
  } finally {
    run.close();
  }
}
