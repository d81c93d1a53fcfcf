"use strict";
// The paths of openapi.json, each with a form to try it.

function operation(path, method, facts) {
  const output = element("pre", { className: "output", tabIndex: 0, hidden: true });
  const form = element("form");
  const fields = (facts.parameters || []).map((parameter) => {
    const input = element("input", { name: parameter.name, required: parameter.required });
    form.append(element("label", {}, `${parameter.name} `, input));
    return input;
  });
  const content = facts.requestBody && facts.requestBody.content["application/json"];
  const body = content && element("textarea", { rows: 12, spellcheck: false });
  if (body) {
    body.value = JSON.stringify(content.example || {}, null, 1);
    body.setAttribute("aria-label", `Body of ${path}`);
    form.append(body);
  }
  form.append(element("button", { type: "submit" }, "Send"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const query = new URLSearchParams();
    for (const field of fields) if (field.value) query.set(field.name, field.value);
    const address = query.size ? `${path}?${query}` : path;
    const options = { method: method.toUpperCase() };
    if (body) options.body = body.value;
    output.hidden = false;
    output.textContent = "…";
    try {
      const { status, text } = await ask(address, options);
      output.textContent = `${status}\n${pretty(text)}`;
    } catch (error) {
      output.textContent = String(error);
    }
  });
  const answers = element("ul");
  for (const [status, answer] of Object.entries(facts.responses)) {
    answers.append(element("li", {}, `${status}: ${answer.description}`));
  }
  const name = element("code", {}, `${method.toUpperCase()} ${path}`);
  const summary = element("summary", {}, name, ` ${facts.summary}`);
  const statuses = element("details", {}, element("summary", {}, "Statuses"), answers);
  return element("details", {}, summary, form, output, statuses);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 1);
  } catch {
    return text;
  }
}

async function start() {
  const places = document.getElementById("paths");
  try {
    const api = await askJson("/openapi.json");
    showError("");
    document.getElementById("title").textContent = api.info.title;
    places.replaceChildren();
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, facts] of Object.entries(methods)) {
        places.append(operation(path, method, facts));
      }
    }
    places.firstElementChild.open = true;
  } catch (error) {
    showError(error.message);
  }
}

tokenField.addEventListener("change", start);
start();
