/** Connections without a kernel: events are made up, commands are written down. */
import type {
  ConnectionState,
  LocalAddress,
  MptcpCounters,
  MptcpEvent,
  PathManagerError,
  SocketAddress,
  TcpInfo,
} from "../../linux/index.ts";
import type { Host } from "../connection.ts";
import { Dispatcher, type ControllerFailure } from "../dispatch.ts";
import { Model } from "../model.ts";
import type { Controller, Manager } from "../index.ts";

export const local = { address: "10.0.1.1", port: 40_000 };
export const remote = { address: "10.0.9.1", port: 443 };

export function addressOf(address: string, name: string): LocalAddress {
  const flags = { loopback: false, pointToPoint: false, deprecated: false };
  return { address, prefixLength: 24, interface: name, interfaceIndex: 2, scope: "global", ...flags };
}

type Command = { readonly command: string; readonly options: Record<string, unknown> };

export class FakeKernel {
  readonly commands: Command[] = [];
  readonly failures: ControllerFailure[] = [];
  readonly addresses: LocalAddress[] = [addressOf("10.0.1.1", "one"), addressOf("10.0.2.1", "two")];
  /** What interfaces have carried. */
  readonly carried = new Map<string, number>();
  /** What the next reading of everything finds. */
  states: ConnectionState[] = [];
  /** What the kernel counts of the connection, and knows of its subflows, by local address. */
  counters: Partial<MptcpCounters> | undefined;
  readonly subflowStates = new Map<string, { readonly tcp: Partial<TcpInfo> }>();
  /** What the path manager throws from now on. */
  refusal: PathManagerError | undefined;
  readonly handlers = new Dispatcher((failure) => this.failures.push(failure));
  readonly model: Model;
  readonly manager: Manager;

  constructor(...controllers: Controller[]) {
    const { commands, addresses, carried, handlers } = this;
    const refusal = () => this.refusal;
    const command = (name: string) => (options: Record<string, unknown>) => {
      const error = refusal();
      if (error) throw error;
      commands.push({ command: name, options });
    };
    const names = ["createSubflow", "destroySubflow", "setBackup", "announce", "withdraw", "addEndpoint"];
    const pathManager = Object.fromEntries(names.map((name) => [name, command(name)]));
    const all = () => this.states;
    const model = (): Model => this.model;
    this.manager = {
      get connections() {
        return [...model().connections.values()];
      },
      addresses,
      carriedBytes: (name: string) => carried.get(name),
      pathManager: pathManager as unknown as Manager["pathManager"],
    };
    const host: Host = {
      pathManager: pathManager as unknown as Host["pathManager"],
      reader: {
        all,
        info: () => this.counters,
        subflow: ({ address }: SocketAddress) => this.subflowStates.get(address),
      } as unknown as Host["reader"],
      manager: this.manager,
      later: (work) => handlers.later(work),
    };
    this.model = new Model(host, handlers);
    handlers.use(controllers);
  }

  tell(kind: MptcpEvent["kind"], fields: Partial<MptcpEvent> = {}): void {
    this.model.take({ kind, timeMs: 0, token: 1, ...fields });
  }

  /** A connection that this host opened, with its first subflow. */
  establish(): void {
    this.tell("created", { local, remote, serverSide: false });
    this.tell("established", { local, remote, serverSide: false });
  }

  /** The local addresses that subflows were asked for from. */
  get asked(): unknown[] {
    return this.commands
      .filter(({ command }) => command === "createSubflow")
      .map(({ options }) => (options["local"] as { address: string }).address);
  }
}
