import { expect, it } from "vitest";
import { compileChain, type ChainSource } from "./index.ts";
import { mainFile, policySource } from "./testing/policy-source.ts";

const text = (port: number) => `
  import { actor, selector, u16 } from "emptcp/policy";
  export const to = selector({ name: "to", params: { port: u16 }, run: ({ tcp }, { port }) => tcp.destinationPort === port });
  export const cap = actor({ name: "cap", run({ tcp }) { tcp.window = ${port}; } });
`;

it("compileChain() gives for equal chains what it compiled before, and compiles anew what differs in anything", () => {
  const { reader, policies } = policySource(text(1));
  const [to, cap] = ["to", "cap"].map((name) => policies.get(name)!);
  const chain = (port: bigint, disabled?: true): ChainSource => ({
    name: "c",
    selector: { op: "policy", use: { policy: to, file: mainFile, constants: { port } } },
    actors: [{ policy: cap, file: mainFile, ...(disabled && { disabled }) }],
  });
  const first = compileChain(chain(5n), ["xdp"], reader);
  const others = [
    compileChain(chain(6n), ["xdp"], reader),
    compileChain(chain(5n, true), ["xdp"], reader),
    compileChain(chain(5n), ["tcx_ingress"], reader),
    compileChain(chain(5n), ["xdp"], reader, "linked"),
  ];
  for (const other of others) expect(other.programs).not.toEqual(first.programs);
  expect(compileChain(chain(5n), ["xdp"], reader)).toBe(first);
  const changed = { ...reader, read: (path: string) => (path === mainFile ? text(2) : reader.read(path)) };
  expect(compileChain(chain(5n), ["xdp"], changed).programs).not.toEqual(first.programs);
});
