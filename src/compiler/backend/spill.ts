/**
 * Moves registers to memory. At first each block that uses a spilled register loads it once; where even that is too much,
 * each use loads it anew. A register with one constant definition is computed again instead.
 */
import {
  Effect,
  effects,
  machine,
  type MachineBlock,
  type MachineFunction,
  type MachineInstruction,
} from "./machine.ts";

const FRAME_POINTER = 10;

/** A register to spill, with all that were coalesced into it (itself among them). */
export interface SpilledClass {
  readonly register: number;
  readonly members: readonly number[];
}

/** What a spilled register becomes. */
interface Plan {
  /** Where it lives; undefined if `definition` can be repeated. */
  readonly slot: number | undefined;
  readonly definition: MachineInstruction | undefined;
  /** Whether one load serves the rest of the block (or all until a call). */
  readonly perBlock: boolean;
}

export class Spiller {
  readonly #fn: MachineFunction;
  /** Registers made by spilling that live for an instruction or two: spilling them would not help. */
  readonly temporaries = new Set<number>();
  /** Registers that hold a spilled one for a block -> its slot, -1 for a constant. */
  readonly #slotOfHolder = new Map<number, number>();
  slotCount = 0;

  constructor(fn: MachineFunction) {
    this.#fn = fn;
  }

  spill(classes: readonly SpilledClass[]): void {
    const constants = this.#findConstantDefinitions(new Set(classes.map(({ register }) => register)));
    const plans = new Map<number, Plan>();
    for (const { register, members } of classes) {
      const perBlock = !members.some((member) => this.#slotOfHolder.has(member) || this.temporaries.has(member));
      const definition = constants.get(register);
      plans.set(register, { slot: definition ? undefined : this.#slotFor(members), definition, perBlock });
    }
    for (const block of this.#fn.blocks) new BlockRewriter(this, block, plans).run();
  }

  /** A new register for a spilled one. */
  register(plan: Plan): number {
    const register = this.#fn.registerCount++;
    if (plan.perBlock) this.#slotOfHolder.set(register, plan.slot ?? -1);
    else this.temporaries.add(register);
    return register;
  }

  /** Holders of one slot alone have their value there already; anything else needs a slot of its own. */
  #slotFor(members: readonly number[]): number {
    const [first] = members;
    const slot = this.#slotOfHolder.get(first) ?? -1;
    const isHome = slot >= 0 && members.every((member) => this.#slotOfHolder.get(member) === slot);
    return isHome ? slot : this.slotCount++;
  }

  /** Of the given registers those with a single definition that needs no other register. */
  #findConstantDefinitions(registers: ReadonlySet<number>): Map<number, MachineInstruction> {
    const definitions = new Map<number, MachineInstruction | undefined>();
    for (const block of this.#fn.blocks) {
      for (const instruction of block.instructions) {
        const effect = effects[instruction.opcode];
        if (!(effect & Effect.writesDst) || !registers.has(instruction.dst)) continue;
        const isConstant = !(effect & (Effect.readsDst | Effect.readsSrc));
        const isFirst = !definitions.has(instruction.dst);
        definitions.set(instruction.dst, isConstant && isFirst ? instruction : undefined);
      }
    }
    const constants = new Map<number, MachineInstruction>();
    for (const [register, definition] of definitions) if (definition) constants.set(register, definition);
    return constants;
  }
}

class BlockRewriter {
  readonly #spiller: Spiller;
  readonly #block: MachineBlock;
  readonly #plans: ReadonlyMap<number, Plan>;
  readonly #out: MachineInstruction[] = [];
  /** Spilled register -> the one that holds it here. */
  readonly #holders = new Map<number, number>();

  constructor(spiller: Spiller, block: MachineBlock, plans: ReadonlyMap<number, Plan>) {
    this.#spiller = spiller;
    this.#block = block;
    this.#plans = plans;
  }

  run(): void {
    const { instructions, condition } = this.#block;
    instructions.forEach((instruction, i) => this.#rewrite(instruction, instructions[i + 1]));
    if (condition) this.#bringOperandsIn(condition);
    instructions.splice(0, Infinity, ...this.#out);
  }

  #rewrite(instruction: MachineInstruction, next: MachineInstruction | undefined): void {
    const effect = effects[instruction.opcode];
    const { dst } = instruction;
    const plan = this.#plans.get(dst);
    const writes = (effect & Effect.writesDst) !== 0;
    // Constants are repeated where they are used, and a holder's own load is as good as one for each use.
    if (plan && writes && (plan.definition || (instruction.slot !== undefined && instruction.slot === plan.slot)))
      return;
    this.#bringOperandsIn(instruction);
    this.#out.push(instruction);
    if (effect & Effect.call) this.#holders.clear();
    if (!plan || !writes) {
      this.#forgetTemporaries();
      return;
    }
    if (!(effect & Effect.readsDst)) instruction.dst = this.#spiller.register(plan);
    this.#forgetTemporaries();
    this.#holders.set(dst, instruction.dst);
    if (next && (modifies(next, dst) || isStoreTo(next, plan.slot!, dst))) return;
    this.#out.push({ ...machine.store(8, FRAME_POINTER, 0, instruction.dst), slot: plan.slot! });
    this.#forgetTemporaries();
  }

  #bringOperandsIn(instruction: MachineInstruction): void {
    const effect = effects[instruction.opcode];
    const { dst, src } = instruction;
    if (effect & Effect.readsSrc) instruction.src = this.#bringIn(src);
    if (effect & Effect.readsDst) {
      const isBoth = src === dst && (effect & Effect.readsSrc) !== 0;
      instruction.dst = isBoth ? instruction.src : this.#bringIn(dst);
    }
  }

  #bringIn(register: number): number {
    const plan = this.#plans.get(register);
    if (!plan) return register;
    let holder = this.#holders.get(register);
    if (holder !== undefined) return holder;
    holder = this.#spiller.register(plan);
    if (plan.definition) this.#out.push({ ...plan.definition, dst: holder });
    else this.#out.push({ ...machine.load(8, holder, FRAME_POINTER, 0), slot: plan.slot! });
    this.#holders.set(register, holder);
    return holder;
  }

  #forgetTemporaries(): void {
    for (const [register] of this.#holders) if (!this.#plans.get(register)!.perBlock) this.#holders.delete(register);
  }
}

/** Whether the instruction goes on working on `register`: the second half of a two-address operation. */
function modifies(instruction: MachineInstruction, register: number): boolean {
  const effect = effects[instruction.opcode];
  if (instruction.dst !== register || !(effect & Effect.readsDst) || !(effect & Effect.writesDst)) return false;
  return !(effect & Effect.readsSrc) || instruction.src !== register;
}

function isStoreTo(instruction: MachineInstruction, slot: number, register: number): boolean {
  const isLoad = (effects[instruction.opcode] & Effect.writesDst) !== 0;
  return instruction.slot === slot && instruction.src === register && !isLoad;
}
