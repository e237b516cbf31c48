// Building and changing the document. What comes from the gateway goes into text nodes and attributes only, never into
// markup; and nothing is written that is there already, for a write costs a layout.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// An element with attributes and children.
export function html(name, attributes = {}, ...children) {
  return dress(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, name), attributes, children);
}

function dress(element, attributes, children) {
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  element.append(...children);
  return element;
}

// Sets an element's text, if it is another one.
export function put(element, text) {
  const node = element.firstChild;
  if (!node) element.append(text);
  else if (node.data !== text) node.data = text;
}

// Sets an attribute, if it has another value; `null` takes it away.
export function set(element, name, value) {
  const seen = (element.seen ??= new Map());
  if (seen.get(name) === value) return;
  seen.set(name, value);
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

// Figures and their unit apart, so that both keep their place while the figures change.
export function quantity(parent) {
  const figures = html("b");
  const unit = html("span", { class: "unit" });
  parent.replaceChildren(figures, " ", unit);
  return ([number, name]) => {
    put(figures, number);
    put(unit, name);
  };
}

// A bar for a share of a limit, coloured as it gets full.
export function bar(element) {
  const inner = element.firstElementChild;
  return (share) => {
    const width = `${(share * 100).toFixed(1)}%`;
    if (inner.style.width !== width) inner.style.width = width;
    set(element, "data-level", level(share));
  };
}

export function level(share) {
  return share >= 0.9 ? "critical" : share >= 0.5 ? "warning" : "fine";
}
