/** Iterators: programs that the kernel runs once for each object of a kind, e.g. each TCP socket, when someone reads. */
import { closeSync, readSync } from "node:fs";
import { AttachType } from "../../bpf/spec.ts";
import { bpf } from "../bpf-syscall.ts";
import type { KernelProgram } from "../programs.ts";
import { KernelLink } from "./link.ts";

/** Attaches an iterator program (tracing, `traceIter`). It runs when read: see `runIter()`. @throws KernelError */
export function createIterLink(program: KernelProgram): KernelLink {
  const { result } = bpf(
    "linkCreate",
    { progFd: program.fd, attachType: AttachType.traceIter },
    `attach iterator ${program.label}`,
    { capabilities: ["CAP_BPF", "CAP_PERFMON"] },
  );
  return new KernelLink(result, `iterator of ${program.label}`);
}

const CHUNK_BYTES = 64 << 10;

/**
 * Runs an iterator over all its objects and returns what the program wrote (bpf_seq_write). Sockets are those of the network
 * namespace this thread is in. One that writes nothing returns no bytes, having done its work. Synchronous.
 * @throws KernelError
 */
export function runIter(link: KernelLink): Uint8Array {
  const { result: fd } = bpf("iterCreate", { linkFd: link.fd }, `run ${link.label}`);
  try {
    const chunks: Buffer[] = [];
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      let length: number;
      try {
        length = readSync(fd, chunk);
      } catch (error) {
        // The kernel pauses after a million objects that wrote nothing and asks to be read again.
        if ((error as NodeJS.ErrnoException).code === "EAGAIN") continue;
        throw error;
      }
      if (length === 0) return new Uint8Array(Buffer.concat(chunks));
      chunks.push(chunk.subarray(0, length));
    }
  } finally {
    closeSync(fd);
  }
}
