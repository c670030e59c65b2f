/** Subflow controllers: which subflows connections have, decided in user space. */
export {
  controller,
  handlerNames,
  isController,
  type Answer,
  type Controller,
  type HandlerName,
  type Handlers,
} from "./controller.ts";
export { describeFailure, type ControllerFailure, type FailureReporter } from "./dispatch.ts";
export { loadControllers, watchFiles } from "./load.ts";
export { ControllerRun, runControllers, type RunOptions } from "./run.ts";
export * from "./types.ts";
export * from "./controllers/index.ts";
