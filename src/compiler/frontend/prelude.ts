/**
 * The global declarations a policy is type-checked against instead of TypeScript's own library: only what the compiler
 * needs, so that checking takes milliseconds and a policy that uses more is told so.
 */
export const preludeName = "/emptcp-prelude.d.ts";

export const prelude = `
interface Array<T> { readonly length: number; [index: number]: T; [Symbol.iterator](): Iterator<T>; }
interface ReadonlyArray<T> { readonly length: number; readonly [index: number]: T; [Symbol.iterator](): Iterator<T>; }
interface Boolean {}
interface CallableFunction {}
interface Function {}
interface IArguments {}
interface NewableFunction {}
interface Number {}
interface BigInt {}
interface Object {}
interface RegExp {}
interface String {}
interface Symbol {}
interface SymbolConstructor { readonly iterator: unique symbol; }
declare var Symbol: SymbolConstructor;
declare const undefined: undefined;
interface IteratorYieldResult<T> { readonly done?: false; readonly value: T; }
interface IteratorReturnResult<T> { readonly done: true; readonly value: T; }
type IteratorResult<T, TReturn = any> = IteratorYieldResult<T> | IteratorReturnResult<TReturn>;
interface Iterator<T, TReturn = any, TNext = any> { next(...args: [] | [TNext]): IteratorResult<T, TReturn>; }
interface Iterable<T, TReturn = any, TNext = any> { [Symbol.iterator](): Iterator<T, TReturn, TNext>; }
interface IterableIterator<T, TReturn = any, TNext = any> extends Iterator<T, TReturn, TNext> {
  [Symbol.iterator](): IterableIterator<T, TReturn, TNext>;
}
interface IteratorObject<T, TReturn = unknown, TNext = unknown> extends Iterator<T, TReturn, TNext> {
  [Symbol.iterator](): IteratorObject<T, TReturn, TNext>;
}
type BuiltinIteratorReturn = any;
type Readonly<T> = { readonly [K in keyof T]: T[K] };
type Partial<T> = { [K in keyof T]?: T[K] };
type Record<K extends keyof any, T> = { [P in K]: T };
`;
