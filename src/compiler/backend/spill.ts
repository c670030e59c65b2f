/**
 * Moves registers to memory. At first one load serves all uses down a chain of blocks without joins; a register that this
 * makes and that cannot stay either is loaded once a block instead, and at last for each use. A register with one constant
 * definition is computed again rather than loaded.
 */
import {
  successorsOf,
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
  readonly reach: Reach;
}

/** How far one load serves, at most until the next call. */
const Reach = { chain: 0, block: 1, use: 2 } as const;
type Reach = (typeof Reach)[keyof typeof Reach];

/** A register that holds a spilled one for a while. */
interface Holder {
  /** -1 for a constant. */
  readonly slot: number;
  readonly reach: Reach;
}

type Holders = Map<number, number>;

export class Spiller {
  readonly #fn: MachineFunction;
  /** Registers made by spilling that live for an instruction or two: spilling them would not help. */
  readonly temporaries = new Set<number>();
  readonly #holders = new Map<number, Holder>();
  slotCount = 0;

  constructor(fn: MachineFunction) {
    this.#fn = fn;
  }

  spill(classes: readonly SpilledClass[]): void {
    const constants = this.#findConstantDefinitions(new Set(classes.map(({ register }) => register)));
    const plans = new Map<number, Plan>();
    for (const { register, members } of classes) {
      const reach = Math.max(-1, ...members.map((member) => this.#holders.get(member)?.reach ?? -1)) + 1;
      const definition = constants.get(register);
      const slot = definition ? undefined : this.#slotFor(members);
      plans.set(register, { slot, definition, reach: Math.min(reach, Reach.use) as Reach });
    }
    this.#rewrite(plans);
  }

  /** A new register for a spilled one. */
  register({ slot = -1, reach }: Plan): number {
    const register = this.#fn.registerCount++;
    this.#holders.set(register, { slot, reach });
    if (reach === Reach.use) this.temporaries.add(register);
    return register;
  }

  #rewrite(plans: ReadonlyMap<number, Plan>): void {
    const predecessorCount = new Map<MachineBlock, number>();
    for (const block of this.#fn.blocks) {
      for (const next of successorsOf(block)) predecessorCount.set(next, (predecessorCount.get(next) ?? 0) + 1);
    }
    const [entry] = this.#fn.blocks;
    const seen = new Set([entry]);
    const work: { block: MachineBlock; holders: Holders }[] = [{ block: entry, holders: new Map() }];
    for (let item = work.pop(); item; item = work.pop()) {
      const { block, holders } = item;
      new BlockRewriter(this, block, plans, holders).run();
      for (const [register] of holders) if (plans.get(register)!.reach !== Reach.chain) holders.delete(register);
      for (const next of successorsOf(block)) {
        if (seen.has(next)) continue;
        seen.add(next);
        work.push({ block: next, holders: predecessorCount.get(next) === 1 ? new Map(holders) : new Map() });
      }
    }
  }

  /** Holders of one slot alone have their value there already; anything else needs a slot of its own. */
  #slotFor(members: readonly number[]): number {
    const [first] = members;
    const slot = this.#holders.get(first)?.slot ?? -1;
    const isHome = slot >= 0 && members.every((member) => this.#holders.get(member)?.slot === slot);
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
  readonly #holders: Holders;

  /** `holders` come from the block before, and are those at this block's end afterwards. */
  constructor(spiller: Spiller, block: MachineBlock, plans: ReadonlyMap<number, Plan>, holders: Holders) {
    this.#holders = holders;
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
    for (const [register] of this.#holders)
      if (this.#plans.get(register)!.reach === Reach.use) this.#holders.delete(register);
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
