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

// The section being read is marked in the contents.
const links = all("nav a");
const heads = links.map((link) => byId(decodeURIComponent(link.hash.slice(1))));
let current = null;
const follow = () => {
  let index = heads.findLastIndex((head) => head.getBoundingClientRect().top < 140);
  if (innerHeight + scrollY > root.scrollHeight - 4) index = links.length - 1;
  if (links[index] === current) return;
  current?.removeAttribute("aria-current");
  all(".here", menu).forEach((item) => item.classList.remove("here"));
  current = links[index];
  current?.setAttribute("aria-current", "location");
  for (let li = current?.closest("li"); li; li = li.parentElement.closest("li")) li.classList.add("here");
  if (beside.matches) current?.scrollIntoView({ block: "nearest" });
};
addEventListener("scroll", () => requestAnimationFrame(follow), { passive: true });
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
  const copy = range.cloneContents();
  all("script, style", copy).forEach((unread) => unread.remove());
  return copy.textContent.replace(/\s+/g, " ");
};
let texts; // of the sections, read when they are first asked for
const hit = (link) => {
  const item = make("li");
  item.append(make("a", { href: link.hash, textContent: link.textContent }));
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
  hits.replaceChildren(...found.map((i) => hit(links[i])));
});
field.addEventListener("keydown", ({ key }) => { if (key === "Enter") hits.querySelector("a")?.click(); });

// On paper nothing can be opened.
addEventListener("beforeprint", () => all(".callout details").forEach((fold) => { fold.open = true; }));
