import { describe, expect, it } from "vitest";
import { StackInVm, compileStack } from "./testing/in-stack.ts";

/** A policy of those operations on reno, in the VM. */
function run(operations: string, state = "", constants = ""): StackInVm {
  const text = `
    import { base, claim, claimable, congestionControl, flows, inPrefix, max, min, offer, perCpu, perSocket, reno, sameAddress, shared, slots, table, u8, u16, u32, u64, type StackSocket, type SubflowFacts } from "emptcp/policy";
    function total(socket: StackSocket): u32 {
      const { connection } = socket;
      if (connection === undefined) return socket.cwnd;
      let windows: u32 = 0;
      for (const one of connection.subflows) windows += one.cwnd;
      return windows;
    }
    ${constants}
    congestionControl({ name: "tested", ${state} ${operations} });`;
  return new StackInVm(compileStack(text, "reno"));
}

/** What an expression about \`socket\` gives, as the threshold that the policy returns. */
function fact(expression: string, subflows: readonly Record<string, number | bigint>[], fields = {}): number {
  const vm = run(`ssthresh(socket) { return u32(${expression}); },`);
  const { sockets } = vm.connection(subflows, fields);
  return vm.run("ssthresh", sockets[0]).returnValue;
}

/** The same of what is true or not. */
const holds = (condition: string, subflows: readonly Record<string, number | bigint>[]): number =>
  fact(`${condition} ? 1 : 0`, subflows);

describe("in-stack policies", () => {
  it("see a socket's facts in the units that they promise", () => {
    expect(fact("socket.srttUs", [{ srtt_us: 80_000 }])).toBe(10_000);
    expect(fact("socket.rttVarUs", [{ mdev_us: 400 }])).toBe(100);
    expect(fact("socket.minRttUs", [{ "rtt_min.s[0].v": 777 }])).toBe(777);
    expect(fact("socket.inFlight", [{ packets_out: 20, retrans_out: 3, sacked_out: 4, lost_out: 5 }])).toBe(14);
    expect(fact("socket.notSentBytes", [{ write_seq: 100, snd_nxt: 0xffff_fff0 }])).toBe(116);
    const rate = { rate_delivered: 10, mss_cache: 1400, rate_interval_us: 20_000 };
    expect(fact("socket.deliveryRate", [rate])).toBe(700_000);
    expect(fact("socket.deliveryRate", [{ ...rate, rate_interval_us: 0 }])).toBe(0);
    expect(holds("socket.isAppLimited", [{ app_limited: 1 }])).toBe(1);
    expect(holds("socket.isAppLimited", [{ app_limited: 0 }])).toBe(0);
    expect(holds("socket.isCwndLimited", [{ is_cwnd_limited: 1 }])).toBe(1);
    expect(fact("socket.caState", [{ "inet_connection_sock.icsk_ca_state": 3 }])).toBe(3);
    expect(fact("socket.field('tcp_sock.reordering', u32)", [{ reordering: 5 }])).toBe(5);
  });

  it("tell subflows of a connection from plain TCP", () => {
    const vm = run("ssthresh(socket) { return socket.connection === undefined ? 7 : socket.connection.token; },");
    const { sockets } = vm.connection([{}], { token: 99 });
    expect(vm.run("ssthresh", sockets[0]).returnValue).toBe(99);
    expect(vm.run("ssthresh", vm.socket()).returnValue).toBe(7);
    // Something else may keep its things there, such as TLS.
    const tls = vm.socket({ "inet_connection_sock.icsk_ulp_data": vm.contextOf(sockets[0]) });
    expect(vm.run("ssthresh", tls).returnValue).toBe(7);
    const ids = run("ssthresh(socket) { return socket.id; },");
    const { sockets: three } = ids.connection([{}, {}, {}]);
    expect([...three, ids.socket()].map((one) => ids.run("ssthresh", one).returnValue)).toEqual([1, 2, 3, 0]);
  });

  it("know whether a subflow is backup for either side", () => {
    const vm = run("ssthresh(socket) { return socket.backup ? 1 : 0; },");
    const { sockets } = vm.connection([{}, {}, {}]);
    vm.objects.write(vm.contextOf(sockets[1]), "mptcp_subflow_context.backup", 1);
    vm.objects.write(vm.contextOf(sockets[2]), "mptcp_subflow_context.request_bkup", 1);
    expect(sockets.map((one) => vm.run("ssthresh", one).returnValue)).toEqual([0, 1, 1]);
  });

  it("walk over all subflows that are established, and no others", () => {
    const vm = run("ssthresh(socket) { return total(socket); },");
    const { sockets } = vm.connection([10, 20, 40, 80].map((snd_cwnd) => ({ snd_cwnd })));
    expect(vm.run("ssthresh", sockets[2]).returnValue).toBe(150);
    // TCP_SYN_SENT, TCP_CLOSE_WAIT.
    vm.objects.write(sockets[1], "sock_common.skc_state", 2);
    vm.objects.write(sockets[3], "sock_common.skc_state", 8);
    expect(vm.run("ssthresh", sockets[2]).returnValue).toBe(130);
    const foreign = vm.connection([{ snd_cwnd: 1000 }]);
    vm.objects.write(vm.contextOf(sockets[0]), "mptcp_subflow_context.conn", foreign.connection);
    expect(vm.run("ssthresh", sockets[2]).returnValue).toBe(120);
  });

  it("walk over eight subflows at most, and end where memory has changed under them", () => {
    const vm = run("ssthresh(socket) { return total(socket); },");
    const { sockets } = vm.connection(Array.from({ length: 12 }, () => ({ snd_cwnd: 1 })));
    expect(vm.run("ssthresh", sockets[0]).returnValue).toBe(8);
    vm.objects.free(vm.contextOf(sockets[3]));
    expect(vm.run("ssthresh", sockets[0]).returnValue).toBe(3);
  });

  it("may loop over pairs of subflows", () => {
    const vm = run(`ssthresh(socket) {
      const { connection } = socket;
      if (connection === undefined) return 0;
      let sum: u32 = 0;
      for (const one of connection.subflows) for (const other of connection.subflows) if (one.id < other.id) sum += one.cwnd * other.cwnd;
      return sum;
    },`);
    const { sockets } = vm.connection([2, 3, 5].map((snd_cwnd) => ({ snd_cwnd })));
    expect(vm.run("ssthresh", sockets[1]).returnValue).toBe(2 * 3 + 2 * 5 + 3 * 5);
  });

  it("change the window, and keep one of at least one packet", () => {
    const vm = run(
      "congAvoid(socket, ack, acked) { base.congAvoid(socket, ack, acked); socket.cwnd = min(socket.cwnd, acked); },",
    );
    const socket = vm.socket({ snd_cwnd: 10, snd_ssthresh: 100 });
    vm.run("cong_avoid", socket, 0, 11);
    expect(vm.read(socket, "tcp_sock.snd_cwnd")).toBe(11);
    vm.run("cong_avoid", socket, 0, 0);
    expect(vm.read(socket, "tcp_sock.snd_cwnd")).toBe(1);
  });

  it("build growth of their own from reno's parts", () => {
    const vm = run(`congAvoid(socket, ack, acked) {
      const left = reno.slowStart(socket, acked);
      if (left > 0) reno.congAvoidAi(socket, 0, left);
    },`);
    const socket = vm.socket({ snd_cwnd: 10, snd_ssthresh: 12 });
    vm.run("cong_avoid", socket, 0, 3);
    // Up to the threshold by two; the third packet counts for a window of 1 rather than 0.
    expect(vm.read(socket, "tcp_sock.snd_cwnd")).toBe(13);
  });

  it("cap pacing by what fits, and lift the cap for more than that", () => {
    const vm = run(
      "cwndEvent(socket, event, { wanted }) { socket.maxPacingRate = wanted.rate; }, init(socket, { wanted }) { wanted.rate = socket.deliveryRate; },",
      "state: { wanted: shared({ rate: u64 }) },",
    );
    const socket = vm.socket({ mss_cache: 1, rate_delivered: 5000, rate_interval_us: 1_000_000 });
    vm.run("init", socket);
    vm.run("cwnd_event", socket, 0);
    expect(vm.objects.read(socket, "sock.sk_max_pacing_rate")).toBe(5000n);
    vm.objects.write(socket, "tcp_sock.mss_cache", 1 << 20);
    vm.run("init", socket);
    vm.run("cwnd_event", socket, 0);
    expect(vm.objects.read(socket, "sock.sk_max_pacing_rate")).toBe(2n ** 64n - 1n);
  });

  it("let the kernel ask for ACKs, or ask no more", () => {
    const vm = run("cwndEvent(socket, event) { socket.keepAliveSeconds = event; },");
    const asked = (seconds: number): (readonly number[])[] =>
      vm
        .run("cwnd_event", vm.socket({}), seconds)
        .socketOptions.map(({ level, option, value }) => [
          level,
          option,
          new DataView(value.buffer, value.byteOffset).getUint32(0, true),
        ]);
    // SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT
    for (const seconds of [2, 0])
      expect(new Set(asked(seconds).map(String))).toEqual(
        new Set([`1,9,${seconds}`, `6,4,${seconds}`, `6,5,${seconds}`, "6,6,127"]),
      );
  });

  it("tell subflows apart by addresses that are written out", () => {
    const vm = run(
      `inAckEvent(socket) {
        if (sameAddress(socket.flow.local, "10.0.1.7")) socket.ssthresh = 11;
        else if (inPrefix(socket.flow.local, net)) socket.ssthresh = 12;
        else if (inPrefix(socket.flow.local, "2001:db8::/32")) socket.ssthresh = 13;
      },`,
      "",
      'const net = "10.0.2.0/24";',
    );
    const threshold = (...address: number[]): number => {
      const socket = vm.socket({ "sock_common.skc_family": 2, "sock_common.skc_rcv_saddr": Uint8Array.from(address) });
      vm.run("in_ack_event", socket, 0);
      return vm.read(socket, "tcp_sock.snd_ssthresh");
    };
    expect([threshold(10, 0, 1, 7), threshold(10, 0, 2, 99), threshold(10, 0, 1, 8)]).toEqual([11, 12, 0x7fff_ffff]);
  });

  it("keep state by socket, by flow, by number and by token", () => {
    const vm = run(
      `inAckEvent(socket, flags, { own, byFlow, byToken, numbered }) {
        const mine = own.getOrCreate(socket);
        const flow = byFlow.getOrCreate(socket.flow);
        const slot = numbered.at(socket.id);
        if (mine === undefined || flow === undefined || slot === undefined) return;
        mine.count += 1;
        flow.count += 10;
        offer(flow);
        slot.count = flow.count + mine.count;
        if (socket.connection === undefined) return;
        const all = byToken.getOrCreate(socket.connection.token);
        if (all !== undefined) all.count += 100;
      },
      ssthresh(socket, { byFlow, byToken, numbered }) {
        const { connection } = socket;
        if (connection === undefined) return 0;
        const all = byToken.get(connection.token);
        if (all === undefined) return 1;
        let sum = all.count;
        for (const one of connection.subflows) {
          const flow = byFlow.get(one.flow);
          const slot = numbered.at(one.id);
          if (flow !== undefined && slot !== undefined && claim(flow)) sum += flow.count + slot.count;
        }
        return sum;
      },`,
      `state: {
        own: perSocket({ count: u32 }),
        byFlow: claimable(flows({ count: u32 }, 16)),
        byToken: table(u32, { count: u32 }, 16),
        numbered: slots({ count: u32 }, 4),
      },`,
    );
    const ports = [1, 2].map((port) => ({ "sock_common.skc_num": port, "sock_common.skc_daddr": port }));
    const { sockets } = vm.connection(ports, { token: 5 });
    for (const socket of [sockets[0], sockets[0], sockets[1]]) vm.run("in_ack_event", socket, 0);
    // By token 300; by flow 20 and 10; by number what flow and socket had: 22 and 11.
    expect(vm.run("ssthresh", sockets[0]).returnValue).toBe(300 + 20 + 22 + 10 + 11);
    // All was offered once, and taken.
    expect(vm.run("ssthresh", sockets[0]).returnValue).toBe(300);
  });
});
