// Names of attributes come from data and addresses: "constructor" and "__proto__" are names like any other.

/** A member of an object's own, or undefined: not what every object inherits. */
export const own = (object, name) => (object && Object.hasOwn(object, name) ? object[name] : undefined);
