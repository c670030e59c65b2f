/** Controllers that come with the package; each is a function of its options. */
export * from "./ndiffports.ts";
