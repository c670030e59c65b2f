/** Sockets of tests, which go when a test ends, and what there is of them. */
import { readdirSync } from "node:fs";
import net from "node:net";
import { afterEach } from "vitest";

const open: (net.Server | net.Socket)[] = [];
afterEach(() => {
  for (const one of open.splice(0))
    if ("destroy" in one) one.destroy();
    else one.close();
});

/** Ends it with the test. */
export function keep<T extends net.Server | net.Socket>(one: T): T {
  open.push(one);
  return one;
}

export const portOf = (server: net.Server) => (server.address() as net.AddressInfo).port;

/** How many file descriptors this process has open. */
export const descriptors = () => readdirSync("/proc/self/fd").length;
