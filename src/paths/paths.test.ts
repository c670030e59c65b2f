import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { PathManagerError, type ConnectionState } from "../linux/index.ts";
import {
  addrAdv,
  controller,
  fullmesh,
  ndiffports,
  serverLimit,
  streaming,
  type Connection,
  type Controller,
  type Subflow,
} from "./index.ts";
import { addressOf, FakeKernel, local, remote } from "./testing/fakes.ts";

const second = { local: { address: "10.0.2.1", port: 41_000 }, remote, localId: 1, remoteId: 0, backup: false };

/** Writes down what it hears. */
function listener(name: string, heard: string[], more: Partial<Controller> = {}): Controller {
  return controller({
    name,
    created: () => void heard.push(`${name} created`),
    established: () => void heard.push(`${name} established`),
    subflowEstablished: ({ local }) => void heard.push(`${name} subflow ${local.address}`),
    subflowClosed: ({ local, error }) => void heard.push(`${name} closed ${local.address} ${error ?? "in order"}`),
    closed: () => void heard.push(`${name} closed`),
    ...more,
  });
}

const state = (subflows: readonly object[], more: Partial<ConnectionState> = {}): ConnectionState =>
  ({
    token: 1,
    state: "established",
    local,
    remote,
    serverSide: false,
    subflows: subflows.map((one) => ({ state: "established", ...one })),
    ...more,
  }) as unknown as ConnectionState;
const fail = (what: string) => (): never => {
  throw new Error(what);
};
const first = { local, remote, localId: 0, remoteId: 0, backup: false };

describe("controller()", () => {
  test("names the events there are when one is misspelt, and what is no function", () => {
    expect(() => controller({ name: "mine", subflowEstablishd() {} } as Controller)).toThrow(
      /controller mine: there is no event subflowEstablishd; the events are created, established/,
    );
    expect(() => controller({ name: "mine", closed: 3 } as unknown as Controller)).toThrow(/closed is no function/);
    expect(() => controller({ name: "" })).toThrow(/without a name/);
  });
});

describe("Dispatcher", () => {
  test("calls lower numbers first, and none behind one that says stop", () => {
    const heard: string[] = [];
    const stops = { priority: 1, established: () => (heard.push("middle established"), "stop" as const) };
    const kernel = new FakeKernel(
      listener("last", heard, { priority: 2 }),
      listener("middle", heard, stops),
      listener("first", heard, { priority: -1 }),
    );
    kernel.establish();
    expect(heard).toEqual([
      "first created",
      "middle created",
      "last created",
      "first established",
      "middle established",
    ]);
  });

  test("tells a controller of connections that its filter lets through, and asks once", () => {
    const heard: string[] = [];
    const filter = vi.fn(({ remote }: Connection) => remote.port === 80);
    const kernel = new FakeKernel(listener("web", heard, { filter }), listener("all", heard));
    kernel.establish();
    expect(heard).toEqual(["all created", "all established"]);
    expect(filter).toHaveBeenCalledTimes(1);
  });

  test("reports what handlers, their promises, timers and filters throw, and goes on", async () => {
    const heard: string[] = [];
    const bad = controller({
      name: "bad",
      created: fail("created"),
      // eslint-disable-next-line @typescript-eslint/require-await
      established: async (connection) => {
        connection.after(0, fail("timer"));
        throw new Error("promise");
      },
    });
    const kernel = new FakeKernel(
      bad,
      controller({ name: "picky", filter: fail("filter"), created() {} }),
      listener("good", heard),
    );
    kernel.establish();
    await vi.waitFor(() => expect(kernel.failures).toHaveLength(4));
    expect(heard).toEqual(["good created", "good established"]);
    const told = kernel.failures.map(
      ({ controller, handler, error }) => `${controller} ${handler} ${(error as Error).message}`,
    );
    expect(new Set(told)).toEqual(
      new Set(["bad created created", "bad established promise", "bad timer timer", "picky filter filter"]),
    );
    expect((kernel.failures[0].error as Error).stack).toContain("paths.test.ts");
  });
});

describe("Model", () => {
  test("keeps subflows by events, and a subflow stays the same object", () => {
    const subflows: Subflow[] = [];
    const kernel = new FakeKernel(
      controller({
        name: "keep",
        subflowEstablished: (one) => void subflows.push(one),
        subflowClosed: (one) => void subflows.push(one),
      }),
    );
    kernel.establish();
    const connection = kernel.model.connections.get(1)!;
    connection.createSubflow({ local: { address: "10.0.2.1" } });
    expect(connection.pending).toEqual([{ local: "10.0.2.1", localId: 1, remote }]);
    kernel.tell("subflow_established", second);
    expect(connection.pending).toEqual([]);
    expect(connection.subflows.map(({ local }) => local.port)).toEqual([40_000, 41_000]);
    kernel.tell("subflow_priority", { ...second, backup: true });
    expect(connection.subflows[1].backup).toBe(true);
    kernel.tell("subflow_closed", { ...second, errorName: "ETIMEDOUT" });
    expect(connection.subflows).toHaveLength(1);
    expect(subflows[1]).toBe(subflows[0]);
    expect(subflows[1]).toMatchObject({ open: false, removed: false, error: "ETIMEDOUT" });
  });

  test("gives up a subflow on its way, of which the kernel forgets the peer's port", () => {
    const closed: Subflow[] = [];
    const kernel = new FakeKernel(controller({ name: "keep", subflowClosed: (one) => void closed.push(one) }));
    kernel.establish();
    const connection = kernel.model.connections.get(1)!;
    connection.createSubflow({ local: { address: "10.0.2.1" } });
    kernel.states = [state([first, { ...second, state: "syn-sent" }])];
    connection.removeSubflow(connection.pending[0]);
    expect(kernel.commands.at(-1)).toMatchObject({
      command: "destroySubflow",
      options: { local: second.local, remote },
    });
    expect(connection.subflows).toHaveLength(1);
    kernel.tell("subflow_closed", { ...second, remote: { ...remote, port: 0 }, errorName: "ECONNRESET" });
    expect(connection.pending).toEqual([]);
    expect(closed).toMatchObject([{ remote, removed: true, open: false }]);
    // Somebody else did.
    connection.createSubflow({ local: { address: "10.0.2.1" } });
    kernel.tell("subflow_closed", { ...second, remote: { ...remote, port: 0 }, errorName: "ECONNRESET" });
    expect(connection.pending).toEqual([]);
    expect(closed[1]).toMatchObject({ remote, removed: false });
  });

  test("tells what is different when events were lost, and nothing else", () => {
    const heard: string[] = [];
    const kernel = new FakeKernel(listener("all", heard));
    kernel.establish();
    kernel.tell("subflow_established", second);
    heard.length = 0;
    const third = { ...second, local: { address: "10.0.3.1", port: 42_000 }, localId: 2 };
    kernel.states = [
      state([first, third, { ...second, state: "syn-sent" }]),
      state([{ ...first, local: { ...local, port: 5 } }], { token: 2, local: { ...local, port: 5 } }),
    ];
    kernel.model.sync();
    expect(heard).toEqual(["all closed 10.0.2.1 in order", "all subflow 10.0.3.1", "all created", "all established"]);
    expect(kernel.model.connections.get(1)!.pending).toHaveLength(1);
    heard.length = 0;
    kernel.model.sync();
    // Events that were on their way when all was read.
    kernel.tell("created", { local, remote });
    kernel.tell("subflow_established", third);
    expect(heard).toEqual([]);
    kernel.states = [];
    kernel.model.sync();
    expect(heard).toEqual(["all closed", "all closed"]);
  });

  test("knows of the peer's addresses where subflows of this host lead to when it begins", () => {
    const kernel = new FakeKernel();
    const there = { ...second, remote: { address: "10.0.9.2", port: 8443 }, remoteId: 3, opened: true };
    const here = { ...second, remote: { address: "10.0.9.7", port: 50_000 }, remoteId: 4, opened: false };
    kernel.states = [state([{ ...first, opened: true }, there, here])];
    kernel.model.sync();
    expect([...kernel.model.connections.get(1)!.announced]).toEqual([[3, { id: 3, address: "10.0.9.2", port: 8443 }]]);
  });

  test("tells once of a connection that began while all was read, before its first subflow was listed", () => {
    const heard: string[] = [];
    const kernel = new FakeKernel(listener("all", heard));
    kernel.states = [state([])];
    kernel.model.sync();
    kernel.establish();
    expect(heard).toEqual(["all created", "all established"]);
    expect(kernel.model.connections.get(1)!.subflows).toHaveLength(1);
  });

  test("takes a token that was given again for another connection", () => {
    const heard: string[] = [];
    const kernel = new FakeKernel(listener("all", heard));
    kernel.establish();
    kernel.tell("created", { local: { ...local, port: 40_001 }, remote });
    expect(heard).toEqual(["all created", "all established", "all closed", "all created"]);
  });

  test("knows a connection whose beginning it was not told when it is established, for what it is", () => {
    const heard: string[] = [];
    const kernel = new FakeKernel(listener("all", heard));
    kernel.tell("established", { local, remote, serverSide: true });
    expect(heard).toEqual(["all created", "all established"]);
    kernel.tell("established", { local: { ...local, port: 40_001 }, remote });
    expect(heard.slice(2)).toEqual(["all closed", "all created", "all established"]);
    const { serverSide, subflows } = kernel.model.connections.get(1)!;
    expect({ serverSide, ports: subflows.map((one) => one.local.port) }).toEqual({
      serverSide: false,
      ports: [40_001],
    });
  });

  test("knows what peers announce, a thousand times over", () => {
    const kernel = new FakeKernel();
    kernel.establish();
    for (let i = 0; i < 1000; i++) kernel.tell("announced", { remoteId: 3, remote: { address: "10.0.9.2", port: 0 } });
    const connection = kernel.model.connections.get(1)!;
    expect([...connection.announced.values()]).toEqual([{ id: 3, address: "10.0.9.2", port: 443 }]);
    kernel.tell("removed", { remoteId: 3 });
    expect(connection.announced.size).toBe(0);
  });

  test("gives addresses ids, and takes the kernel's where it knows them under others", () => {
    const kernel = new FakeKernel();
    kernel.establish();
    const connection = kernel.model.connections.get(1)!;
    const idOf = (i: number) => (kernel.commands[i].options["local"] as { id: number }).id;
    connection.createSubflow();
    connection.createSubflow({ local: { address: "10.0.2.1" } });
    connection.createSubflow({ local: { address: "10.0.2.1", port: 7000 } });
    connection.createSubflow({ local: { address: "10.0.2.1" } });
    expect([0, 1, 2, 3].map(idOf)).toEqual([0, 1, 2, 1]);
  });
});

test("a connection that ends before its subflows are asked for is no error, and nothing waits for them", () => {
  const kernel = new FakeKernel(ndiffports({ subflows: 4 }));
  kernel.refusal = new PathManagerError({ kind: "closed", action: "", errno: 107, reason: "it is closing" });
  kernel.establish();
  expect(kernel.failures).toEqual([]);
  expect(kernel.model.connections.get(1)!.pending).toEqual([]);
  expect(kernel.model.connections.get(1)!.announce({ address: "10.0.2.1" })).toBe(0);
});

test("serverLimit() closes what is too much from one address, and from all together", () => {
  const kernel = new FakeKernel(serverLimit({ perAddress: 2, mostSubflows: 4 }));
  kernel.tell("created", { local, remote, serverSide: true });
  const connection = kernel.model.connections.get(1)!;
  for (const [i, address] of ["10.0.9.1", "10.0.9.1", "10.0.9.2", "10.0.9.3", "10.0.9.4"].entries())
    kernel.tell("subflow_established", { local, remote: { address, port: 50_000 + i } });
  expect(connection.subflows.map((one) => one.remote.port)).toEqual([443, 50_000, 50_002, 50_003]);
});

describe("timers of connections", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("end with the connection, and when they are called off", () => {
    const rang: string[] = [];
    const kernel = new FakeKernel(
      controller({
        name: "timers",
        established(connection) {
          connection.every(100, () => rang.push("every"));
          connection.after(150, () => rang.push("after"));
          connection.after(50, () => rang.push("never"))();
        },
      }),
    );
    kernel.establish();
    vi.advanceTimersByTime(250);
    expect(rang).toEqual(["every", "after", "every"]);
    kernel.tell("closed");
    vi.advanceTimersByTime(1000);
    expect(rang).toHaveLength(3);
  });

  test.each([
    ["ECONNRESET", 1000],
    ["ETIMEDOUT", 10_000],
    ["ENETUNREACH", 30_000],
  ])("fullmesh() tries again after %s in %d ms", (errorName, waitMs) => {
    const kernel = new FakeKernel(fullmesh());
    kernel.establish();
    kernel.tell("subflow_closed", { ...second, errorName });
    expect(kernel.asked).toEqual(["10.0.2.1"]);
    vi.advanceTimersByTime(waitMs - 1);
    expect(kernel.asked).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(kernel.asked).toEqual(["10.0.2.1", "10.0.2.1"]);
  });

  test("fullmesh() waits although the peer announces again, and has no more subflows than it may", () => {
    const kernel = new FakeKernel(fullmesh({ mostSubflows: 3 }));
    kernel.establish();
    kernel.tell("subflow_closed", { ...second, errorName: "ETIMEDOUT" });
    const announce = (id: number) =>
      kernel.tell("announced", { remoteId: id, remote: { address: `10.0.9.${id}`, port: 0 } });
    for (let round = 0; round < 3; round++) announce(2);
    expect(kernel.asked).toEqual(["10.0.2.1", "10.0.1.1", "10.0.2.1"]);
    for (let id = 3; id < 200; id++) announce(id);
    expect(kernel.asked).toHaveLength(3);
  });

  test.each([
    ["fullmesh", fullmesh, ["10.0.3.1"]],
    ["streaming", streaming, ["10.0.3.1"]],
    ["addrAdv", addrAdv, []],
  ])("%s() leaves addresses of other interfaces alone", (_name, make, subflowsFrom) => {
    const kernel = new FakeKernel(make({ interfaces: ["one", "three"] }));
    kernel.addresses.push(addressOf("10.0.3.1", "three"));
    for (const one of kernel.addresses) kernel.handlers.tell("localAddressAdded", undefined, one, kernel.manager);
    kernel.establish();
    const connection = kernel.model.connections.get(1)!;
    kernel.handlers.tell("timeout", connection, connection.subflows[0], 2000, connection);
    expect(kernel.asked).toEqual(subflowsFrom);
    const endpoints = kernel.commands.filter(({ command }) => command === "addEndpoint");
    if (make === addrAdv) expect(endpoints.map(({ options }) => options["address"])).toEqual(["10.0.1.1", "10.0.3.1"]);
    expect(kernel.failures).toEqual([]);
  });

  test("fullmesh() leaves closed what was closed without an error, and waits for routes", () => {
    const unreachable = { kind: "unreachable", action: "", errno: 101, reason: "no route" } as const;
    const kernel = new FakeKernel(fullmesh());
    kernel.refusal = new PathManagerError(unreachable);
    kernel.establish();
    expect(kernel.failures).toEqual([]);
    kernel.refusal = undefined;
    vi.advanceTimersByTime(30_000);
    expect(kernel.asked).toEqual(["10.0.2.1"]);
    kernel.tell("subflow_established", second);
    kernel.tell("subflow_closed", second);
    vi.advanceTimersByTime(100_000);
    expect(kernel.asked).toHaveLength(1);
  });
});
