import { runInThisContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { outputs, writing, type Inputs } from "../testing/outputs.ts";
import { makeFrame } from "../testing/packets.ts";

const frame = makeFrame();

/** A piece of policy as a function of its parameters: the same text serves as JavaScript. */
function asJavaScript(body: string): (inputs: Inputs) => readonly bigint[] {
  const run = runInThisContext(`(function (a, b, flag, word, out) {${body}})`) as (...args: unknown[]) => void;
  return ({ a = 0, b = 0, flag = false, word = "one" }) => {
    const out = { x: 0, y: 0, z: 0 };
    run(a, b, flag, word, out);
    return [BigInt(out.x), BigInt(out.y), BigInt(out.z)];
  };
}

const numbers = [0, 1, 2, 3, 5, 8, 40];
const combinations: readonly Inputs[] = numbers.flatMap((a) =>
  [0, 1, 2, 3, 100].flatMap((b) =>
    ([true, false] as const).flatMap((flag) =>
      (["one", "two", "three"] as const).map((word) => ({ a, b, flag, word })),
    ),
  ),
);

const bodies: Readonly<Record<string, string>> = {
  "let keeps what was assigned last": "let n = a; n = n + 1; if (flag) n = n * 2; else n += b; out.x = n;",
  "const keeps what it was": "let n = a; const before = n; n += 5; out.x = before; out.y = n;",
  "destructuring names fields": "const { x: first, y } = out; out.z = first + y + a;",
  "an inner name hides an outer one": "const n = a; { const n = b; out.x = n; } out.y = n;",
  "if without else": "if (a > b) out.x = 1; out.y = 2;",
  "if, else if, else": "if (a > b) out.x = 1; else if (a === b) out.x = 2; else out.x = 3;",
  "return ends the policy": "out.x = 1; if (flag) return; out.x = 2;",
  "code behind a return is not run": "if (flag) { out.x = 1; return; } else { out.x = 2; return; }",
  "? : chooses": "out.x = flag ? a : b; out.y = a > b ? (flag ? 1 : 2) : 3;",
  "&& stops at the first that is false": "if (flag && a > b && word === 'one') out.x = 1;",
  "|| stops at the first that is true": "if (flag || a > b || word === 'two') out.x = 1;",
  "! and parentheses": "if (!(flag && !(a > b))) out.x = 1; if (!flag) out.y = 1; if (!!flag) out.z = 1;",
  "conditions as values":
    "const both = flag && a > b; let any = flag || a > b; any = !any; out.x = both ? 1 : 0; out.y = any ? 1 : 0;",
  "booleans are compared": "if (flag === a > b) out.x = 1; if (flag !== (word === 'one')) out.y = 1;",
  "++ and -- are statements": "let n = a; n++; ++n; n++; n--; out.x = n; out.y++; out.y++; out.y--;",
  "compound assignment":
    "let n = a; n += 3; n *= 5; n -= 2; n %= 100; n &= 0x5f; n |= 0x20; n ^= 7; n <<= 2; n >>= 1; out.x = n;",
  "switch on an integer":
    "switch (a) { case 0: out.x = 10; break; case 1: case 2: out.x = 20; break; case 40: out.x = 30; return; default: out.x = 40; } out.y = 1;",
  "switch without a case that fits": "switch (a) { case 77: out.x = 1; break; } out.y = 1;",
  "switch with the default in front": "switch (a) { default: out.x = 1; break; case 2: out.x = 2; }",
  "switch on a choice":
    "switch (word) { case 'one': out.x = 1; break; case 'three': if (flag) break; out.x = 3; break; default: out.x = 9; }",
  "a choice is compared": "if (word === 'two') out.x = 1; if (word !== 'three') out.y = 1;",
  "for counts": "for (let i = 0; i < 10; i++) out.x += i; for (let i = 3; i <= 5; ++i) out.y += i;",
  "for without a turn": "for (let i = 5; i < 5; i++) out.x = 1;",
  "break leaves the inner loop only":
    "for (let i = 0; i < 4; i++) { for (let j = 0; j < 4; j++) { if (j === a) break; out.x += 1; } out.y += 1; }",
  "continue goes on with the next turn": "for (let i = 0; i < 9; i++) { if (i % 3 === 0) continue; out.x += i; }",
  "return leaves all loops":
    "for (let i = 0; i < 9; i++) { for (let j = 0; j < 9; j++) { if (i * j === a) return; out.x++; } }",
  "break in a switch in a loop":
    "for (let i = 0; i < 6; i++) { switch (i) { case 1: break; case 2: continue; case 4: out.y = 1; break; default: out.x += i; } out.z++; }",
  "a variable lives on behind the loop":
    "let last = 0; for (let i = 0; i < 20; i++) { if (i === a) break; last = i; } out.x = last;",
  "a variable of two branches": "let n: number; if (flag) n = a; else n = b; out.x = n;",
};

describe("statements mean what they mean in JavaScript", () => {
  it.each(Object.entries(bodies))("%s", (_, body) => {
    const reference = asJavaScript(body.replaceAll(": number", ""));
    const vm = writing(body);
    for (const inputs of combinations)
      expect(outputs(vm, frame, inputs), JSON.stringify(inputs)).toEqual(reference(inputs));
  });
});

describe("cannot()", () => {
  it("counts its reason and ends the actor's turn, with or without return", () => {
    const vm = writing('if (a === 1) return cannot("returned"); if (a === 2) cannot("stated"); out.x = 5;');
    expect([0, 1, 2].map((a) => outputs(vm, frame, { a })[0])).toEqual([5n, 0n, 0n]);
    expect(vm.counters()).toMatchObject({ acted: [1], cannot: [{ returned: 1, stated: 1 }] });
  });
});
