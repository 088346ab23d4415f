// The first page: all networks on one picture, stage by stage. It takes the place of the figure
// that it names on screens; cifar_study/report/networks.py puts the data and this script in the page.
"use strict";
(() => {
  const { make } = networks;
  const { percent, size } = pictures;
  const data = JSON.parse(document.getElementById("growth-data").textContent);
  const { classes, stages, choices } = data;
  const withArticle = (name) => `${/^[aeiou]/.test(name) ? "an" : "a"} ${name}`;

  // --- the page's elements ----------------------------------------------------------------------

  const status = make("p", { className: "net-status" });
  status.setAttribute("role", "status");
  const file = make("input", { type: "file", accept: "image/*" });
  const pick = make("select", {}, make("option", { value: "?", textContent: "I don't say" }),
    ...classes.map((name) => make("option", { value: name, textContent: withArticle(name) })),
    make("option", { value: "", textContent: "none of the ten" }));
  const truth = make("label", { className: "growth-truth", hidden: true }, "It shows ", pick);
  const buttons = choices.map(({ name, address, truth: of }) => {
    const image = make("img", { src: address, alt: name });
    const button = make("button", { type: "button", title: name }, image);
    button.dataset.class = of;
    return button;
  });
  const group = make("div", { className: "net-choices" }, ...buttons);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Pictures to try");
  const take = make("div", { className: "net-take" }, group,
    make("div", { className: "net-own" },
      make("label", { className: "net-file" }, "Your own picture", file),
      make("span", { textContent: "or drop or paste one; it stays in your browser" }), truth));

  // The strip: a step and the answer of its network, all at once.
  const steps = stages.map(({ number, title }, place) => {
    const radio = make("input", { type: "radio", name: "growth-stage", value: place });
    const bar = make("span");
    const answer = make("span", { className: "growth-answer" });
    const share = make("span", { className: "growth-share" });
    const mark = make("span");
    const label = make("label", { title }, radio, make("b", { textContent: `${number} ` }, mark),
      answer, make("span", { className: "growth-bar" }, bar), share);
    return { radio, label, mark, bar, answer, share };
  });
  const strip = make("fieldset", { className: "growth-strip" },
    make("legend", { textContent: "Stage", className: "net-unseen" }),
    ...steps.map(({ label }) => label));
  const play = make("button", { type: "button", textContent: "Play", hidden: stages.length < 2 });
  const largest = make("p");

  // What one stage is, and what it makes of the picture.
  const about = make("p", { className: "growth-about" });
  const seen = make("canvas");
  seen.setAttribute("role", "img");
  const caption = make("figcaption");
  const bars = pictures.bars(classes);
  const hint = make("p", { className: "growth-hint", textContent: "After each block, what the " +
    "network has made of the picture: black is zero, white the block's largest value. Choose a " +
    "map to see it larger." });
  const maps = make("div", { className: "growth-maps" });
  // One map, larger.
  const closer = make("canvas");
  closer.setAttribute("role", "img");
  const which = make("input", { type: "range", min: 1 });
  which.setAttribute("aria-label", "Map");
  const range = make("p");
  const close = make("div", { className: "growth-close" }, closer, make("div", {}, range, which));
  const shown = make("div", { hidden: true }, strip,
    make("div", { className: "growth-play" }, play, largest), about,
    make("div", { className: "net-card" }, make("figure", {}, seen, caption), bars.table),
    hint, maps, close);
  const root = make("div", { className: "net growth" }, take, status, shown);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Watch it grow");

  // --- what is known of the picture -------------------------------------------------------------

  let picture; // as it was taken
  let known; // its class; "" for none of the ten, undefined where nobody said
  let place = 0; // of the stage that is shown
  let answers = []; // of every stage: what it saw, { shares, maps }, and its best class

  // A network that takes any shape gets the picture with its proportions, the others a square.
  async function answer(network) {
    const side = network.side ?? data.side;
    const least = network.layers.reduce((product, { size: window = 1 }) => product * window, 1);
    const small = pictures.resize(picture,
      ...(network.side ? [side, side] : pictures.proportions(picture, side, least)));
    const given = await networks.ask(network, [small]);
    return { small, best: given.shares.indexOf(Math.max(...given.shares)), ...given };
  }

  async function use(taken, button, current) {
    picture = taken;
    known = button?.dataset.class;
    pick.value = known ?? "?";
    truth.hidden = button !== undefined;
    for (const each of buttons) each.setAttribute("aria-pressed", each === button);
    const fresh = [];
    for (const network of stages) {
      fresh.push(await answer(network));
      if (!current()) return;
    }
    answers = fresh;
    shown.hidden = false;
    showAnswers();
    showStage();
  }

  // --- what is shown of it ----------------------------------------------------------------------

  const verdict = (label) =>
    (known === undefined ? "" : classes[label] === known ? "right" : "wrong");

  function showAnswers() {
    steps.forEach(({ label, mark, bar, answer: word, share }, i) => {
      const { best, shares } = answers[i];
      label.className = verdict(best);
      mark.textContent = { right: "✓", wrong: "✗" }[label.className] ?? "";
      word.textContent = classes[best];
      bar.style.width = percent(shares[best]);
      share.textContent = percent(shares[best], 0);
    });
    largest.textContent = known === undefined ? "Say what it shows, and the right answers are marked."
      : known === "" ? "It shows none of the ten classes, so no answer is right; a network can " +
        "only say which of them it looks like most." : largestGain(classes.indexOf(known));
  }

  // Between which stages the probability of this picture's class grows most.
  function largestGain(label) {
    if (stages.length < 2) return "";
    const shares = answers.map((given) => given.shares[label]);
    const gains = shares.slice(1).map((share, i) => share - shares[i]);
    const most = 1 + gains.indexOf(Math.max(...gains));
    if (gains[most - 1] < 0.05) return `The probability of ${known} grows little from any stage to the next.`;
    const { number, title } = stages[most];
    return `The probability of ${known} grows most with stage ${number} (${title}): ` +
      `from ${percent(shares[most - 1], 0)} to ${percent(shares[most], 0)}.`;
  }

  function showStage() {
    const { number, title, about: words } = stages[place];
    const { small, shares, best, maps: yielded } = answers[place];
    steps[place].radio.checked = true;
    about.textContent = words;
    pictures.draw(seen, small);
    caption.textContent = `It sees ${size(small.width, small.height)} pixels`;
    seen.setAttribute("aria-label", caption.textContent);
    bars.show(shares, known);
    showMaps(yielded);
    const mark = { right: ", which is right", wrong: ", which is wrong" }[verdict(best)] ?? "";
    status.textContent = `Stage ${number}, ${title}: ${classes[best]} with ` +
      `${percent(shares[best])}${known ? mark : ""}.` +
      (picture.moves ? " Of a picture that moves, the first frame is taken." : "");
  }

  // --- the maps after each block ------------------------------------------------------------------

  const looked = { block: 0, map: 0 }; // the map that is shown larger

  function showMaps(yielded) {
    const grids = yielded.map(pictures.grid);
    maps.replaceChildren(...grids.map(({ canvas, at }, i) => {
      const [, height, width, count] = yielded[i].shape;
      const words = `Block ${i + 1}: ${count} maps of ${size(width, height)}`;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", words);
      const button = make("button", { type: "button" }, canvas);
      button.addEventListener("click", (event) => {
        Object.assign(looked, { block: i, map: event.detail ? at(event) : 0 });
        showCloser(yielded, grids);
      });
      return make("figure", {}, button, make("figcaption", { textContent: words }));
    }));
    which.oninput = () => {
      looked.map = which.valueAsNumber - 1;
      showCloser(yielded, grids);
    };
    hint.hidden = close.hidden = !yielded.length;
    if (yielded.length) showCloser(yielded, grids);
  }

  function showCloser(yielded, grids) {
    const block = Math.min(looked.block, yielded.length - 1);
    const { shape: [, , , count], values } = yielded[block];
    const map = Math.min(looked.map, count - 1);
    const tile = grids[block].tiles[map];
    Object.assign(closer, { width: tile.width, height: tile.height });
    closer.getContext("2d").drawImage(tile, 0, 0);
    const own = values.filter((_, i) => i % count === map);
    range.textContent = `Map ${map + 1} of ${count} after block ${block + 1}: values from ` +
      [Math.min, Math.max].map((of) => own.reduce((a, b) => of(a, b)).toFixed(2)).join(" to ");
    closer.setAttribute("aria-label", range.textContent);
    Object.assign(which, { max: count, value: map + 1 });
    which.setAttribute("aria-valuetext", `${map + 1} of ${count}`);
    [...maps.children].forEach((figure, i) =>
      figure.firstChild.setAttribute("aria-pressed", i === block));
  }

  // --- what a reader does -----------------------------------------------------------------------

  pictures.intake(root, {
    first: buttons[data.start],
    begin() {
      status.textContent = answers.length ? "Reading the picture …" : "Loading the networks …";
    },
    use,
    refuse(words) {
      stop();
      shown.hidden = true;
      status.textContent = words;
    },
  });

  let ticking;
  function stop() {
    clearInterval(ticking);
    ticking = undefined;
    play.textContent = "Play";
  }
  function go(to) {
    place = to;
    showStage();
  }
  play.addEventListener("click", () => {
    if (ticking) return stop();
    go(place === stages.length - 1 ? 0 : place + 1);
    play.textContent = "Pause";
    ticking = setInterval(() => {
      if (place < stages.length - 1) go(place + 1);
      if (place === stages.length - 1) stop();
    }, 1500);
  });
  steps.forEach(({ radio }, i) => radio.addEventListener("change", () => { stop(); go(i); }));
  pick.addEventListener("change", () => {
    known = pick.value === "?" ? undefined : pick.value;
    showAnswers();
    showStage();
  });

  // Without the figure, as where its pictures are missing, it stands where this script does.
  const below = document.querySelector(`#${data.figure} figcaption`);
  for (const part of below?.parentElement.children ?? []) {
    if (part !== below) part.classList.add("net-static");
  }
  (below ?? document.currentScript).before(root);
})();
