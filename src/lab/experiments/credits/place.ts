/** A server and a client, two paths between them, each with a bottleneck of small buffers behind a router. */
import type { LabSpec } from "../../spec.ts";

/** Buffers of half a bandwidth-delay product. */
export const bottleneck = { rateMbit: 50, rttMs: 20, queueMs: 10 } as const;
/** The bottlenecks, as the client's interfaces. */
export const bottlenecks = ["wifi", "lte"] as const;
/** The server's interfaces. */
export const uplinks = ["left", "right"] as const;

// What the server's own queue has no room for it does not send at all: the bottlenecks are the router's.
export const place: LabSpec = {
  hosts: {
    server: { endpoints: "signal", routes: { "10.2.1.0/24": "left", "10.2.2.0/24": "right" } },
    router: { forwards: true },
    client: { routes: { "10.1.1.0/24": "wifi", "10.1.2.0/24": "lte" } },
  },
  links: [
    { name: "left", between: ["server", "router"], ipv4: "10.1.1.0/24", largeFrames: false },
    { name: "right", between: ["server", "router"], ipv4: "10.1.2.0/24", largeFrames: false },
    { name: "wifi", between: ["router", "client"], ipv4: "10.2.1.0/24", ...bottleneck },
    { name: "lte", between: ["router", "client"], ipv4: "10.2.2.0/24", ...bottleneck },
  ],
};
