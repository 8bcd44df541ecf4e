// The page's behaviour. Whatever a person or the API says is put on the page as text, never as HTML.

import { EXAMPLES } from "./examples.js";
import { History } from "./history.js";
import { decisive, inWords, paint, percentage } from "./words.js";

const SHORTEST_RETRY_S = 1;
const LONGEST_RETRY_S = 15; // whoever is here wants to know now
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
  version: $("version"), again: $("again"),
  feedback: $("feedback"), feedbackQuestion: $("feedback-question"), right: $("right"),
  wrong: $("wrong"), keep: $("keep"), consent: $("consent"), feedbackAnswer: $("feedback-answer"), marks: $("marks"), words: $("words"),
  wordsPositive: $("words-positive"), wordsNegative: $("words-negative"), meant: $("meant"),
};
const number = new Intl.NumberFormat("en");
const earlier = new History($("history"), $("earlier"), takeUp);

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

// The letters of a text of that size, and how many of its kind there may be at most.
function letters(text, size) {
  const pairs = text.match(/[\ud800-\udbff]/g) ?? []; // two of JavaScript's units are one letter
  const length = text.length - pairs.length;
  const most = size > 0 ? Math.floor((config.max_review_bytes * length) / size) : config.max_review_bytes;
  return `${number.format(length)} of ${length === size ? "" : "about "}${number.format(most)} characters`;
}

// The review. Half of a surrogate pair is no Unicode, and the API takes none: it is replaced.
function written() {
  return page.review.value.replace(/\p{Surrogate}/gu, "\ufffd");
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

function isVerdict({ label, probability, model_version: version }) {
  return ["positive", "negative"].includes(label) && probability >= 0 && probability <= 1 && Boolean(version);
}

async function ask(text) {
  const { response, answer } = await post("predict", { review: text, explain: true });
  if (response.ok && isVerdict(answer)) return answer;
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
    earlier.remove(text);
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
  if (now) say("reading", "Reading …", "");
}

// Everything that the verdict's box can say goes through here.
function say(state, phrase, detail) {
  page.verdict.dataset.state = state;
  page.phrase.textContent = phrase;
  page.detail.textContent = detail;
  page.version.textContent = "";
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
  page.keep.checked = false; // each review is its writer's to give
  page.right.hidden = page.wrong.hidden = page.consent.hidden = false;
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
  const text = written();
  const size = sizeOf(text);
  const left = config.max_review_bytes - size;
  page.counter.textContent = letters(text, size);
  page.counter.dataset.state = left < 0 ? "over" : left < config.max_review_bytes / 10 ? "near" : "fine";
  page.clear.hidden = size === 0;
  note(left < 0 ? TOO_LONG : "");
}

// What was on show moves to the list of earlier ones.
function remember() {
  if (current !== null) earlier.add(current);
  current = null;
}

function takeUp(entry) {
  if (reading) return;
  earlier.remove(entry.text);
  remember();
  put(entry.text);
  page.review.focus();
  if (entry.label) {
    current = entry;
    showVerdict(entry);
  } else {
    say("idle", "Not read yet", "The verdict appears here.");
  }
}

// Puts another text in the review's place. What somebody wrote there can be taken up again.
function put(text) {
  const draft = written();
  const known = [text, current?.text, ...EXAMPLES.map((one) => one.text)];
  if (draft.trim() && !known.includes(draft) && !earlier.has(draft)) earlier.add({ text: draft });
  page.review.value = text;
  edited();
}

// By status: what ends it. A verdict is known no more once the key that signed its id is another.
const FEEDBACK_ANSWERS = {
  201: "Thank you. That was kept.",
  404: "This verdict is no longer known. Read the review again first.",
};

async function sendFeedback(wasRight) {
  const about = current; // by the time of the answer another verdict may be on show
  const { request_id, model_version, probability, text } = about;
  const other = about.label === "positive" ? "negative" : "positive";
  const said = { request_id, label: wasRight ? about.label : other, model_version, probability };
  if (page.keep.checked) said.review = text;
  page.right.hidden = page.wrong.hidden = page.consent.hidden = true;
  page.feedbackQuestion.textContent = page.feedbackAnswer.textContent = "";
  const status = await post("feedback", said).then(({ response }) => response.status, () => 0);
  if (current !== about) return;
  page.feedbackAnswer.textContent = FEEDBACK_ANSWERS[status] ?? "That could not be kept. Please try again.";
  page.right.hidden = page.wrong.hidden = page.consent.hidden = status in FEEDBACK_ANSWERS;
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
