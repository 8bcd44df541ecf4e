// A verdict in words, and the words that decided. `words` is what the API gives:
// [{text, start, end, weight}], the offsets in Unicode code points of the review, which is not how
// JavaScript counts.

const STEPS = 3;
const SHOWN = 6;
const LEAST_SHARE = 0.2; // of the heaviest word's weight; lighter ones decided nothing

// How sure, in words. `probability` is that of a positive review.
export function inWords(probability) {
  const side = probability >= 0.5 ? "positive" : "negative";
  const sureness = Math.max(probability, 1 - probability);
  if (sureness < 0.6) return `Torn, but leans ${side}`;
  if (sureness < 0.8) return `Leans ${side}`;
  if (sureness < 0.95) return `Mostly ${side}`;
  return `Clearly ${side}`;
}

export function percentage(probability) {
  const sureness = Math.max(probability, 1 - probability);
  return sureness > 0.99 ? "more than 99 %" : `${Math.round(sureness * 100)} %`;
}

// The words that weigh something beside the heaviest, each with its strength from 1 to STEPS.
function weighty(words) {
  const heaviest = Math.max(...words.map(({ weight }) => Math.abs(weight)));
  return words
    .map((word) => ({ ...word, share: Math.abs(word.weight) / heaviest }))
    .filter(({ share }) => share >= LEAST_SHARE);
}

// Fills `sheet`, which lies behind the review, with the same text and a mark under each word.
export function paint(sheet, review, words) {
  const points = Array.from(review);
  const parts = [];
  let done = 0;
  for (const word of weighty(words)) {
    if (word.start < done) continue; // it would stand under a word that is marked already
    const mark = document.createElement("mark");
    mark.textContent = points.slice(word.start, word.end).join("");
    mark.dataset.label = word.weight > 0 ? "positive" : "negative";
    mark.dataset.strength = Math.ceil(STEPS * word.share);
    parts.push(points.slice(done, word.start).join(""), mark);
    done = word.end;
  }
  // a last line break has no height of its own, unlike in the review's box
  parts.push(points.slice(done).join(""), "\u200b");
  sheet.replaceChildren(...parts);
}

// The heaviest words on one side, each once with all its weight, heaviest first.
export function decisive(words, label) {
  const sign = label === "positive" ? 1 : -1;
  const weights = new Map();
  for (const { text, weight } of words) {
    const word = text.toLowerCase();
    weights.set(word, (weights.get(word) ?? 0) + weight);
  }
  const sums = [...weights].map(([text, weight]) => ({ text, weight }));
  return weighty(sums)
    .filter(({ weight }) => sign * weight > 0)
    .sort((one, other) => other.share - one.share)
    .slice(0, SHOWN)
    .map(({ text }) => text);
}
