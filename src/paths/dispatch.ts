/** Calls handlers: in order, those whose filter lets the connection through; whatever one of them throws. */
import { handlerNames, type Controller, type HandlerName, type Handlers } from "./controller.ts";
import type { Connection } from "./types.ts";

/** Something that a controller threw, or that a promise of its was rejected with. */
export type ControllerFailure = {
  readonly controller: string;
  /** Which of its functions: the event, `filter`, or `timer` for what `after` and `every` call. */
  readonly handler: HandlerName | "filter" | "timer";
  readonly error: unknown;
};

export type FailureReporter = (failure: ControllerFailure) => void;

/** For stderr: what failed, and the stack. */
export function describeFailure({ controller, handler, error }: ControllerFailure): string {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `Controller ${controller} failed in ${handler}: ${stack}`;
}

type Arguments<N extends HandlerName> = Parameters<NonNullable<Handlers[N]>>;

export class Dispatcher {
  #byEvent = new Map<HandlerName, readonly Controller[]>();
  #admitted = new WeakMap<Connection, Map<Controller, boolean>>();
  readonly #report: FailureReporter;
  #current = "?";

  constructor(report: FailureReporter) {
    this.#report = report;
  }

  /** Who hears from now on. */
  use(controllers: readonly Controller[]): void {
    const inOrder = [...controllers].sort((a, b) => (a.priority ?? 0) - (b.priority ?? 0));
    this.#byEvent = new Map(handlerNames.map((name) => [name, inOrder.filter((one) => one[name] !== undefined)]));
    this.#admitted = new WeakMap();
  }

  listens(name: HandlerName): boolean {
    return (this.#byEvent.get(name)?.length ?? 0) > 0;
  }

  /** @param connection that the event is about; absent for those about the host */
  tell<N extends HandlerName>(name: N, connection: Connection | undefined, ...values: Arguments<N>): void {
    for (const one of this.#byEvent.get(name) ?? []) {
      if (connection && one.filter && !this.#admits(one, connection)) continue;
      const answer = this.#call(one.name, name, () =>
        (one[name] as (...values: unknown[]) => unknown).apply(one, values),
      );
      if (answer === "stop") return;
    }
  }

  /** What a timer of the controller that runs now does later. */
  later(work: () => unknown): () => void {
    const controller = this.#current;
    return () => void this.#call(controller, "timer", work);
  }

  #admits(one: Controller, connection: Connection): boolean {
    let answers = this.#admitted.get(connection);
    if (!answers) this.#admitted.set(connection, (answers = new Map()));
    let answer = answers.get(one);
    if (answer === undefined) {
      answer = this.#call(one.name, "filter", () => one.filter!(connection)) === true;
      answers.set(one, answer);
    }
    return answer;
  }

  #call(controller: string, handler: ControllerFailure["handler"], work: () => unknown): unknown {
    const before = this.#current;
    this.#current = controller;
    const fail = (error: unknown) => this.#report({ controller, handler, error });
    try {
      const answer = work();
      if (answer instanceof Promise) answer.catch(fail);
      return answer;
    } catch (error) {
      fail(error);
      return undefined;
    } finally {
      this.#current = before;
    }
  }
}
