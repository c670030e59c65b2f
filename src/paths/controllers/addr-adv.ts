import { PathManagerError, type EndpointFlag, type PathManager } from "../../linux/index.ts";
import { controller } from "../controller.ts";
import { isOn, type OnInterfaces } from "./pairs.ts";

export type AddrAdvOptions = OnInterfaces & {
  /** What the kernel is to do with an address. Default: open subflows from it. */
  readonly flags?: readonly EndpointFlag[];
};

function endpointOf(pathManager: PathManager, address: string): number | undefined {
  return pathManager.endpoints().find((one) => one.address === address && one.port === undefined)?.id;
}

/** Keeps the endpoints of the kernel's own path manager in step with the addresses of this host; it does the rest. */
export const addrAdv = ({ flags = ["subflow"], ...on }: AddrAdvOptions = {}) =>
  controller({
    name: "addr_adv",
    localAddressAdded(added, { pathManager }) {
      if (!isOn(on, added)) return;
      const { address, interfaceIndex } = added;
      try {
        pathManager.addEndpoint({ address, interfaceIndex, flags });
      } catch (error) {
        // Somebody gave it one before.
        if (!(error instanceof PathManagerError) || error.kind !== "in-use") throw error;
      }
    },
    localAddressRemoved(removed, { pathManager }) {
      const id = isOn(on, removed) ? endpointOf(pathManager, removed.address) : undefined;
      if (id !== undefined) pathManager.removeEndpoint(id);
    },
  });
