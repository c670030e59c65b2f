/**
 * A bulk transfer over MPTCP between two hosts of a lab, in this process. It runs until it is told to stop or has sent what was
 * asked; both ends hash what passes, so that "delivered" means every byte in its place.
 */
import { createHash, randomBytes } from "node:crypto";
import type net from "node:net";
import { mptcpInfo, type MptcpInfo } from "../../linux/mptcp-info.ts";
import type { Lab } from "../lab.ts";
import { connectHosts, type Connection, type ConnectionOptions } from "./connection.ts";

export type TransferOptions = ConnectionOptions & {
  /** "download" (from the server to the client) unless said otherwise. */
  readonly direction?: "download" | "upload";
  /** Ends by itself after so many bytes, or so many seconds, whatever comes first. */
  readonly bytes?: number;
  readonly seconds?: number;
  /** Called about every `progressMs` (200). */
  readonly onProgress?: (progress: TransferProgress) => void;
  readonly progressMs?: number;
};

export type TransferProgress = {
  /** Since the start. */
  readonly elapsedMs: number;
  readonly receivedBytes: number;
  /** Since the last report. */
  readonly goodputMbit: number;
};

export type TransferResult = {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** SHA-256, hexadecimal. */
  readonly sentHash: string;
  readonly receivedHash: string;
  readonly elapsedMs: number;
  readonly goodputMbit: number;
  /** Everything that was sent arrived, unchanged. */
  readonly ok: boolean;
};

const closedEarly = "The connection was closed before all data had arrived";

export class Transfer {
  /** The ends as the hosts see them. */
  readonly client: net.Socket;
  readonly server: net.Socket;
  readonly sender: net.Socket;
  readonly receiver: net.Socket;
  readonly #close: () => void;
  /** Resolves when the transfer has ended, by itself or by `stop()`; rejects when the connection broke. */
  readonly done: Promise<TransferResult>;
  #sent = 0;
  #received = 0;
  #stopping = false;
  readonly #startedAt = performance.now();

  constructor({ client, server, close }: Connection, options: TransferOptions) {
    this.client = client;
    this.server = server;
    this.#close = close;
    [this.sender, this.receiver] = options.direction === "upload" ? [client, server] : [server, client];
    this.done = this.#run(options);
    // Whoever awaits `done` or `stop()` hears of a failure; nobody has to.
    this.done.catch(() => {});
  }

  get sentBytes(): number {
    return this.#sent;
  }

  get receivedBytes(): number {
    return this.#received;
  }

  /** The connection as the sending host sees it. */
  info(): MptcpInfo {
    return mptcpInfo(this.sender);
  }

  /** The connection as the receiving host sees it. */
  receiverInfo(): MptcpInfo {
    return mptcpInfo(this.receiver);
  }

  /** Sends no more, waits until everything has arrived, and compares. */
  async stop(): Promise<TransferResult> {
    this.#stopping = true;
    return await this.done;
  }

  /** Cuts the connection off; `done` rejects. */
  abort(): void {
    this.#close();
  }

  async #run(options: TransferOptions): Promise<TransferResult> {
    const { receiver } = this;
    const sentHash = createHash("sha256");
    const receivedHash = createHash("sha256");
    const timer =
      options.onProgress === undefined ? undefined : this.#report(options.onProgress, options.progressMs ?? 200);
    const deadline =
      options.seconds === undefined ? undefined : setTimeout(() => (this.#stopping = true), 1000 * options.seconds);
    try {
      await Promise.all([
        this.#send(sentHash, options.bytes ?? Infinity),
        new Promise<void>((resolve, reject) => {
          receiver.on("data", (data: Buffer) => {
            receivedHash.update(data);
            this.#received += data.length;
          });
          receiver.once("end", resolve);
          receiver.on("error", reject);
          receiver.once("close", () => reject(new Error(closedEarly)));
        }),
      ]);
    } finally {
      clearInterval(timer);
      clearTimeout(deadline);
      this.#close();
    }
    const elapsedMs = performance.now() - this.#startedAt;
    const hashes = { sentHash: sentHash.digest("hex"), receivedHash: receivedHash.digest("hex") };
    return {
      sentBytes: this.#sent,
      receivedBytes: this.#received,
      ...hashes,
      elapsedMs,
      goodputMbit: megabits(this.#received, elapsedMs),
      ok: this.#sent === this.#received && hashes.sentHash === hashes.receivedHash,
    };
  }

  async #send(hash: ReturnType<typeof createHash>, limit: number): Promise<void> {
    const { sender } = this;
    // Random, so that nothing on the way can mistake one block for another by chance within a block.
    const block = randomBytes(1 << 20);
    const chunkBytes = 64 * 1024;
    let failure: Error | undefined;
    sender.on("error", (error) => (failure = error));
    for (let at = 0; !this.#stopping && this.#sent < limit; at = (at + chunkBytes) % block.length) {
      if (sender.destroyed) throw failure ?? new Error(closedEarly);
      const chunk = block.subarray(at, at + Math.min(chunkBytes, limit - this.#sent));
      hash.update(chunk);
      this.#sent += chunk.length;
      await new Promise<void>((resolve, reject) => {
        sender.write(chunk, (error) => (error ? reject(error) : resolve()));
      });
    }
    if (failure !== undefined) throw failure;
    await new Promise<void>((resolve) => {
      sender.end(resolve);
    });
  }

  #report(onProgress: (progress: TransferProgress) => void, everyMs: number): NodeJS.Timeout {
    let last = { at: this.#startedAt, bytes: 0 };
    return setInterval(() => {
      const now = { at: performance.now(), bytes: this.#received };
      onProgress({
        elapsedMs: now.at - this.#startedAt,
        receivedBytes: now.bytes,
        goodputMbit: megabits(now.bytes - last.bytes, now.at - last.at),
      });
      last = now;
    }, everyMs);
  }
}

export function megabits(bytes: number, elapsedMs: number): number {
  return elapsedMs > 0 ? (bytes * 8) / 1000 / elapsedMs : 0;
}

/** A transfer that ends by itself: give it `bytes` or `seconds`. */
export async function bulk(lab: Lab, options: TransferOptions): Promise<TransferResult> {
  if (options.bytes === undefined && options.seconds === undefined) {
    throw new RangeError("Cannot run a bulk transfer: neither bytes nor seconds given");
  }
  return await (
    await startTransfer(lab, options)
  ).done;
}

/** Starts a transfer; `stop()` it, or await `done`. @throws RangeError when `bytes` is no whole number */
export async function startTransfer(lab: Lab, options: TransferOptions = {}): Promise<Transfer> {
  const { bytes = 0 } = options;
  if (!Number.isSafeInteger(bytes) || bytes < 0)
    throw new RangeError(`Cannot transfer ${bytes} bytes: give a whole number`);
  return new Transfer(await connectHosts(lab, options), options);
}
