/** Controllers that come with the package; each is a function of its options. */
export * from "./backup.ts";
export * from "./fullmesh.ts";
export * from "./ndiffports.ts";
export * from "./refresh.ts";
export * from "./server-limit.ts";
