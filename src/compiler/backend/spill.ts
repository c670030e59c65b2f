/** Moves registers to memory: each definition is stored, each use loads into a register of its own. */
import {
  Effect,
  effects,
  machine,
  type MachineBlock,
  type MachineFunction,
  type MachineInstruction,
} from "./machine.ts";

const FRAME_POINTER = 10;

export class Spiller {
  readonly #fn: MachineFunction;
  /** Registers made by spilling: they live for an instruction or two, so that spilling them would not help. */
  readonly temporaries = new Set<number>();
  slotCount = 0;

  constructor(fn: MachineFunction) {
    this.#fn = fn;
  }

  spill(registers: readonly number[]): void {
    const remade = this.#findConstantDefinitions(new Set(registers));
    const slots = new Map<number, number>();
    for (const register of registers) if (!remade.has(register)) slots.set(register, this.slotCount++);
    for (const block of this.#fn.blocks) this.#rewrite(block, slots, remade);
  }

  /** Of the given registers those with a single definition that needs no other register. */
  #findConstantDefinitions(registers: ReadonlySet<number>): Map<number, MachineInstruction> {
    const definitions = new Map<number, MachineInstruction | undefined>();
    for (const block of this.#fn.blocks) {
      for (const instruction of block.instructions) {
        const effect = effects[instruction.opcode]!;
        if (!(effect & Effect.writesDst) || !registers.has(instruction.dst)) continue;
        const isConstant = !(effect & (Effect.readsDst | Effect.readsSrc));
        const isFirst = !definitions.has(instruction.dst);
        definitions.set(instruction.dst, isConstant && isFirst ? instruction : undefined);
      }
    }
    const remade = new Map<number, MachineInstruction>();
    for (const [register, definition] of definitions) if (definition) remade.set(register, definition);
    return remade;
  }

  #rewrite(
    block: MachineBlock,
    slots: ReadonlyMap<number, number>,
    remade: ReadonlyMap<number, MachineInstruction>,
  ): void {
    const out: MachineInstruction[] = [];
    // The register that stands for a spilled one while a two-address sequence works on it.
    let held = -1;
    let holder = -1;
    const bringIn = (register: number): number => {
      if (register === held) return holder;
      const definition = remade.get(register);
      const slot = slots.get(register);
      if (!definition && slot === undefined) return register;
      const temporary = this.#temporary();
      out.push(
        definition
          ? { ...definition, dst: temporary }
          : { ...machine.load(8, temporary, FRAME_POINTER, 0), slot: slot! },
      );
      return temporary;
    };
    block.instructions.forEach((instruction, i) => {
      const effect = effects[instruction.opcode]!;
      const { dst, src } = instruction;
      if (effect & Effect.writesDst && remade.has(dst)) return;
      if (effect & Effect.readsSrc) instruction.src = bringIn(src);
      if (effect & Effect.readsDst)
        instruction.dst = src === dst && effect & Effect.readsSrc ? instruction.src : bringIn(dst);
      out.push(instruction);
      const slot = slots.get(dst);
      if (!(effect & Effect.writesDst) || slot === undefined) {
        held = -1;
        return;
      }
      if (!(effect & Effect.readsDst)) instruction.dst = this.#temporary();
      const next = block.instructions[i + 1];
      if (
        next &&
        next.dst === dst &&
        modifies(next) &&
        !(effects[next.opcode]! & Effect.readsSrc && next.src === dst)
      ) {
        held = dst;
        holder = instruction.dst;
        return;
      }
      held = -1;
      out.push({ ...machine.store(8, FRAME_POINTER, 0, instruction.dst), slot });
    });
    held = -1;
    const { condition } = block;
    if (condition) {
      const { dst, src } = condition;
      condition.dst = bringIn(dst);
      if (effects[condition.opcode]! & Effect.readsSrc) condition.src = src === dst ? condition.dst : bringIn(src);
    }
    block.instructions.splice(0, Infinity, ...out);
  }

  #temporary(): number {
    const register = this.#fn.registerCount++;
    this.temporaries.add(register);
    return register;
  }
}

function modifies(instruction: MachineInstruction): boolean {
  const effect = effects[instruction.opcode]!;
  return (effect & Effect.readsDst) !== 0 && (effect & Effect.writesDst) !== 0;
}
