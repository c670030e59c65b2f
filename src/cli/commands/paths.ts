/** `emptcp paths …`: connections, their subflows and addresses, and what happens to them. */
import type { Command } from "commander";
import { addPathsAddresses } from "./paths-addresses.ts";
import { addPathsEndpoints } from "./paths-endpoints.ts";
import { addPathsInspect } from "./paths-inspect.ts";
import { addPathsRun } from "./paths-run.ts";
import { addPathsSubflow } from "./paths-subflow.ts";

export function addPaths(program: Command): void {
  const paths = program
    .command("paths")
    .summary("show and manage the subflows of MPTCP connections")
    .description(
      "Shows MPTCP connections and their subflows as the kernel's path manager knows them, and changes them by hand.",
    )
    .addHelpText(
      "after",
      `
Who adds subflows is decided when a connection is opened, by sysctl net.mptcp.path_manager in
its network namespace: "kernel" follows endpoints (emptcp paths endpoints), "userspace" leaves
all to commands (emptcp paths subflow). Where it is "userspace", the kernel takes subflows from
peers only while somebody on the machine listens (emptcp paths events).

  sudo emptcp paths connections
  sudo emptcp paths subflow add 1a2b3c4d 10.0.2.1
  sudo emptcp paths subflow backup 1a2b3c4d 10.0.2.1 on
  sudo emptcp paths announce 1a2b3c4d 10.0.2.1
  sudo emptcp paths events
  sudo emptcp paths endpoints add 10.0.2.1 subflow
  sudo emptcp paths run controllers.ts`,
    );
  addPathsInspect(paths);
  addPathsSubflow(paths);
  addPathsAddresses(paths);
  addPathsEndpoints(paths);
  addPathsRun(paths);
}
