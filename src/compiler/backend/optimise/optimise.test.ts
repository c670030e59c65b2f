import { describe, expect, it } from "vitest";
import { Builder } from "../../ir/builder.ts";
import { int32, int64, pointer, type IrFunction, type Op, type Value } from "../../ir/ir.ts";
import { verify } from "../../ir/verify.ts";
import { optimise } from "./optimise.ts";

function optimised(build: (b: Builder) => void): IrFunction {
  const b = new Builder("test");
  build(b);
  verify(b.function);
  optimise(b.function);
  verify(b.function);
  return b.function;
}

function ops<K extends Op["op"]>(fn: IrFunction, kind: K): (Op & { op: K })[] {
  const all = fn.blocks.flatMap((block) => block.values.map(({ op }) => op));
  return all.filter((op): op is Op & { op: K } => op.op === kind);
}

function terminators(fn: IrFunction, kind: string): number {
  return fn.blocks.filter(({ terminator }) => terminator?.op === kind).length;
}

/** The sizes of the checks that are left, in order. */
function checkedSizes(fn: IrFunction): number[] {
  return fn.blocks.flatMap(({ terminator }) => (terminator?.op === "check" ? [terminator.size] : []));
}

function returned(fn: IrFunction): Op | undefined {
  const { terminator } = fn.blocks[0];
  return terminator?.op === "return" ? terminator.value.op : undefined;
}

/** An integer nothing is known about. */
function unknown(b: Builder, width: 32 | 64 = 32): Value {
  const value = b.call(5, [], int64, "none");
  return width === 64 ? value : b.truncate(value);
}

function packet(b: Builder): { data: Value; end: Value } {
  const context = b.context();
  return { data: b.load(4, context, 76, pointer("packet")), end: b.load(4, context, 80, pointer("packetEnd")) };
}

/** Goes on where `base + size <= end`, returns 0 elsewhere. */
function check(b: Builder, base: Value, end: Value, size: number): void {
  const ok = b.block();
  const fail = b.block();
  b.check(base, end, size, ok, fail);
  b.seal(ok);
  b.seal(fail);
  b.enter(fail);
  b.return(b.const(0));
  b.enter(ok);
}

const masked = (of: (b: Builder) => Value, mask: number): IrFunction =>
  optimised((b) => b.return(b.binary("and", of(b), b.const(mask))));

const remainder = (b: Builder): Value => b.binary("mod", unknown(b), b.const(7));

/** How many packet loads are left of two of the same bytes, with something done in between. */
const loads = (between: (b: Builder, base: Value) => void): number => {
  const fn = optimised((b) => {
    const { data, end } = packet(b);
    check(b, data, end, 34);
    const first = b.load(4, data, 12);
    between(b, data);
    b.return(b.binary("xor", first, b.binary("add", b.load(4, data, 12), b.const(1))));
  });
  return ops(fn, "load").filter(({ base }) => base.type.kind === "pointer" && base.type.memory === "packet").length;
};

const storeOnOnePath = (b: Builder, data: Value): void => {
  const then = b.block();
  const join = b.block();
  b.branch("eq", unknown(b), b.const(1), then, join);
  b.seal(then);
  b.enter(then);
  b.store(1, b.pointerAdd(data, b.binary("and", unknown(b, 64), b.const(7, 64))), 0, b.const(1));
  b.jump(join);
  b.seal(join);
  b.enter(join);
};

/** Two comparisons of one value; the second one is asked where the first one holds. */
const comparisons = (first: number, second: number): number => {
  const fn = optimised((b) => {
    const x = unknown(b);
    const [inner, deeper, out] = [b.block(), b.block(), b.block()];
    b.branch("ult", x, b.const(first), inner, out);
    b.seal(inner);
    b.enter(inner);
    b.branch("ult", x, b.const(second), deeper, out);
    b.seal(deeper);
    b.seal(out);
    b.enter(deeper);
    b.return(x);
    b.enter(out);
    b.return(b.const(0));
  });
  return terminators(fn, "branch");
};

describe("optimise() on values", () => {
  it.each<[string, (b: Builder) => Value, bigint]>([
    ["x / 0", (b) => b.binary("div", unknown(b), b.const(0)), 0n],
    ["x - x", (b) => ((x) => b.binary("sub", x, x))(unknown(b)), 0n],
    ["x & 0xf0 & 0x0f", (b) => b.binary("and", b.binary("and", unknown(b), b.const(0xf0)), b.const(0x0f)), 0n],
    ["7 % 0", (b) => b.binary("mod", b.const(7), b.const(0)), 7n],
    ["1 << 33 at 32 bits", (b) => b.binary("shl", b.const(1), b.const(33)), 2n],
    ["0xffffffff + 1 at 32 bits", (b) => b.binary("add", b.const(0xffff_ffff), b.const(1)), 0n],
    ["the byte order of 0x1234", (b) => b.swap(16, b.const(0x1234)), 0x3412n],
    ["a byte > 255", (b) => b.compare("ugt", b.load(1, b.mapValue("m", 0), 0), b.const(255)), 0n],
  ])("computes %s", (_, build, value) => {
    const fn = optimised((b) => b.return(build(b)));
    expect(returned(fn)).toEqual({ op: "const", value });
    expect(fn.blocks[0].values).toHaveLength(1);
  });

  it("removes a byte swap that undoes another one", () => {
    const fn = optimised((b) => b.return(b.swap(32, b.swap(32, b.load(4, b.mapValue("m", 0), 0)))));
    expect(ops(fn, "swap")).toEqual([]);
  });

  it("compares a swapped field with a constant without swapping it", () => {
    const fn = optimised((b) => {
      const port = b.swap(16, b.load(2, b.mapValue("m", 0), 0));
      b.return(b.compare("eq", port, b.const(0x1234)));
    });
    expect(ops(fn, "swap")).toEqual([]);
    expect(ops(fn, "compare").map(({ right }) => right.op)).toEqual([{ op: "const", value: 0x3412n }]);
  });

  it("drops a mask that a load has applied already, and keeps one the verifier needs", () => {
    expect(
      ops(
        masked((b) => b.load(1, b.mapValue("m", 0), 0), 0xff),
        "binary",
      ),
    ).toEqual([]);
    expect(ops(masked(remainder, 7), "binary").map(({ fn }) => fn)).toEqual(["mod", "and"]);
  });

  it("never merges calls, and drops those without effects that nobody uses", () => {
    const fn = optimised((b) => {
      b.call(5, [], int64, "none");
      b.return(b.binary("xor", unknown(b), unknown(b)));
    });
    expect(ops(fn, "call")).toHaveLength(2);
  });

  it("computes a bounded distance again rather than use one from before the bound", () => {
    const fn = optimised((b) => {
      const index = unknown(b, 64);
      const early = b.binary("shl", index, b.const(2, 64));
      b.store(8, b.mapValue("m", 0), 0, early);
      const small = b.block();
      const large = b.block();
      b.branch("ult", index, b.const(4, 64), small, large);
      b.seal(small);
      b.seal(large);
      b.enter(large);
      b.return(b.const(0));
      b.enter(small);
      const late = b.binary("shl", index, b.const(2, 64));
      b.return(b.load(4, b.pointerAdd(b.mapValue("m", 0), late), 0));
    });
    expect(ops(fn, "binary").map((op) => op.fn)).toEqual(["shl", "shl"]);
  });
});

describe("optimise() on memory", () => {
  it("loads once what nothing changes in between", () => {
    expect(loads(() => {})).toBe(1);
    expect(loads((b, data) => b.store(4, data, 16, b.const(1)))).toBe(1);
    expect(loads((b) => b.store(4, b.mapValue("m", 0), 12, b.const(1)))).toBe(1);
    expect(loads((b) => b.call(1, [b.map("m")], int64, "memory"))).toBe(1);
  });

  it("loads again after a store that may overlap, also on one of two paths", () => {
    expect(loads(storeOnOnePath)).toBe(2);
  });

  it("answers a load from the store before it", () => {
    const fn = optimised((b) => {
      const object = b.stack(8);
      b.store(4, object, 0, unknown(b));
      b.return(b.load(4, object, 0));
    });
    expect(ops(fn, "load")).toEqual([]);
  });

  it("asks the context for the packet again after a call that may move it", () => {
    const fn = optimised((b) => {
      const context = b.context();
      const before = b.load(4, context, 0);
      b.call(40, [context], int64, "packet");
      b.return(b.binary("xor", before, b.load(4, context, 0)));
    });
    expect(ops(fn, "load")).toHaveLength(2);
  });
});

describe("optimise() on bounds checks", () => {
  it("leaves one check where a later one with the same failure asks for more", () => {
    const fn = optimised((b) => {
      const { data, end } = packet(b);
      check(b, data, end, 14);
      const isIp = b.block();
      const other = b.block();
      b.branch("eq", b.load(2, data, 12), b.const(8), isIp, other);
      b.seal(isIp);
      b.seal(other);
      b.enter(other);
      b.return(b.const(0));
      b.enter(isIp);
      check(b, b.pointerAdd(data, b.const(14, 64)), end, 20);
      b.return(b.load(1, data, 23));
    });
    expect(checkedSizes(fn)).toEqual([34]);
  });

  it("keeps a check apart from a later one if something is written in between", () => {
    const fn = optimised((b) => {
      const { data, end } = packet(b);
      check(b, data, end, 14);
      b.store(1, data, 0, b.const(1));
      check(b, data, end, 34);
      b.return(b.const(1));
    });
    expect(checkedSizes(fn)).toEqual([14, 34]);
  });

  it("removes a check that a larger one dominates", () => {
    const fn = optimised((b) => {
      const { data, end } = packet(b);
      check(b, data, end, 54);
      b.store(1, data, 0, b.const(1));
      check(b, data, end, 34);
      b.return(b.const(1));
    });
    expect(checkedSizes(fn)).toEqual([54]);
  });
});

describe("optimise() on control flow", () => {
  it("asks nothing that an earlier comparison has decided", () => {
    expect(comparisons(10, 10)).toBe(1);
    expect(comparisons(10, 20)).toBe(1);
    expect(comparisons(20, 10)).toBe(2);
  });

  it("leads a decision kept in a variable straight to where it is used", () => {
    const fn = optimised((b) => {
      const flag = { name: "flag", type: int32 };
      const [yes, no, join, then, otherwise] = [b.block(), b.block(), b.block(), b.block(), b.block()];
      b.branch("eq", unknown(b), b.const(1), yes, no);
      b.seal(yes);
      b.seal(no);
      b.enter(yes);
      b.write(flag, b.const(1));
      b.jump(join);
      b.enter(no);
      b.write(flag, b.const(0));
      b.jump(join);
      b.seal(join);
      b.enter(join);
      b.branch("ne", b.read(flag), b.const(0), then, otherwise);
      b.seal(then);
      b.seal(otherwise);
      b.enter(then);
      b.return(b.const(7));
      b.enter(otherwise);
      b.return(b.const(9));
    });
    expect(terminators(fn, "branch")).toBe(1);
    expect(fn.blocks).toHaveLength(3);
  });

  it("keeps a loop a loop", () => {
    const fn = optimised((b) => {
      const i = { name: "i", type: int32 };
      b.write(i, b.const(0));
      const [head, body, exit] = [b.block(), b.block(), b.block()];
      b.jump(head);
      b.enter(head);
      b.branch("ult", b.read(i), b.const(4), body, exit);
      b.seal(body);
      b.seal(exit);
      b.enter(body);
      b.atomicAdd(8, b.mapValue("m", 0), 0, b.const(1, 64));
      b.write(i, b.binary("add", b.read(i), b.const(1)));
      b.jump(head);
      b.seal(head);
      b.enter(exit);
      b.return(b.read(i));
    });
    expect(ops(fn, "atomicAdd")).toHaveLength(1);
    expect(terminators(fn, "branch")).toBe(1);
  });
});
