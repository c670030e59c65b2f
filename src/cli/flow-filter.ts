/** Flows as a person names them, by one end or both. Pure. */
import { WireError } from "../wire/errors.ts";
import { formatIpAddress, parseIpAddress } from "../wire/ip.ts";

export interface Endpoint {
  /** In its usual form. */
  readonly address?: string;
  readonly port?: number;
}

export interface Ends {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/** `10.0.0.1`, `10.0.0.1:80`, `:80`, `2001:db8::1`, `[2001:db8::1]:80`; undefined when it is none of them. */
function parseEndpoint(text: string): Endpoint | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text) ?? [undefined, text];
  const address = bracketed ?? plain ?? (text.includes("[") ? undefined : text);
  const port = digits === undefined ? undefined : Number(digits);
  if (port !== undefined && port > 65535) return undefined;
  try {
    if (address) return { address: formatIpAddress(parseIpAddress(address)), ...(port !== undefined && { port }) };
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
  return port === undefined ? undefined : { port };
}

/** One end, or two with a comma between them; undefined when it is neither. */
export function parseFlow(text: string): Endpoint[] | undefined {
  const ends = text.split(",").map((end) => parseEndpoint(end.trim()));
  if (ends.length > 2 || ends.includes(undefined)) return undefined;
  return ends as Endpoint[];
}

/** Whether the flow has these ends, whichever of them sends. */
export function matchesFlow(
  { source, sourcePort, destination, destinationPort }: Ends,
  flow: readonly Endpoint[],
): boolean {
  const is = ({ address, port }: Endpoint, atAddress: string, atPort: number) =>
    (address === undefined || address === atAddress) && (port === undefined || port === atPort);
  const [one, other = {}] = flow as [Endpoint, Endpoint?];
  return (
    (is(one, source, sourcePort) && is(other, destination, destinationPort)) ||
    (is(one, destination, destinationPort) && is(other, source, sourcePort))
  );
}
