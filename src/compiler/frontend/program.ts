/**
 * The policy files of a chain as one TypeScript program: finds a policy's `run` function, type-checks the files, and says
 * where in the source a node stands. The only module, with the lowering beside it, that knows the TypeScript compiler.
 */
import { posix } from "node:path";
import ts from "#typescript";
import type { SourcePosition } from "../../bpf/instruction.ts";
import type { Policy } from "../../policy/policy.ts";
import { CompileError, diagnose, type Diagnostic } from "./diagnostics.ts";
import { prelude, preludeName } from "./prelude.ts";

/** How the compiler gets at files; it reads none by itself. */
export interface SourceReader {
  /** The text of a file, or undefined when there is none. */
  read(path: string): string | undefined;
  /** The file that declares the policy language, for `import … from "emptcp/policy"`. */
  readonly policyLibrary: string;
}

export type RunFunction = ts.MethodDeclaration | ts.FunctionExpression | ts.ArrowFunction | ts.FunctionDeclaration;

const options: ts.CompilerOptions = {
  noLib: true,
  strict: true,
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  allowImportingTsExtensions: true,
  noEmit: true,
  types: [],
};

/** Files of other chains that a program goes on knowing. */
const maximumKeptFiles = 64;

/** Parsed files, kept between compilations: most chains share the same few. */
const parsed = new Map<string, { text: string; file: ts.SourceFile }>();

function parse(path: string, text: string): ts.SourceFile {
  const known = parsed.get(path);
  if (known?.text === text) return known.file;
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  parsed.set(path, { text, file });
  return file;
}

const isPolicyModule = (specifier: string): boolean => specifier === "emptcp/policy";

export class PolicyProgram {
  readonly checker: ts.TypeChecker;
  readonly #program: ts.Program;
  readonly #library: string;
  readonly #roots: readonly string[];
  readonly #texts = new Map<string, string | undefined>([[preludeName, prelude]]);
  readonly #errors = new Map<ts.SourceFile, readonly ts.Diagnostic[]>();
  /** Functions found before: a compilation asks for each many times. */
  readonly #runs = new Map<string, RunFunction>();

  /** `files` are the paths of the files that define the chain's policies. */
  constructor(files: readonly string[], reader: SourceReader, previous?: PolicyProgram) {
    this.#library = reader.policyLibrary;
    this.#roots = files;
    const texts = this.#texts;
    const read = (path: string): string | undefined => {
      if (!texts.has(path)) texts.set(path, reader.read(path));
      return texts.get(path);
    };
    const resolve = (specifier: string, from: string): string | undefined => {
      if (isPolicyModule(specifier)) return reader.policyLibrary;
      if (!specifier.startsWith(".")) return undefined;
      const path = posix.join(posix.dirname(from), specifier);
      const candidates = [path, path.replace(/\.js$/, ".ts"), `${path}.ts`, `${path}/index.ts`];
      return candidates.find((candidate) => candidate.endsWith(".ts") && read(candidate) !== undefined);
    };
    const host: ts.CompilerHost = {
      getSourceFile: (path) => {
        const text = read(path);
        return text === undefined ? undefined : parse(path, text);
      },
      getDefaultLibFileName: () => preludeName,
      writeFile: () => {},
      getCurrentDirectory: () => "/",
      getCanonicalFileName: (path) => path,
      useCaseSensitiveFileNames: () => true,
      getNewLine: () => "\n",
      fileExists: (path) => read(path) !== undefined,
      readFile: read,
      directoryExists: () => true,
      getDirectories: () => [],
      resolveModuleNameLiterals: (literals, from) =>
        literals.map(({ text }) => {
          const path = resolve(text, from);
          return {
            resolvedModule: path
              ? { resolvedFileName: path, extension: ".ts", isExternalLibraryImport: false }
              : undefined,
          };
        }),
    };
    this.#program = ts.createProgram({
      rootNames: [preludeName, ...files],
      options,
      host,
      ...(previous && { oldProgram: previous.#program }),
    });
    this.checker = this.#program.getTypeChecker();
  }

  /**
   * A program for `files`: `previous` where nothing that it read has changed, or a new one. It keeps the files of the one
   * before, so that turning from one chain to another and back costs nothing.
   */
  static reuse(files: readonly string[], reader: SourceReader, previous?: PolicyProgram): PolicyProgram {
    if (!previous || previous.#library !== reader.policyLibrary) return new PolicyProgram(files, reader);
    const current = new Map<string, string | undefined>();
    const isCurrent = (path: string, text: string | undefined): boolean => {
      if (path === preludeName) return true;
      if (!current.has(path)) current.set(path, reader.read(path));
      return current.get(path) === text;
    };
    const unchanged = [...previous.#texts].every(([path, text]) => isCurrent(path, text));
    if (unchanged && files.every((path) => previous.#roots.includes(path))) return previous;
    const kept = unchanged ? previous.#roots.slice(-maximumKeptFiles) : [];
    return new PolicyProgram([...new Set([...kept, ...files])], reader, previous);
  }

  /** Whether a declaration belongs to the policy language itself. */
  isLanguage(file: ts.SourceFile): boolean {
    return posix.dirname(file.fileName) === posix.dirname(this.#library);
  }

  /** Finds `selector({ name: "…", run … })`, or actor, or socketActor, as `kind` asks for; `name` may be another function. */
  findRun(path: string, kind: Policy["kind"], policy: string, name = "run"): RunFunction {
    const key = [path, kind, policy, name].join("\0");
    const run = this.#runs.get(key) ?? this.#searchRun(path, kind, policy, name);
    this.#runs.set(key, run);
    return run;
  }

  #searchRun(path: string, kind: Policy["kind"], policy: string, name: string): RunFunction {
    const file = this.#program.getSourceFile(path);
    if (!file) throw new CompileError([diagnose("noPolicy", { file: path, line: 1, column: 1, text: "" }, policy)]);
    let found: RunFunction | undefined;
    const visit = (node: ts.Node): void => {
      if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) {
        const [definition] = node.arguments;
        const isMeant = definition && ts.isObjectLiteralExpression(definition) && definedName(definition) === policy;
        if (isMeant && this.#defines(node.expression, kind))
          found ??= runOf(definition, name) ?? this.#named(definition, name);
      }
      ts.forEachChild(node, visit);
    };
    visit(file);
    if (!found) throw new CompileError([diagnose("noPolicy", this.position(file), policy)]);
    return found;
  }

  /** The function, declared at the top of a module, that a definition names. */
  #named(definition: ts.ObjectLiteralExpression, name: string): RunFunction | undefined {
    const element = property(definition, name);
    const value = element && ts.isPropertyAssignment(element) ? element.initializer : element?.name;
    const declaration = value && ts.isIdentifier(value) ? this.symbol(value)?.valueDeclaration : undefined;
    return declaration && ts.isFunctionDeclaration(declaration) && declaration.body ? declaration : undefined;
  }

  /** Whether a call of `name` can define a policy of this kind; functions of the user's own can. */
  #defines(name: ts.Identifier, kind: Policy["kind"]): boolean {
    const defined = {
      selector: "selector",
      actor: "actor",
      socketActor: "actor",
      congestionControl: "actor",
      scheduler: "actor",
    }[this.languageName(name) ?? ""];
    return defined === undefined || defined === kind;
  }

  /** What `node` names, behind imports. */
  symbol(node: ts.Node): ts.Symbol | undefined {
    const symbol = ts.isShorthandPropertyAssignment(node.parent)
      ? this.checker.getShorthandAssignmentValueSymbol(node.parent)
      : this.checker.getSymbolAtLocation(node);
    return symbol && symbol.flags & ts.SymbolFlags.Alias ? this.checker.getAliasedSymbol(symbol) : symbol;
  }

  /** The name under which the policy language exports what `node` refers to, if it does. */
  languageName(node: ts.Identifier): string | undefined {
    const symbol = this.symbol(node);
    const file = symbol?.declarations?.[0]?.getSourceFile();
    return symbol && file && this.isLanguage(file) ? symbol.name : undefined;
  }

  /** Type-checks the file of `node`; errors inside `node` are thrown, others concern code that is not compiled. */
  checkTypes(node: ts.Node): void {
    const file = node.getSourceFile();
    const syntax = this.#program.getSyntacticDiagnostics(file);
    let errors = this.#errors.get(file);
    if (!errors) this.#errors.set(file, (errors = [...syntax, ...this.#program.getSemanticDiagnostics(file)]));
    const within = errors.filter(
      (error) =>
        syntax.includes(error as ts.DiagnosticWithLocation) ||
        (error.start! >= node.getStart() && error.start! < node.getEnd()),
    );
    if (within.length > 0) throw new CompileError(within.slice(0, 10).map((error) => this.#translate(file, error)));
  }

  /** Checks a function that is to be compiled. */
  checkFunction(run: RunFunction): void {
    this.checkTypes(run);
    const refuse = (what: string): never => {
      throw new CompileError([diagnose("notInSubset", this.position(run), what)]);
    };
    if (run.asteriskToken) refuse("A generator");
    if (run.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.AsyncKeyword)) refuse("async");
    if (run.parameters.some(({ dotDotDotToken }) => dotDotDotToken)) refuse("A rest parameter");
  }

  #translate(file: ts.SourceFile, error: ts.Diagnostic): Diagnostic {
    const position = positionAt(file, error.start ?? 0);
    // What TypeScript suggests about libraries does not apply here.
    const text = ts
      .flattenDiagnosticMessageText(error.messageText, " ")
      .replace(/ (Do you need to change your target library|Make sure you have a declaration).*$/, "");
    // 2532, 18047-18049: something is possibly null or undefined.
    if ([2532, 18047, 18048, 18049].includes(error.code)) {
      const name = file.text.slice(error.start ?? 0, (error.start ?? 0) + (error.length ?? 0));
      return diagnose("maybeUndefined", position, name);
    }
    return diagnose("typeScript", position, text);
  }

  position(node: ts.Node): SourcePosition {
    return positionAt(node.getSourceFile(), node.getStart());
  }
}

function positionAt(file: ts.SourceFile, offset: number): SourcePosition {
  const { line, character } = file.getLineAndCharacterOfPosition(offset);
  const starts = file.getLineStarts();
  const text = file.text.slice(starts[line], starts[line + 1] ?? file.text.length).replace(/\r?\n$/, "");
  return { file: file.fileName, line: line + 1, column: character + 1, text };
}

function property(literal: ts.ObjectLiteralExpression, name: string): ts.ObjectLiteralElementLike | undefined {
  return literal.properties.find(
    (element) => element.name && ts.isIdentifier(element.name) && element.name.text === name,
  );
}

function definedName(literal: ts.ObjectLiteralExpression): string | undefined {
  const element = property(literal, "name");
  return element && ts.isPropertyAssignment(element) && ts.isStringLiteral(element.initializer)
    ? element.initializer.text
    : undefined;
}

function runOf(literal: ts.ObjectLiteralExpression, name: string): RunFunction | undefined {
  const element = property(literal, name);
  if (!element) return undefined;
  if (ts.isMethodDeclaration(element)) return element;
  if (ts.isPropertyAssignment(element)) {
    const value = element.initializer;
    if (ts.isFunctionExpression(value) || ts.isArrowFunction(value)) return value;
  }
  return undefined;
}
