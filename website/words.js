// The words that decided. `words` is what the API gives: [{text, start, end, weight}], the offsets in
// Unicode code points of the review, which is not how JavaScript counts.

const STEPS = 3;
const SHOWN = 6;

function strength(word, heaviest) {
  return Math.max(1, Math.ceil((STEPS * Math.abs(word.weight)) / heaviest));
}

// Fills `sheet`, which lies behind the review, with the same text and a mark under each word.
export function paint(sheet, review, words) {
  const points = Array.from(review);
  const heaviest = Math.max(...words.map(({ weight }) => Math.abs(weight)));
  const parts = [];
  let done = 0;
  for (const word of words) {
    const mark = document.createElement("mark");
    mark.textContent = points.slice(word.start, word.end).join("");
    mark.dataset.label = word.weight > 0 ? "positive" : "negative";
    mark.dataset.strength = strength(word, heaviest);
    parts.push(points.slice(done, word.start).join(""), mark);
    done = word.end;
  }
  // a last line break has no height of its own, unlike in the review's box
  parts.push(points.slice(done).join(""), "\u200b");
  sheet.replaceChildren(...parts);
}

// The heaviest words on one side, each once, heaviest first.
export function decisive(words, label) {
  const sign = label === "positive" ? 1 : -1;
  const weights = new Map();
  for (const { text, weight } of words) {
    const word = text.toLowerCase();
    if (sign * weight > 0) weights.set(word, (weights.get(word) ?? 0) + sign * weight);
  }
  return [...weights].sort(([, one], [, other]) => other - one).slice(0, SHOWN).map(([word]) => word);
}
