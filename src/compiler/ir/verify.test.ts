import { describe, expect, it } from "vitest";
import { Builder } from "./builder.ts";
import { int32, type IrFunction } from "./ir.ts";
import { print } from "./print.ts";
import { MalformedIrError, verify } from "./verify.ts";

/** A counted loop that adds up a map's word. */
function loop(): IrFunction {
  const b = new Builder("sum");
  const [i, sum] = [
    { name: "i", type: int32 },
    { name: "sum", type: int32 },
  ];
  b.write(i, b.const(0));
  b.write(sum, b.const(0));
  const [head, body, exit] = [b.block(), b.block(), b.block()];
  b.jump(head);
  b.enter(head);
  b.branch("ult", b.read(i), b.const(4), body, exit);
  b.seal(body);
  b.seal(exit);
  b.enter(body);
  b.write(sum, b.binary("add", b.read(sum), b.load(4, b.mapValue("values", 8), 0)));
  b.write(i, b.binary("add", b.read(i), b.const(1)));
  b.jump(head);
  b.seal(head);
  b.enter(exit);
  b.return(b.read(sum));
  return b.function;
}

describe("verify()", () => {
  it("accepts what the builder makes", () => {
    expect(() => verify(loop())).not.toThrow();
  });

  it("rejects a use that its definition does not dominate", () => {
    const fn = loop();
    const inBody = fn.blocks[2].values.at(-1)!;
    fn.blocks[3].terminator = { op: "return", value: inBody };
    expect(() => verify(fn)).toThrow(/does not dominate/);
  });

  it("rejects an edge with too few arguments", () => {
    const fn = loop();
    const entry = fn.entry.terminator;
    if (entry?.op === "jump") entry.to.args.pop();
    expect(() => verify(fn)).toThrow(/arguments/);
  });

  it("rejects operands of different types, and shows the function", () => {
    const b = new Builder("mixed");
    b.return(b.binary("add", b.const(1), b.const(1, 64)));
    let error: unknown;
    try {
      verify(b.function);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(MalformedIrError);
    expect((error as MalformedIrError).ir).toBe(print(b.function));
  });

  it("rejects a block without a terminator", () => {
    expect(() => verify(new Builder("open").function)).toThrow(/no terminator/);
  });
});

describe("print()", () => {
  it("shows blocks with parameters, values with types, and edges with arguments", () => {
    expect(print(loop())).toMatchInlineSnapshot(`
      "function sum
      block0():
        v0: i32 = 0
        v1: i32 = 0
        goto block1(v0, v1)
      block1(v2: i32, v4: i32):
        v3: i32 = 4
        if ult v2, v3 goto block2() else block3()
      block2():
        v5: map* = mapValue values+8
        v6: i32 = load4 [v5]
        v7: i32 = add v4, v6
        v8: i32 = 1
        v9: i32 = add v2, v8
        goto block1(v9, v7)
      block3():
        return v4
      "
    `);
  });
});
