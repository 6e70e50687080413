declare const kind: unique symbol;

/** A number that is not interchangeable with other numbers: an id, not a quantity. */
export type Brand<Name extends string> = number & { readonly [kind]: Name };
