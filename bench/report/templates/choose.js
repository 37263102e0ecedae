/* The chooser. The rules come with the page's data and were made by bench/choosing: here numbers are only compared, exactly as
   bench/choosing/answers.py does (tests/unit/test_choosing_script.py holds both against each other). */
const chooser = (() => {
  const compared = {
    "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "<": (a, b) => a < b, ">": (a, b) => a > b, "=": (a, b) => a === b,
    "unasked": () => false,
  };
  const holds = ([need, op, value, must], asked) => need in asked ? compared[op](asked[need], value) : !must;
  const matches = (asked) => (rule) => rule.when.every((one) => holds(one, asked));
  const said = (rules) => {
    const once = new Map(rules.map((rule) => [JSON.stringify([rule.words, rule.source ?? ""]), [rule.words, rule.source ?? ""]]));
    return [...once.values()];
  };
  const nearest = (data, one, asked) => {
    const short = [...one.shows].reverse().map((rule) => {
      const needs = new Set(rule.when.filter((c) => !holds(c, asked)).map(([need]) => data.short[need]));
      return [rule.words, [...needs]];
    });
    short.sort((a, b) => a[1].length - b[1].length);
    const told = short.map(([words, needs]) => `${words}; does not show: ${needs.join(", ")}`);
    const all = [...told.slice(0, data.nearest), ...one.void.slice(0, data.nearest)];
    return (all.length ? all : ["nothing of it was measured"]).map((words) => [words, ""]);
  };
  /* ["met" | "too close" | "not met" | "never measured", [[words, source], ...]] of one variant. */
  const answer = (data, one, asked) => {
    const match = matches(asked);
    const excluded = one.excludes.filter(match);
    if (excluded.length) return ["not met", said(excluded)];
    for (const [kind, rules] of [["met", one.shows], ["too close", one.nearly]]) {
      const found = rules.find(match);
      if (found) return [kind, said([found, ...(found.notes ?? []).filter(match), ...one.promises.filter(match)])];
    }
    const limits = one.limits.filter(match);
    return limits.length ? ["not met", said(limits.slice(-data.nearest))] : ["never measured", nearest(data, one, asked)];
  };
  return { answer };
})();

(() => {
  if (typeof document === "undefined" || !document.getElementById("choose-data")) return;
  const at = (name) => document.getElementById(`choose-${name}`);
  const data = JSON.parse(at("data").textContent);
  const form = at("form");
  const made = (name, text, ...children) => {
    const element = document.createElement(name);
    if (text) element.textContent = text;
    element.append(...children);
    return element;
  };
  const asked = () => {
    const found = {};
    for (const field of form.elements) {
      if (field.type === "number") {
        const value = field.valueAsNumber;
        const scale = Number(field.dataset.scale);
        if (value > 0) found[field.dataset.need] = scale > 1 ? Math.round(value * scale) : value;
      } else if (field.tagName === "SELECT" || (field.type === "checkbox" && field.checked)) {
        Object.assign(found, JSON.parse(field.value));
      }
    }
    return found;
  };
  const line = ([words, source]) => {
    const item = made("li", words);
    if (source) {
      const link = made("a", "documentation");
      link.href = source;
      link.rel = "noopener noreferrer";
      item.append(" (", link, ")");
    }
    return item;
  };
  const show = () => {
    const needs = asked();
    const judged = data.candidates.map((one) => [one, ...chooser.answer(data, one, needs)]);
    const of = (kind) => judged.filter(([, found]) => found === kind);
    const groups = data.answers.filter((kind) => of(kind).length).map((kind) => {
      const items = of(kind).map(([one, , words]) => made("li", "", made("strong", one.name), made("ul", "", ...words.map(line))));
      const group = made("div", "", made("h3", `${data.headings[kind]} (${items.length})`), made("ul", "", ...items));
      group.className = kind.replaceAll(" ", "-");
      return group;
    });
    at("answers").replaceChildren(...groups);
    const any = Object.keys(needs).length > 0;
    at("told").textContent = any ? data.answers.map((kind) => `${kind}: ${of(kind).length}`).join(" · ") : "Nothing is asked for yet: here is all there is.";
    at("answers").hidden = !any;
    at("table").hidden = any;
  };
  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = at("told").hidden = false;
  show();
})();
