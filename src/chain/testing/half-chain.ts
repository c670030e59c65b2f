/** Makes a chain as `submit` does, up to the moment before it is moved into place, and stays there: what if it dies now? */
import * as asm from "../../bpf/asm.ts";
import { attachTcx } from "../../linux/links/tcx.ts";
import { withNetns } from "../../linux/netns.ts";
import { loadProgram } from "../../linux/programs.ts";
import { beginPins } from "../store.ts";

const [name, netns] = process.argv.slice(2) as [string, string];

withNetns(netns, () => {
  const { directory } = beginPins(name);
  const program = loadProgram(
    {
      name: "half",
      type: "schedCls",
      attachType: "tcxIngress",
      license: "GPL",
      instructions: [asm.alu64.mov.imm(0, -1), asm.exit()],
      maps: {},
    },
    {},
  );
  attachTcx(program, { interface: "lo", direction: "ingress" }).pin(`${directory}/link_tcx_ingress_1`);
});
console.log("made");
process.stdin.resume();
