/** Programs that let everything pass: they hold a place on a hook until the program that belongs there comes into force. */
import { alu64, exit } from "../bpf/asm.ts";
import { hooks, type Hook } from "../compiler/index.ts";
import { loadProgram, type KernelProgram } from "../linux/index.ts";

export function loadInert(hook: Hook): KernelProgram {
  const { programType, attachType, proceed } = hooks[hook];
  return loadProgram(
    {
      name: "emptcp_inert",
      type: programType,
      attachType,
      license: "GPL",
      instructions: [alu64.mov.imm(0, proceed | 0), exit()],
      maps: {},
    },
    {},
  );
}
