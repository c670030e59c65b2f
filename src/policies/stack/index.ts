/** Congestion control that follows strategies, and what it is made of for other in-stack policies. */
export { emptcp } from "./emptcp.ts";
