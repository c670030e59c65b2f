/** Operations of the kernel that programs do, such as those of a congestion control: registered as long as the link is. */
import { AttachType } from "../../bpf/spec.ts";
import { bpf } from "../bpf-syscall.ts";
import type { KernelMap } from "../maps.ts";
import { KernelLink } from "./link.ts";

/**
 * Registers what `createStructOps()` made, under its name, for the whole host. Closing the link takes the name back;
 * sockets that use the operations keep them.
 * @throws KernelError, e.g. when the name is taken
 */
export function registerStructOps(map: KernelMap): KernelLink {
  const { result } = bpf(
    "linkCreate",
    { progFd: map.fd, attachType: AttachType.structOps },
    `register struct_ops ${map.name}`,
    {
      reasons: {
        EEXIST: `something is registered as ${map.name} already; remove it or choose another name`,
        EINVAL: `${map.label} does not hold operations that can be registered, or the kernel lacks links of struct_ops`,
      },
    },
  );
  return new KernelLink(result, `struct_ops ${map.name}`);
}
