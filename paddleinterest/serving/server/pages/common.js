"use strict";
// What the pages share: requests with the token, and elements whose text is only ever text.

const tokenField = document.getElementById("token");
tokenField.value = sessionStorage.getItem("token") || "";
tokenField.addEventListener("change", () => sessionStorage.setItem("token", tokenField.value));

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (tokenField.value) headers.Authorization = `Bearer ${tokenField.value}`;
  const response = await fetch(path, { ...options, headers });
  return { status: response.status, text: await response.text() };
}

async function askJson(path, options = {}) {
  const { status, text } = await ask(path, options);
  const content = JSON.parse(text);
  if (status !== 200) throw new Error(content.error || String(status));
  return content;
}

function showError(message) {
  const place = document.getElementById("error");
  place.textContent = message;
  place.hidden = !message;
}
