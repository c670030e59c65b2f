/**
 * Controllers in a process of their own, started in its host's namespace. Argument: `ControllersChoice` as JSON. Ends with its
 * input.
 */
import { runUrgently } from "../../linux/scheduling.ts";
import { controller, type Controller } from "../../paths/controller.ts";
import * as shipped from "../../paths/controllers/index.ts";
import { runControllers } from "../../paths/run.ts";

/** A controller of `emptcp/paths` by the name of its function, or `subflowFrom`; and what it is called with. */
export interface ControllerChoice {
  readonly name: keyof typeof shipped | "subflowFrom";
  readonly options?: object;
}

export interface ControllersChoice {
  readonly controllers: readonly ControllerChoice[];
  /** Before ordinary processes, as with `emptcp paths run --urgent`. */
  readonly urgent?: true;
}

/** One more subflow, from an address, as soon as a connection of this host is established: the least a controller can do. */
const subflowFrom = ({ address }: { readonly address: string }): Controller =>
  controller({
    name: "subflowFrom",
    filter: ({ serverSide }) => !serverSide,
    established: (connection) => void connection.createSubflow({ local: { address } }),
  });

const makers = { ...shipped, subflowFrom } as Readonly<Record<string, (options?: object) => Controller>>;

process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
const { controllers, urgent } = JSON.parse(process.argv[2]) as ControllersChoice;
if (urgent) runUrgently();
await runControllers(controllers.map(({ name, options }) => makers[name](options)));
