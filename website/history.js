// What was written in this visit, newest first: each text once, judged or not.

import { inWords, percentage } from "./words.js";

const LENGTH = 8;
const EXCERPT = 90;

export class History {
  // `box` is hidden while its `list` is empty; `open` is called with the entry that was chosen.
  constructor(box, list, open) {
    this.box = box;
    this.list = list;
    this.open = open;
    this.entries = [];
  }

  has(text) {
    return this.entries.some((entry) => entry.text === text);
  }

  // `entry` is a verdict with the text it is about, or a text alone that was never read.
  add(entry) {
    this.show([entry, ...this.entries.filter(({ text }) => text !== entry.text)].slice(0, LENGTH));
  }

  remove(text) {
    this.show(this.entries.filter((entry) => entry.text !== text));
  }

  show(entries) {
    this.entries = entries;
    this.list.replaceChildren(...entries.map((entry) => this.item(entry)));
    this.box.hidden = entries.length === 0;
  }

  item(entry) {
    const verdict = document.createElement("span");
    verdict.textContent = entry.label
      ? `${inWords(entry.probability)}, ${percentage(entry.probability)}`
      : "Not read yet";
    const letters = Array.from(entry.text);
    const excerpt = document.createElement("q");
    excerpt.dir = "auto";
    excerpt.textContent = letters.length > EXCERPT ? `${letters.slice(0, EXCERPT).join("").trimEnd()} …` : entry.text;
    const button = document.createElement("button");
    button.type = "button";
    if (entry.label) button.dataset.label = entry.label;
    button.append(verdict, " ", excerpt);
    button.addEventListener("click", () => this.open(entry));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }
}
