/** `switch` on integers and choices. Cases do not fall through, except empty ones into the next. */
import ts from "#typescript";
import type { Block } from "../ir/ir.ts";
import { lowerExpression } from "./expressions.ts";
import type { Lowering } from "./lowering.ts";
import { lowerStatement } from "./statements.ts";
import type { LanguageValue } from "./values.ts";

export function lowerSwitch(lowering: Lowering, node: ts.SwitchStatement): void {
  const { builder } = lowering;
  const subject = lowerExpression(lowering, node.expression);
  const exit = builder.block();
  const clauses = node.caseBlock.clauses.map((clause) => ({ clause, block: builder.block() }));
  const fallback = clauses.find(({ clause }) => ts.isDefaultClause(clause))?.block ?? exit;
  dispatch(lowering, subject, clauses, fallback);
  lowering.loops.push({ breakTo: exit });
  clauses.forEach(({ clause, block }, i) => {
    if (!lowering.enter(block)) return;
    for (const statement of clause.statements) if (builder.reachable) lowerStatement(lowering, statement);
    if (!builder.reachable) return;
    const next = clauses[i + 1];
    if (next && clause.statements.length > 0) lowering.fail("fallthroughCase", clause);
    builder.jump(next?.block ?? exit);
  });
  lowering.loops.pop();
  if (!lowering.enter(exit)) builder.abandon();
}

function dispatch(
  lowering: Lowering,
  subject: LanguageValue,
  clauses: readonly { clause: ts.CaseOrDefaultClause; block: Block }[],
  fallback: Block,
): void {
  const { builder } = lowering;
  for (const { clause, block } of clauses) {
    if (!ts.isCaseClause(clause)) continue;
    const label = lowerExpression(lowering, clause.expression);
    if (subject.kind === "string" || (subject.kind === "literal" && label.kind === "literal")) {
      const known = (label.kind === "string" || label.kind === "literal") && label.value === subject.value;
      if (!known) continue;
      builder.jump(block);
      return;
    }
    const next = builder.block();
    if (subject.kind === "choice" && label.kind === "string")
      builder.branch("eq", subject.value, builder.const(subject.words.indexOf(label.value)), block, next);
    else {
      if (label.kind !== "literal") lowering.fail("notConstant", clause.expression, "A case");
      const { left, right } = lowering.unify(subject, label, clause.expression);
      builder.branch("eq", left, right, block, next);
    }
    lowering.enter(next);
  }
  builder.jump(fallback);
}
