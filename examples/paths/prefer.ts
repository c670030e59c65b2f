import { prefer } from "emptcp/paths";

/**
 * WiFi first, and the mobile network as a backup that stands by, until it has carried 20 GB in this month, counted over restarts.
 *
 *   sysctl net.mptcp.path_manager=userspace
 *   emptcp paths run examples/paths/prefer.ts
 */
export default prefer({
  interfaces: [{ name: "wlan0" }, { name: "wwan0", quotaBytes: 20e9 }],
  usedFile: "/var/lib/emptcp/prefer.json",
});
