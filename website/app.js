// The page's behaviour. Whatever a person or the API says is put on the page as text, never as HTML.

import { EXAMPLES } from "./examples.js";
import { decisive, paint } from "./words.js";

const SHORTEST_RETRY_S = 1;
const LONGEST_RETRY_S = 15; // whoever is here wants to know now
const HISTORY_LENGTH = 8;
const TOO_LONG = "That is too long. Please shorten it a little.";
const MESSAGES = {
  offline: ["You seem to be offline", "The review is still here. Try again once you are connected."],
  unreachable: ["The model could not be reached", "Something between here and there is not answering. Please try again."],
  timeout: ["That took too long", "The model did not answer in time. It may be awake by now: please try again."],
  busy: ["Too many readers at once", "Please try again in a moment."],
  waking: ["The model is not ready", "It may be starting, or nothing is in service yet. Please try again in a moment."],
  failed: ["Something went wrong", "That was not your review's fault. Please try again."],
};

// What is wrong with the text itself is said beside it.
const PROBLEMS = {
  wordless: "There are no words to judge in this.",
  long: TOO_LONG,
  unreadable: "This text could not be read. Please take out what is unusual in it.",
};

const $ = (id) => document.getElementById(id);
const page = {
  form: $("form"), review: $("review"), counter: $("counter"), problem: $("problem"),
  clear: $("clear"), submit: $("submit"), submitText: $("submit-text"), examples: $("examples"),
  verdict: $("verdict"), phrase: $("phrase"), detail: $("detail"), scale: $("scale"),
  version: $("version"), again: $("again"), history: $("history"), earlier: $("earlier"),
  feedback: $("feedback"), feedbackQuestion: $("feedback-question"), right: $("right"),
  wrong: $("wrong"), feedbackAnswer: $("feedback-answer"), marks: $("marks"), words: $("words"),
  wordsPositive: $("words-positive"), wordsNegative: $("words-negative"), meant: $("meant"),
};
const number = new Intl.NumberFormat("en");

let config;
let current = null; // the verdict on show: the API's answer, and the review's text
let reading = false;
let retry; // the timer that counts down to another attempt

class Refused extends Error {
  constructor(kind, retryAfterS = SHORTEST_RETRY_S) {
    super(kind);
    this.kind = kind;
    this.retryAfterS = retryAfterS;
  }
}

// What the text takes up in a request: letters outside English take two bytes or more.
function sizeOf(text) {
  return new TextEncoder().encode(JSON.stringify(text)).length - 2;
}

// The review. Half of a surrogate pair is no Unicode, and the API takes none: it is replaced.
function written() {
  return page.review.value.replace(/\p{Surrogate}/gu, "\ufffd");
}

// How sure, in words. `probability` is that of a positive review.
function inWords(probability) {
  const side = probability >= 0.5 ? "positive" : "negative";
  const sureness = Math.max(probability, 1 - probability);
  if (sureness < 0.6) return `Torn, but leans ${side}`;
  if (sureness < 0.8) return `Leans ${side}`;
  if (sureness < 0.95) return `Mostly ${side}`;
  return `Clearly ${side}`;
}

function percentage(probability) {
  const sureness = Math.max(probability, 1 - probability);
  return sureness > 0.99 ? "more than 99 %" : `${Math.round(sureness * 100)} %`;
}

// The response and what its JSON says, {} if that is none; both within the time allowed.
async function post(path, body) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), config.timeout_ms);
  try {
    const response = await fetch(new URL(path, new URL(config.api, document.baseURI)), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: stop.signal,
      credentials: "omit",
    });
    const answer = await response.json().catch((error) => {
      if (error instanceof SyntaxError) return {};
      throw error;
    });
    return { response, answer };
  } catch {
    throw new Refused(stop.signal.aborted ? "timeout" : navigator.onLine ? "unreachable" : "offline");
  } finally {
    clearTimeout(timer);
  }
}

async function ask(text) {
  const { response, answer } = await post("predict", { review: text, explain: true });
  if (response.ok && answer.probability >= 0 && answer.probability <= 1) return answer;
  const retryAfterS = Number(response.headers.get("Retry-After")) || SHORTEST_RETRY_S;
  if (response.status === 400) throw new Refused("unreadable");
  if (response.status === 422) throw new Refused("wordless");
  if (response.status === 413) throw new Refused("long");
  if (response.status === 429) throw new Refused("busy", retryAfterS);
  if (response.status === 503) throw new Refused("waking", retryAfterS);
  throw new Refused("failed");
}

async function read() {
  const text = written();
  if (reading) return;
  if (!text.trim()) return complain("Write or paste a review first.");
  if (sizeOf(text) > config.max_review_bytes) return complain(TOO_LONG);
  complain("");
  remember();
  setReading(true);
  const slow = setTimeout(
    () => say("reading", "Still reading …", "The model may be waking up. The first answer can take half a minute."),
    config.slow_after_ms,
  );
  try {
    current = { ...(await ask(text)), text };
    showVerdict(current);
  } catch (error) {
    showError(error instanceof Refused ? error : new Refused("failed"));
  } finally {
    clearTimeout(slow);
    setReading(false);
  }
}

function setReading(now) {
  reading = now;
  page.submit.setAttribute("aria-disabled", String(now));
  page.submitText.textContent = now ? "Reading" : "Read it";
  page.form.classList.toggle("reading", now);
  if (now) {
    say("reading", "Reading …", "");
    page.version.textContent = "";
  }
}

// Everything that the verdict's box can say goes through here.
function say(state, phrase, detail) {
  page.verdict.dataset.state = state;
  page.phrase.textContent = phrase;
  page.detail.textContent = detail;
  page.again.hidden = state !== "error";
  page.meant.textContent = "";
  page.words.hidden = true;
  page.marks.replaceChildren();
  page.feedback.hidden = state !== "verdict" || !config.feedback;
}

function showVerdict({ text, label, probability, model_version: version, words = [] }) {
  say("verdict", inWords(probability), `${percentage(probability)} likely to be ${label}`);
  showWords(text, words);
  showWhatWasMeant(text, label);
  page.verdict.dataset.label = label;
  page.scale.style.setProperty("--probability", probability);
  page.version.textContent = `Judged by model version ${version}`;
  page.feedbackQuestion.textContent = "Was this right?";
  page.feedbackAnswer.textContent = "";
  page.right.hidden = page.wrong.hidden = false;
  bringIntoView();
}

function showWords(text, words) {
  if (words.length === 0) return;
  page.wordsPositive.textContent = decisive(words, "positive").join(", ") || "none";
  page.wordsNegative.textContent = decisive(words, "negative").join(", ") || "none";
  page.words.hidden = false;
  if (written() === text) {
    paint(page.marks, text, words);
    follow();
  }
}

function showWhatWasMeant(text, label) {
  const example = EXAMPLES.find((one) => one.text === text);
  if (!example) return;
  page.meant.textContent = example.meant === label
    ? `Meant to be ${example.meant}: the model got it.`
    : `Meant to be ${example.meant}: the model was fooled.`;
}

function follow() {
  page.marks.scrollTop = page.review.scrollTop;
}

function showError({ kind, retryAfterS }) {
  if (PROBLEMS[kind]) {
    say("idle", "Nothing read yet", "The verdict appears here.");
    complain(PROBLEMS[kind]);
    return;
  }
  const [phrase, detail] = MESSAGES[kind];
  say("error", phrase, detail);
  waitToTryAgain(Math.min(retryAfterS, LONGEST_RETRY_S));
  bringIntoView();
}

function waitToTryAgain(seconds) {
  clearTimeout(retry);
  page.again.disabled = seconds > 0;
  page.again.textContent = seconds > 0 ? `Try again in ${seconds} s` : "Try again";
  if (seconds > 0) retry = setTimeout(() => waitToTryAgain(seconds - 1), 1000);
}

function bringIntoView() {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const { top, bottom } = page.detail.getBoundingClientRect();
  const below = 120; // the bar stands under it
  if (top < 0 || bottom + below > innerHeight) page.verdict.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "nearest" });
}

// Said once, not again with every key: a screen reader reads it out whenever it is set.
function note(text) {
  if (page.problem.textContent !== text) page.problem.textContent = text;
  page.review.setAttribute("aria-invalid", String(text !== ""));
}

function complain(text) {
  note(text);
  if (text) page.review.focus();
}

function edited() {
  page.marks.replaceChildren(); // they would stand under other words now
  count();
}

function count() {
  const size = sizeOf(written());
  const left = config.max_review_bytes - size;
  page.counter.textContent = `${number.format(size)} of ${number.format(config.max_review_bytes)} bytes`;
  page.counter.dataset.state = left < 0 ? "over" : left < config.max_review_bytes / 10 ? "near" : "fine";
  page.clear.hidden = size === 0;
  note(left < 0 ? TOO_LONG : "");
}

// What was on show moves to the list of earlier ones, newest first.
function remember() {
  if (current === null) return;
  const verdict = current;
  current = null;
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.label = verdict.label;
  const words = document.createElement("span");
  words.textContent = `${inWords(verdict.probability)}, ${percentage(verdict.probability)}`;
  const excerpt = document.createElement("q");
  excerpt.textContent = verdict.text.length > 90 ? `${verdict.text.slice(0, 90).trimEnd()} …` : verdict.text;
  button.append(words, " ", excerpt);
  button.addEventListener("click", () => { if (!reading) takeUp(verdict, item); });
  item.append(button);
  page.earlier.prepend(item);
  while (page.earlier.children.length > HISTORY_LENGTH) page.earlier.lastChild.remove();
  page.history.hidden = false;
}

function takeUp(verdict, item) {
  item.remove();
  remember();
  page.history.hidden = page.earlier.children.length === 0;
  put(verdict.text);
  page.review.focus();
  current = verdict;
  showVerdict(verdict);
}

function put(text) {
  page.review.value = text;
  edited();
}

async function sendFeedback(wasRight) {
  const about = current; // by the time of the answer another verdict may be on show
  const { label, request_id: requestId } = about;
  const other = label === "positive" ? "negative" : "positive";
  page.right.hidden = page.wrong.hidden = true;
  page.feedbackQuestion.textContent = "";
  const kept = await post("feedback", { request_id: requestId, label: wasRight ? label : other })
    .then(({ response }) => response.ok, () => false);
  if (current !== about) return;
  page.feedbackAnswer.textContent = kept ? "Thank you. That was kept." : "That could not be kept. No harm done.";
  // the button that had the focus is gone; whoever has moved on meanwhile is left alone
  if (document.activeElement === document.body) page.feedbackAnswer.focus({ preventScroll: true });
}

function offerExamples() {
  for (const { name, text } of EXAMPLES) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = name;
    button.addEventListener("click", () => { if (!reading) { put(text); read(); } });
    item.append(button);
    page.examples.append(item);
  }
}

function listen() {
  page.form.addEventListener("submit", (event) => { event.preventDefault(); read(); });
  page.review.addEventListener("input", edited);
  page.review.addEventListener("scroll", follow);
  page.review.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); read(); }
  });
  page.clear.addEventListener("click", () => { put(""); page.review.focus(); });
  page.again.addEventListener("click", () => { page.submit.focus(); read(); });
  page.right.addEventListener("click", () => sendFeedback(true));
  page.wrong.addEventListener("click", () => sendFeedback(false));
}

async function start() {
  config = await (await fetch("config.json", { cache: "no-cache" })).json();
  if (config.model_version) page.version.textContent = `Model version ${config.model_version} is in service`;
  offerExamples();
  count();
  listen();
  document.documentElement.dataset.ready = "true";
}

start().catch(() => {
  page.phrase.textContent = "The page could not be set up";
  page.detail.textContent = "config.json is missing or cannot be read. Reloading may help.";
  page.verdict.dataset.state = "error";
});
