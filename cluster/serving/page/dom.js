// Elements without HTML strings: data becomes text nodes and attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `props` are attributes, except `class`, `on` (event listeners) and `vars` (CSS custom properties). */
export function el(tag, props = {}, ...children) {
  return build(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

export const byId = (id) => document.getElementById(id);

/** Replaces what is inside `parent`. */
export function fill(parent, ...children) {
  parent.replaceChildren(...flat(children));
}

function build(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    else if (name === "vars") for (const [key, v] of Object.entries(value)) node.style.setProperty(`--${key}`, v);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...flat(children));
  return node;
}

const flat = (children) => children.flat(3).filter((child) => child !== null && child !== undefined && child !== false);
