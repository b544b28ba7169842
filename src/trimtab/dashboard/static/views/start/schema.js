// From the JSON schema of recipes to the fields of a form. Nothing here knows a key by name but the lists at the top.

/**
 * @typedef {{key: string, section: string, title: string, help: string, preset: any, nullable: boolean, auto: boolean,
 *   type: "boolean"|"number"|"integer"|"text"|"choice"|"list"|"map"|"plugin", choices: string[], least: number|null,
 *   most: number|null, above: number|null, below: number|null, items: object|null, basic: boolean, plugin: string|null,
 *   required: boolean}} Field
 * preset: the value where none is given; basic: has a flag of its own; above, below: bounds that are not reached; plugin: whose option it is
 * @typedef {{name: string, help: string, fields: Field[]}} Section
 */

/** What most runs have an opinion on, in the order in which the page asks for it. */
export const COMMON = [
  "model.name", "strategy", "optimizer.learning_rate", "training.num_epochs", "training.batch_size", "optimizer.name",
  "schedule.name", "regularization.label_smoothing", "regularization.early_stopping_patience", "evaluation.metric",
  "evaluation.target", "seed",
];
/** Keys that the page asks for elsewhere, or that are the server's business. */
const ELSEWHERE = new Set(["output", "data.path"]);
const LOOSE = "general";

/** @param {object} schema as `trimtab recipe --json` prints it @returns {Section[]} in the order of the recipe */
export function sections(schema) {
  const loose = { name: LOOSE, help: "", fields: [] };
  const found = [];
  for (const [name, property] of Object.entries(schema.properties)) {
    const section = definition(schema, property);
    if (section) {
      const fields = Object.entries(section.properties).map(([key, value]) => fieldOf(`${name}.${key}`, name, value));
      found.push({ name, help: section.description ?? "", fields: fields.filter(({ key }) => !ELSEWHERE.has(key)) });
    } else if (isPlugin(property)) {
      found.push({ name, help: property.description ?? "", fields: pluginFields(name, property) });
    } else if (!ELSEWHERE.has(name)) {
      loose.fields.push(fieldOf(name, LOOSE, property));
    }
  }
  return loose.fields.length ? [...found, loose] : found;
}

function definition(schema, property) {
  const name = property.$ref?.split("/").at(-1);
  return name ? schema.$defs[name] : null;
}

/** A plugin is named by a word, or by an object with that name and the plugin's options. */
function isPlugin(property) {
  return (property.anyOf ?? []).some((one) => one.properties?.name?.const !== undefined);
}

function pluginFields(name, property) {
  const named = property.anyOf.find((one) => one.enum);
  const choice = { ...blank(name, name, property), type: "plugin", choices: named.enum, basic: true };
  const options = property.anyOf.filter((one) => one.properties?.name).flatMap((one) => {
    const plugin = one.properties.name.const;
    return Object.entries(one.properties).filter(([key]) => key !== "name").map(([key, value]) => ({
      ...fieldOf(`${name}.${key}`, name, value), plugin, required: (one.required ?? []).includes(key),
    }));
  });
  return [choice, ...options];
}

function blank(key, section, property) {
  return {
    key, section, title: property.title ?? key.split(".").at(-1), help: property.description ?? "", preset: property.default ?? null,
    nullable: false, auto: false, type: "text", choices: [], least: null, most: null, above: null, below: null, items: null,
    basic: property.flag !== undefined, plugin: null, required: false,
  };
}

/** @returns {Field} */
function fieldOf(key, section, property) {
  const field = blank(key, section, property);
  for (const part of property.anyOf ?? [property]) {
    if (part.type === "null") field.nullable = true;
    else if (part.const === "auto") field.auto = true;
    else if (part.enum) Object.assign(field, { type: field.type === "map" ? "map" : "choice", choices: part.enum });
    else if (part.type === "array") Object.assign(field, { type: "list", items: part.items ?? {} });
    else if (part.type === "object") Object.assign(field, { type: "map", items: part.additionalProperties ?? {} });
    else Object.assign(field, { type: plainType(part.type), ...bounds(part) });
  }
  if (field.preset === null) field.nullable = true;
  return field;
}

function plainType(type) {
  return type === "boolean" || type === "number" || type === "integer" ? type : "text";
}

function bounds(part) {
  return {
    least: part.minimum ?? null, most: part.maximum ?? null,
    above: part.exclusiveMinimum ?? null, below: part.exclusiveMaximum ?? null,
  };
}

/** Fields that hold for the plugins chosen. @param {Section[]} all @param {(field: Field) => any} valueOf */
export function active(all, valueOf) {
  return all.map((section) => {
    const chosen = section.fields.find(({ type }) => type === "plugin");
    const name = chosen ? valueOf(chosen) : null;
    return { ...section, fields: section.fields.filter(({ plugin }) => plugin === null || plugin === name) };
  });
}

/** Keys (and their titles, help and names in the page's language) that hold every word searched for. */
export function matches(field, words, title) {
  const text = `${field.key} ${field.title} ${title} ${field.help}`.toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}
