/** Controllers that come with the package; each is a function of its options. */
export * from "./addr-adv.ts";
export * from "./backup.ts";
export * from "./fullmesh.ts";
export * from "./ndiffports.ts";
export * from "./prefer.ts";
export * from "./refresh.ts";
export * from "./server-limit.ts";
export * from "./sspi.ts";
export * from "./streaming.ts";
