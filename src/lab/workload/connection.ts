/** An MPTCP connection between two hosts of a lab, both ends of it in this process. */
import type net from "node:net";
import { connectMptcp, listenMptcp, type StreamOptions } from "../../linux/sockets.ts";
import type { Lab, LabHost } from "../lab.ts";

export type ConnectionOptions = Omit<StreamOptions, "netns"> & {
  /** Who opens the connection; "client" and "server" unless said otherwise. */
  readonly client?: string;
  readonly server?: string;
  /** The link over which the connection is opened; the first one between the two unless said otherwise. */
  readonly link?: string;
  readonly family?: 4 | 6;
  /** The server's address, for hosts that share no link. */
  readonly address?: string;
};

/** cubic, because the default of some machines stalls on short paths when several subflows share them. */
const defaultCongestionControl = "cubic";

/** Both ends of a connection, and the listener, without which the kernel accepts no further subflows. */
export type Connection = {
  readonly client: net.Socket;
  readonly server: net.Socket;
  readonly listener: net.Server;
  /** Closes all three, without waiting for data under way. The lab does so when it closes. */
  readonly close: () => void;
};

/** Opens a connection of its own between two hosts. @throws SystemCallError, e.g. EPROTONOSUPPORT without MPTCP. */
export async function connectHosts(lab: Lab, options: ConnectionOptions = {}): Promise<Connection> {
  lab.check();
  const [clientHost, serverHost] = [lab.host(options.client ?? "client"), lab.host(options.server ?? "server")];
  const six = options.family === 6;
  const address = options.address ?? addressOnLink(clientHost, serverHost, six, options.link);
  const common: StreamOptions = {
    ...options,
    congestionControl: options.congestionControl ?? defaultCongestionControl,
  };
  const listener = await listenMptcp({
    ...common,
    address: six ? "::" : "0.0.0.0",
    port: 0,
    netns: serverHost.netns,
    allowHalfOpen: true,
  });
  try {
    const accepted = new Promise<net.Socket>((resolve) => listener.once("connection", resolve));
    const { port } = listener.address() as net.AddressInfo;
    const client = await connectMptcp({
      ...common,
      address,
      port,
      netns: clientHost.netns,
      allowHalfOpen: true,
    });
    const peer = await accepted;
    const close = () => {
      forget();
      client.destroy();
      peer.destroy();
      listener.close();
    };
    const forget = lab.whenClosed(close);
    return { client, server: peer, listener, close };
  } catch (error) {
    listener.close();
    throw error;
  }
}

/** The server's address on a link that both have. @throws RangeError when there is none */
function addressOnLink(client: LabHost, server: LabHost, six: boolean, wanted: string | undefined): string {
  const target = server.interfaces.find(
    ({ link }) => (wanted ?? link) === link && client.interfaces.some((candidate) => candidate.link === link),
  );
  if (target === undefined)
    throw new RangeError(`Cannot connect ${client.name} to ${server.name}: no link ${wanted ?? ""} there`);
  return six ? target.ipv6 : target.ipv4;
}
