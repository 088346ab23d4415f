"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

// Theme: the system's, until the button is pressed.
const root = document.documentElement;
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";
const themeButton = byId("page-theme");
const nameTheme = () => { themeButton.textContent = isDark() ? "Light theme" : "Dark theme"; };
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* not remembered, then */ }
  nameTheme();
});
systemDark.addEventListener("change", nameTheme);
nameTheme();

// Contents: always open beside the text, a menu above it.
const menu = byId("page-menu");
const beside = matchMedia("(min-width: 64rem)");
const fitMenu = () => { menu.open = beside.matches; };
beside.addEventListener("change", fitMenu);
fitMenu();
menu.addEventListener("click", ({ target }) => { if (!beside.matches && target.closest("a")) menu.open = false; });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !beside.matches && menu.open) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// The chapter being read is marked in the contents.
const links = all("nav a");
const heads = links.map((link) => byId(decodeURIComponent(link.hash.slice(1))));
let current = null;
const follow = () => {
  let index = 0;
  heads.forEach((head, i) => { if (head && head.getBoundingClientRect().top < 140) index = i; });
  if (innerHeight + scrollY > root.scrollHeight - 4) index = links.length - 1;
  if (links[index] === current) return;
  current?.removeAttribute("aria-current");
  all(".here", menu).forEach((item) => item.classList.remove("here"));
  current = links[index];
  current.setAttribute("aria-current", "location");
  for (let li = current.closest("li"); li; li = li.parentElement.closest("li")) li.classList.add("here");
  if (beside.matches) current.scrollIntoView({ block: "nearest" });
};
let waiting = false;
addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; follow(); });
}, { passive: true });
follow();

// Search: the sections that hold all the words take the place of the contents.
const search = byId("page-search");
const [field, said, hits] = search.children;
const textOf = (head, i) => {
  const range = document.createRange();
  const chapter = head.closest(".chapter");
  range.setStartBefore(head);
  if (chapter.contains(heads[i + 1] ?? null)) range.setEndBefore(heads[i + 1]);
  else range.setEndAfter(chapter.lastChild);
  return range.toString().replace(/\s+/g, " ");
};
let texts; // of the sections, read when they are first asked for
const hit = (index, word) => {
  const text = texts[index];
  const at = text.toLowerCase().indexOf(word);
  const link = make("a", { href: links[index].hash, textContent: links[index].textContent });
  const place = make("small", { textContent: "… " + text.slice(Math.max(0, at - 30), at) });
  const mark = make("mark", { textContent: text.slice(at, at + word.length) });
  place.append(mark, text.slice(at + word.length, at + word.length + 60) + " …");
  link.append(place);
  const item = make("li");
  item.append(link);
  return item;
};
search.hidden = false;
field.addEventListener("input", () => {
  texts ??= heads.map(textOf);
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = words.length
    ? [...texts.keys()].filter((i) => words.every((word) => texts[i].toLowerCase().includes(word)))
    : [];
  search.parentElement.classList.toggle("searching", words.length > 0);
  said.textContent = words.length ? found.length + " sections found" : "";
  said.classList.toggle("unseen", found.length > 0 || !words.length);
  hits.replaceChildren(...found.map((i) => hit(i, words[0])));
});
field.addEventListener("keydown", ({ key }) => { if (key === "Enter") hits.querySelector("a")?.click(); });

// Code: one button for all folds, listings in boxes included.
const folds = all("details.code-fold, .callout details:has(pre)");
const codeButton = byId("page-code");
const nameCode = () => { codeButton.textContent = folds.some((fold) => !fold.open) ? "Show all code" : "Hide all code"; };
codeButton.hidden = folds.length === 0;
codeButton.addEventListener("click", () => {
  const open = folds.some((fold) => !fold.open);
  folds.forEach((fold) => { fold.open = open; });
});
folds.forEach((fold) => fold.addEventListener("toggle", nameCode));
nameCode();

// A link into a closed fold opens it.
const reveal = () => {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let el = target; el; el = el.parentElement) if (el.tagName === "DETAILS") el.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", reveal);
if (location.hash) reveal();

// Figures open large. A real button, so that the keyboard reaches it.
const lightbox = byId("page-lightbox");
all("main figure img, main .chapter p > img:only-child").forEach((image) => {
  if (image.closest("a, button")) return;
  const button = make("button", { type: "button", className: "zoom", title: "Enlarge" });
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    const close = make("button", { type: "button", textContent: "Close" });
    const { src, alt, className } = image;
    lightbox.replaceChildren(close, make("img", { src, alt, className }));
    lightbox.showModal();
  });
});
lightbox.addEventListener("click", () => lightbox.close());

// On paper nothing can be opened.
addEventListener("beforeprint", () => all(".callout details").forEach((fold) => { fold.open = true; }));
