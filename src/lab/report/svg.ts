/** Elements of XML as text: enough to draw with, and never a broken document. */

export type Attributes = Readonly<Record<string, string | number | undefined>>;

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Text for XML: what would be markup is spelled out, control characters (which XML has no way to say) are left out. */
export function escapeText(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character]).replace(/(?![\t\n])\p{Cc}/gu, "");
}

/** An element with children that are markup already; attributes that are undefined are left out. */
export function element(name: string, attributes: Attributes, ...children: readonly string[]): string {
  const said = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${escapeText(typeof value === "number" ? shortNumber(value) : value!)}"`)
    .join("");
  return children.length === 0 ? `<${name}${said}/>` : `<${name}${said}>${children.join("")}</${name}>`;
}

/** Hundredths of a pixel are plenty. */
function shortNumber(value: number): string {
  return String(Math.round(value * 100) / 100);
}
