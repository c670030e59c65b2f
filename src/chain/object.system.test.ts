import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createMap, readElf, sectionName, Vm, type ProgramSpec } from "../bpf/index.ts";
import { windowCap } from "../bench/policies.ts";
import { canTestRun, capturedFrames, generatedFrames } from "../compiler/testing/frames.ts";
import { countersMap, parametersMap, type Hook } from "../compiler/index.ts";
import { ensureBpffs, loadCollection, openMap, openProgram, testRun, type KernelProgram } from "../linux/index.ts";
import { actor, claim, claimable, emit, event, offer, perCpu, shared, table, u16, u32, u64 } from "../policy/index.ts";
import { ActorChain, PolicyChain, SelectorChain, writeObject, type ChainOptions } from "./index.ts";
import { steer } from "./testing/own-policies.ts";

const left = event("left", { window: u16 });

const selectors = {
  one: () => new SelectorChain().select("src", { prefix: "10.0.0.0/23" }),
  four: () =>
    new SelectorChain()
      .select("src", { prefix: "10.0.0.0/23" })
      .select("dst", { prefix: "10.0.0.0/16" })
      .exclude("packet_type", { type: "rst" })
      .exclude("ip_pair", { local: "10.0.0.1", remote: "10.0.0.2" }),
};
/** State and events as every kind of map. */
const keeper = actor({
  name: "keeper",
  state: {
    job: claimable(shared({ rounds: u32 })),
    jobs: claimable(table(u16, { rounds: u32 }, 50)),
    total: shared({ packets: u64 }),
    each: perCpu({ packets: u64 }),
  },
  run({ tcp, flow }, _, { job, jobs, total, each }) {
    total.packets += 1;
    each.packets += 1;
    if (tcp.syn) offer(job);
    if (claim(job)) tcp.window = u16(total.packets);
    const own = jobs.getOrCreate(tcp.sourcePort);
    if (own && claim(own)) own.rounds += 1;
    if (tcp.fin) emit(left, flow, { window: tcp.window });
  },
});

const chains: Readonly<Record<string, [SelectorChain, ActorChain]>> = {
  "1 selector + 1 actor": [selectors.one(), new ActorChain().add("blk_subflow")],
  "1 selector + 3 actors": [
    selectors.one(),
    new ActorChain().add("blk_subflow").add("record").add("rate_limit", { rate: "8kbit" }),
  ],
  "4 selectors + 4 actors": [
    selectors.four(),
    new ActorChain()
      .add(windowCap, { window: 30_000, flip: 1 })
      .add("blk_subflow")
      .add("record")
      .add(windowCap, { window: 20_000, flip: 2 }),
  ],
  "1 selector + an actor with all kinds of state": [selectors.one(), new ActorChain().add(keeper)],
};
const places: Readonly<Record<string, ChainOptions>> = { xdp: { hook: "xdp" }, tc: { hook: "tcx", direction: "both" } };
const cases = Object.entries(chains).flatMap(([name, [select, act]]) =>
  Object.entries(places).map(([place, options]) => {
    return { name, place, chain: new PolicyChain(select, act, { interfaces: ["any"], ...options }) };
  }),
);

const frames = [...capturedFrames(), ...generatedFrames(400, 11)];
const onlyKey = new Uint8Array(4);
const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");
const sum = (perCpu: readonly Uint8Array[]): string =>
  [...perCpu[0].keys()]
    .filter((at) => at % 8 === 0)
    .map((at) => perCpu.reduce((total, value) => total + Buffer.from(value).readBigUInt64LE(at), 0n))
    .join();

const now = () => 1_000_000_000n;

/** What a chain's programs make of all frames, and what its counters and parameters hold in the end. */
type Effects = readonly string[];

function inVm(chain: PolicyChain): Effects {
  const { compiled, parameters } = chain.plan();
  const maps = new Map(Object.entries(compiled.maps).map(([key, spec]) => [key, createMap(spec)]));
  if (parameters) maps.get(parametersMap)!.update(onlyKey, parameters);
  const runs = Object.entries(compiled.programs).flatMap(([hook, spec]) => {
    const vm = new Vm(spec, { maps, now });
    return usable(hook).map((frame) => {
      const { returnValue, packet } = vm.runPacket(frame);
      return `${returnValue} ${hex(packet)}`;
    });
  });
  return [...runs, sum([maps.get(countersMap)!.lookup(onlyKey)!]), hex(maps.get(parametersMap)?.lookup(onlyKey))];
}

const usable = (hook: string): Uint8Array[] => frames.filter((frame) => canTestRun(frame, hook as Hook));

function inKernel(
  programs: Readonly<Record<string, KernelProgram>>,
  counters: () => readonly Uint8Array[],
  parameters: () => Uint8Array | undefined,
): Effects {
  const runs = Object.entries(programs).flatMap(([hook, program]) =>
    usable(hook).map((frame) => {
      const { returnValue, data } = testRun(program, { data: frame });
      return `${returnValue} ${hex(data)}`;
    }),
  );
  return [...runs, sum(counters()), hex(parameters())];
}

/** What bpftool prints. */
function bpftool(...args: readonly string[]): string {
  const env = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };
  const { error, status, stdout, stderr } = spawnSync("bpftool", args, { env, encoding: "utf8" });
  if (error) throw new Error(`Cannot run bpftool, which npm run setup -- --tests installs: ${error.message}`);
  if (status !== 0) throw new Error(`bpftool ${args.join(" ")}: ${stderr}`);
  return stdout;
}

describe("writeObject()", () => {
  let folder = "";
  const pinned: string[] = [];
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "emptcp-object-"));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
    for (const directory of pinned) rmSync(directory, { recursive: true, force: true });
  });

  /** Has bpftool load an object and pin its programs and maps; returns the directory of the pins. */
  function loadWithBpftool(object: Uint8Array): string {
    const file = join(folder, `${pinned.length}.bpf.o`);
    writeFileSync(file, object);
    const directory = `${ensureBpffs()}/emptcp-object-${process.pid}-${pinned.length}`;
    pinned.push(directory);
    bpftool("prog", "loadall", file, directory, "pinmaps", `${directory}/maps`);
    return directory;
  }

  it.each(cases)("writes programs that do in bpftool's hands what they do in the VM: $name, $place", ({ chain }) => {
    const directory = loadWithBpftool(writeObject(chain.plan()));
    const maps = readdirSync(`${directory}/maps`);
    const hooks = Object.keys(chain.compile().programs);
    expect(readdirSync(directory).sort()).toEqual([...hooks, "maps"].sort());
    const programs = Object.fromEntries(hooks.map((hook) => [hook, openProgram(`${directory}/${hook}`)]));
    const counters = openMap(`${directory}/maps/${countersMap}`);
    const pin = maps.find((name) => name.includes(parametersMap));
    const parameters = pin === undefined ? undefined : openMap(`${directory}/maps/${pin}`);
    try {
      const effects = inKernel(
        programs,
        () => counters.lookupPerCpu(onlyKey)!,
        () => parameters?.lookup(onlyKey),
      );
      expect(effects).toEqual(inVm(chain));
      const untouched = new Set(frames.map(hex));
      expect(effects.slice(0, -2).filter((effect) => !untouched.has(effect.split(" ")[1]))).not.toHaveLength(0);
    } finally {
      for (const object of [...Object.values(programs), counters, parameters]) object?.close();
    }
  });

  it.each(cases)("writes what readElf() reads, to the same effect: $name, $place", ({ chain }) => {
    const plan = chain.plan();
    const { programs, maps, license } = readElf(writeObject(plan));
    expect(license).toBe("GPL");
    const specs = Object.fromEntries(
      programs.map(({ name, section, instructions }): [string, ProgramSpec] => {
        const { type, attachType } = plan.compiled.programs[name];
        const spec: ProgramSpec = { name, type, attachType, license: "GPL", instructions, maps };
        expect(section).toBe(sectionName(spec));
        return [name, spec];
      }),
    );
    using loaded = loadCollection({ programs: specs });
    const data = Object.keys(maps).find((name) => name.includes(parametersMap));
    const effects = inKernel(
      loaded.programs,
      () => loaded.maps[countersMap].lookupPerCpu(onlyKey)!,
      () => (data === undefined ? undefined : loaded.maps[data].lookup(onlyKey)),
    );
    expect(effects).toEqual(inVm(chain));
  });

  it("names what is in maps, so that bpftool shows counters and records by the names in the policies", () => {
    const actors = new ActorChain().add("record").add("rate_limit", { rate: "8kbit" });
    const chain = new PolicyChain(selectors.one(), actors, { interfaces: ["any"], hook: "xdp" });
    const directory = loadWithBpftool(writeObject(chain.plan()));
    const program = openProgram(`${directory}/xdp`);
    for (const frame of usable("xdp")) testRun(program, { data: frame });
    program.close();
    const dump = (map: string) =>
      JSON.parse(bpftool("-j", "map", "dump", "pinned", `${directory}/maps/${map}`)) as unknown;
    expect(dump("_data_params")).toMatchObject([
      { formatted: { value: { ".data.params": [{ params: { rate_limit_rate: 1000 } }] } } },
    ]);
    const counters = { seen: expect.any(Number), src_matched: expect.any(Number), record_acted: expect.any(Number) };
    const [{ formatted }] = dump(countersMap) as { formatted: { values: { value: object }[] } }[];
    expect(formatted.values[0].value).toMatchObject(counters);
    const { map, fields } = chain.compile().layout.state[0];
    const flow = { key: { localPort: expect.any(Number) }, value: { [fields[0].name]: expect.any(Number) } };
    expect((dump(map) as { formatted: object }[])[0].formatted).toMatchObject(flow);
  });

  it("writes programs for sockets, whose fields libbpf finds in the running kernel", () => {
    const phone = new SelectorChain()
      .select("subflow", { local: "10.0.0.1", remote: "10.0.0.2", localPort: 5001, remotePort: 80 })
      .or("subflow", { local: "fd00::1", remote: "fd00::2", localPort: 5001, remotePort: 80 });
    const actors = new ActorChain().add("pace", { rate: "1mbit" }).add(steer, { control: "reno" });
    const chain = new PolicyChain(phone, actors);
    const directory = loadWithBpftool(writeObject(chain.plan()));
    expect(readdirSync(directory).sort()).toEqual(["iter_tcp", "iter_tcp_release", "maps", "sock_ops"]);
    // The kernel holds the same instructions, after its own rewriting, as when emptcp resolves the fields.
    const { programs: specs, maps } = chain.compile();
    using own = loadCollection({ programs: specs, maps });
    for (const hook of Object.keys(specs)) {
      using loaded = openProgram(`${directory}/${hook}`);
      const [theirs, ours] = [loaded.info(), own.programs[hook].info()];
      expect([theirs.type, theirs.translatedBytes, theirs.tag]).toEqual([ours.type, ours.translatedBytes, ours.tag]);
    }
  });
});
