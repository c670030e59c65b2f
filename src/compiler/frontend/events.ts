/** Events: which ones a policy's source emits, and `emit(event, flow, { … })` as a record in the ring buffer. */
import ts from "#typescript";
import { helpers } from "../../bpf/helpers.ts";
import { integerSizes, type IntegerName } from "../../policy/types.ts";
import { eventHeader, eventsMap, type DeclaredEvent, type EventSlot } from "../layout.ts";
import { int64, pointer, type Value } from "../ir/ir.ts";
import { CompileError, diagnose } from "./diagnostics.ts";
import { lowerExpression } from "./expressions.ts";
import type { Lowering } from "./lowering.ts";
import type { PolicyProgram, RunFunction } from "./program.ts";
import type { LanguageValue } from "./values.ts";
import { FlowView } from "./views/flow.ts";

/** An event with the place that declares it, which is its identity. */
export interface FoundEvent extends DeclaredEvent {
  readonly declaration: ts.VariableDeclaration;
}

/** What a policy needs to emit: its chain's events, its own number in records, and how losses are counted. */
export interface Emitter {
  readonly events: readonly EventSlot[];
  readonly policy: number;
  lost(): void;
}

/**
 * The events that functions emit, those they call included, each once and in the order of the source.
 * @throws {CompileError} for one that is not declared as a constant, or two of one name
 */
export function eventsOf(functions: readonly RunFunction[], program: PolicyProgram): FoundEvent[] {
  const found = new Map<ts.Node, FoundEvent>();
  const visited = new Set<ts.Node>();
  const visitFunction = (declaration: ts.Node | undefined): void => {
    if (!declaration || visited.has(declaration) || program.isLanguage(declaration.getSourceFile())) return;
    visited.add(declaration);
    visit(declaration);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) {
      if (program.languageName(node.expression) === "emit") note(node);
      else visitFunction(program.symbol(node.expression)?.valueDeclaration);
    }
    ts.forEachChild(node, visit);
  };
  const note = (node: ts.CallExpression): void => {
    const event = declaredEvent(node, program);
    const other = [...found.values()].find(({ name }) => name === event.name);
    if (other && other.declaration !== event.declaration)
      throw new CompileError([diagnose("eventTwice", program.position(event.declaration), event.name)]);
    found.set(event.declaration, event);
  };
  for (const run of functions) visitFunction(run);
  return [...found.values()];
}

/** The declaration behind the first argument of an `emit`. */
function declaredEvent(node: ts.CallExpression, program: PolicyProgram): FoundEvent {
  const refuse = (at: ts.Node): never => {
    throw new CompileError([diagnose("eventDeclaration", program.position(at))]);
  };
  const [argument] = node.arguments;
  const declaration = argument && program.symbol(argument)?.valueDeclaration;
  if (!declaration || !ts.isVariableDeclaration(declaration) || !declaration.initializer)
    return refuse(argument ?? node);
  const call = declaration.initializer;
  const isEvent =
    ts.isCallExpression(call) &&
    ts.isIdentifier(call.expression) &&
    program.languageName(call.expression) === "event" &&
    declaration.parent.parent.parent.kind === ts.SyntaxKind.SourceFile;
  if (!isEvent) return refuse(declaration);
  const [name, fields] = call.arguments;
  if (!name || !ts.isStringLiteral(name) || !/^[a-z][a-z0-9_]{0,31}$/.test(name.text)) return refuse(name ?? call);
  if (!fields || !ts.isObjectLiteralExpression(fields)) return refuse(fields ?? call);
  const types = fields.properties.map((property): [string, IntegerName] => {
    if (!ts.isPropertyAssignment(property) || !ts.isIdentifier(property.name)) return refuse(property);
    const type = ts.isIdentifier(property.initializer) ? program.languageName(property.initializer) : undefined;
    return type && type in integerSizes ? [property.name.text, type as IntegerName] : refuse(property.initializer);
  });
  return { name: name.text, fields: Object.fromEntries(types), declaration };
}

/** 1 when the record is on its way, 0 when there was no room for it. */
export function lowerEmit(lowering: Lowering, node: ts.CallExpression): LanguageValue {
  const { builder } = lowering;
  const { name } = declaredEvent(node, lowering.program);
  const { events, policy } = lowering.emitter;
  const number = events.findIndex((event) => event.name === name);
  const slot = events[number];
  const flow = lowerExpression(lowering, node.arguments[1]);
  if (flow.kind !== "view" || !(flow.view instanceof FlowView)) return lowering.fail("eventFlow", node.arguments[1]);
  // Before the record is taken: from then on there is only one way, to its end.
  const values = fieldValues(lowering, slot, node.arguments[2]);
  lowering.at(node);
  const time = builder.call(helpers.ktimeGetNs.number, [], int64, "none");
  const args = [builder.map(eventsMap), builder.const(slot.size, 64), builder.const(0, 64)];
  const record = builder.call(helpers.ringbufReserve.number, args, pointer("map", true), "memory");
  const [room, full, exit] = builder.blocks(3);
  const done = lowering.variable("emitted", "boolean");
  builder.branch("ne", record, builder.const(0, 64), room, full);

  lowering.enter(room);
  // All of it: what is not written would be what the memory held before.
  for (let at = 0; at < slot.size; at += 8) builder.store(8, record, at, builder.const(0, 64));
  builder.store(2, record, eventHeader.event, builder.const(number));
  builder.store(2, record, eventHeader.policy, builder.const(policy));
  builder.store(4, record, eventHeader.size, builder.const(slot.size));
  builder.store(8, record, eventHeader.timeNs, time);
  flow.view.key(lowering, record, eventHeader.flow);
  slot.fields.forEach(({ type, offset }, i) => builder.store(integerSizes[type], record, offset, values[i]));
  builder.call(helpers.ringbufSubmit.number, [record, builder.const(0, 64)], int64, "memory");
  lowering.effects?.acted();
  builder.write(done, builder.const(1));
  builder.jump(exit);

  lowering.enter(full);
  lowering.emitter.lost();
  builder.write(done, builder.const(0));
  builder.jump(exit);
  lowering.enter(exit);
  return lowering.readVariable(done, "boolean");
}

function fieldValues(lowering: Lowering, slot: EventSlot, node: ts.Expression): Value[] {
  if (!ts.isObjectLiteralExpression(node)) return lowering.fail("eventValues", node);
  const given = new Map<string, LanguageValue>();
  for (const property of node.properties) {
    const isPlain = ts.isPropertyAssignment(property) || ts.isShorthandPropertyAssignment(property);
    if (!isPlain || !ts.isIdentifier(property.name)) return lowering.fail("eventValues", property);
    const value = ts.isPropertyAssignment(property) ? property.initializer : property.name;
    given.set(property.name.text, lowerExpression(lowering, value));
  }
  return slot.fields.map(({ name, type }) => {
    const value = given.get(name);
    if (!value) return lowering.fail("eventValues", node);
    return value.kind === "boolean" || value.kind === "static"
      ? lowering.convert(value, type, node)
      : lowering.coerce(value, type, node);
  });
}
