// The markdown that models write, as elements. Their text is hostile until proven otherwise: it only ever becomes text
// nodes, links stay text, and every pattern takes time linear in the text.

import { button, copy, element } from "./element.js";

const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\*([^*\s\n][^*\n]*)\*/g;
const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,6})[.)])\s+(.*)$/;
const RULE = /^ {0,3}(?:-{3,}|\*{3,}|_{3,})\s*$/;

/** Shows `text` in `container`. Blocks that are there already stay: a growing text redraws only its end. */
export function showMarkdown(container, text) {
  const blocks = parse(text);
  const before = container.blocks ?? [];
  let same = 0;
  while (same < blocks.length && same < before.length && blocks[same].source === before[same].source) same += 1;
  while (container.childNodes.length > same) container.lastChild.remove();
  container.append(...blocks.slice(same).map(draw));
  container.blocks = blocks;
}

/** The blocks of a text, each with `kind` and its `source` lines. */
export function parse(text) {
  const lines = text.split("\n");
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    const start = at;
    const line = lines[at];
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    let block;
    if (!line.trim()) {
      at += 1;
      continue;
    }
    if (fence) {
      at += 1;
      while (at < lines.length && !lines[at].trimStart().startsWith(fence[1])) at += 1;
      block = { kind: "code", language: fence[2], text: lines.slice(start + 1, at).join("\n") };
      at += 1;
    } else if (heading) {
      at += 1;
      block = { kind: "heading", level: heading[1].length, text: heading[2] };
    } else if (RULE.test(line)) {
      at += 1;
      block = { kind: "rule" };
    } else if (ITEM.test(line)) {
      const items = [];
      while (at < lines.length && lines[at].trim()) {
        const item = ITEM.exec(lines[at]);
        if (item) items.push({ indent: item[1].length, number: item[2], text: item[3] });
        else if (/^\s/.test(lines[at])) items.at(-1).text += `\n${lines[at].trim()}`;
        else break;
        at += 1;
        // A list goes on after a blank line if another item follows.
        if (at + 1 < lines.length && !lines[at].trim() && ITEM.test(lines[at + 1])) at += 1;
      }
      block = { kind: "list", items };
    } else if (line.startsWith(">")) {
      while (at < lines.length && lines[at].startsWith(">")) at += 1;
      block = { kind: "quote", text: lines.slice(start, at).map((one) => one.replace(/^> ?/, "")).join("\n") };
    } else {
      at += 1;
      while (at < lines.length && lines[at].trim() && !opens(lines[at])) at += 1;
      block = { kind: "paragraph", text: lines.slice(start, at).join("\n") };
    }
    blocks.push({ ...block, source: lines.slice(start, at).join("\n") });
  }
  return blocks;
}

const opens = (line) => FENCE.test(line) || HEADING.test(line) || ITEM.test(line);

function draw(block) {
  switch (block.kind) {
    case "code":
      return drawCode(block);
    case "heading":
      // The page's own headings end at level 3.
      return element(`h${Math.min(6, block.level + 3)}`, {}, ...inline(block.text));
    case "rule":
      return element("hr");
    case "list":
      return drawList(block.items, 0, block.items.length);
    case "quote":
      return element("blockquote", {}, ...inline(block.text));
    default:
      return element("p", {}, ...inline(block.text));
  }
}

function drawCode(block) {
  const code = element("code", {}, block.text);
  const copying = button("Copy", () => copy(block.text, copying, code));
  const head = element("figcaption", {}, element("span", {}, block.language || "text"), copying);
  return element("figure", { class: "code" }, head, element("pre", { tabindex: "0" }, code));
}

/** Items `from` to `to`; deeper ones become lists inside of the item before. */
function drawList(items, from, to) {
  const { indent, number } = items[from];
  const list = element(number ? "ol" : "ul", number && number !== "1" ? { start: number } : {});
  let at = from;
  while (at < to) {
    let end = at + 1;
    while (end < to && items[end].indent > indent + 1) end += 1;
    const item = element("li", {}, ...inline(items[at].text));
    if (end > at + 1) item.append(drawList(items, at + 1, end));
    list.append(item);
    at = end;
  }
  return list;
}

function inline(text) {
  const nodes = [];
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    nodes.push(text.slice(at, found.index));
    const [all, code, bold, italic] = found;
    if (code !== undefined) nodes.push(element("code", {}, code));
    else if (bold !== undefined) nodes.push(element("strong", {}, bold));
    else nodes.push(element("em", {}, italic));
    at = found.index + all.length;
  }
  nodes.push(text.slice(at));
  return nodes.filter((node) => node !== "");
}
