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
interface IteratorResult<T> { readonly done?: boolean; readonly value: T; }
interface Iterator<T> { next(): IteratorResult<T>; }
interface Iterable<T> { [Symbol.iterator](): Iterator<T>; }
interface IterableIterator<T> extends Iterator<T> { [Symbol.iterator](): IterableIterator<T>; }
type Readonly<T> = { readonly [K in keyof T]: T[K] };
type Partial<T> = { [K in keyof T]?: T[K] };
type Record<K extends keyof any, T> = { [P in K]: T };
`;
