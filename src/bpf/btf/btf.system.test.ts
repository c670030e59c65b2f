import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { Btf } from "./btf.ts";
import { BtfBuilder } from "./builder.ts";

const path = "/sys/kernel/btf/vmlinux";

function readVmlinux(): Btf {
  try {
    return new Btf(readFileSync(path));
  } catch (cause) {
    throw new Error(`This test needs a kernel with CONFIG_DEBUG_INFO_BTF (${path})`, { cause });
  }
}

it("Btf reads the running kernel's types", () => {
  const btf = readVmlinux();
  expect(btf.field("__sk_buff", "gso_size")).toMatchObject({ offset: 176, size: 4 });
  expect(btf.field("bpf_sock_ops", "args[3]")).toMatchObject({ offset: 16, size: 4 });
  // Unions and structures without names, two deep.
  expect(btf.field("sock", "__sk_common.skc_daddr").size).toBe(4);
  expect(btf.field("sock", "__sk_common.skc_daddr")).toEqual(btf.field("sock_common", "skc_daddr"));
  expect(btf.type(btf.function("bpf_iter_tcp"))).toMatchObject({ kind: "function", name: "bpf_iter_tcp" });
});

it("Btf and BtfBuilder are inverse on all types of the running kernel", () => {
  const btf = readVmlinux();
  const builder = new BtfBuilder();
  for (let id = 1; id < btf.count; id++) builder.add(btf.type(id));
  const copy = new Btf(builder.build());
  expect(copy.count).toBe(btf.count);
  let differing = 0;
  for (let id = 1; id < btf.count; id++) {
    if (JSON.stringify(copy.type(id), plain) !== JSON.stringify(btf.type(id), plain)) differing++;
  }
  expect(differing).toBe(0);
});

function plain(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}
