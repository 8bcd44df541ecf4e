// Shows the API's own description, openapi.json, as a page. All of it is put there as text.

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function resolve(node, description) {
  if (!node?.$ref) return node;
  return node.$ref.slice(2).split("/").reduce((found, key) => found[key], description);
}

function code(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return element("pre", "", element("code", text));
}

function examples(content) {
  return Object.entries(content ?? {}).flatMap(([type, { examples: named }]) =>
    Object.entries(named ?? {}).map(([name, { value }]) =>
      element("div", "", element("p", `${name.replaceAll("_", " ")} · ${type}`), code(value)),
    ),
  );
}

function answer([status, named], description) {
  const response = resolve(named, description);
  const heading = element("p", "", element("strong", status), ` ${response.description}`);
  return element("li", "", heading, ...examples(response.content));
}

function operation(path, method, { summary, requestBody, responses }, description) {
  const title = element("h2", "", element("code", `${method.toUpperCase()} ${path}`));
  const asked = examples(requestBody?.content);
  const answers = Object.entries(responses).map((one) => answer(one, description));
  return element(
    "section", "", title, element("p", summary),
    element("div", "", element("h3", "Send"), ...(asked.length ? asked : [element("p", "Nothing but the request itself.")])),
    element("div", "", element("h3", "Answers"), element("ul", "", ...answers)),
  );
}

async function start() {
  const config = await (await fetch("config.json", { cache: "no-cache" })).json();
  const url = new URL("openapi.json", new URL(config.api, document.baseURI));
  const description = await (await fetch(url)).json();
  document.getElementById("document").href = url;
  document.getElementById("description").textContent = `${description.info.summary} ${description.info.description}`;
  document.getElementById("operations").append(
    ...Object.entries(description.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, one]) => operation(path, method, one, description)),
    ),
  );
  document.documentElement.dataset.ready = "true";
}

start().catch(() => {
  document.getElementById("description").textContent = "The description could not be read. Reloading may help.";
});
