// The first page: all networks on one picture, stage by stage. It takes the place of the figure
// that it names on screens; cifar_study/report/growth.py puts the data and this script in the page.
"use strict";
(() => {
  const { make } = networks;
  const { percent, size } = pictures;
  const data = JSON.parse(document.getElementById("growth-data").textContent);
  const { classes, stages, choices } = data;
  const withArticle = (name) => `${/^[aeiou]/.test(name) ? "an" : "a"} ${name}`;
  const called = ({ number, title }) => `stage ${number} (${title})`;

  // --- the page's elements ----------------------------------------------------------------------

  const said = make("p", { className: "net-said" });
  said.setAttribute("role", "status");
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
    make("legend", { textContent: "Stage", className: "net-unseen" }), ...steps.map(({ label }) => label));
  const slider = make("input", { type: "range", min: 0, max: stages.length - 1, value: 0 });
  slider.setAttribute("aria-label", "Stage");
  const play = make("button", { type: "button", textContent: "Play" });
  const largest = make("p", { className: "growth-largest" });

  // What one stage is, and what it makes of the picture.
  const facts = make("p", { className: "growth-facts" });
  const change = make("pre", { className: "growth-change" });
  change.setAttribute("aria-label", "What changed in its description");
  const notice = make("p", { className: "growth-notice" });
  const own = make("input", { type: "checkbox" });
  const shape = make("label", { className: "growth-shape" }, own, " with its own proportions");
  const seen = make("canvas");
  seen.setAttribute("role", "img");
  const caption = make("figcaption");
  const bars = pictures.bars(classes);
  const maps = make("div", { className: "growth-maps" });
  // One map, larger.
  const closer = make("canvas", { width: 320, height: 320 });
  closer.setAttribute("role", "img");
  const which = make("input", { type: "range", min: 1 });
  which.setAttribute("aria-label", "Map");
  const about = make("p");
  const close = make("div", { className: "growth-close" }, closer, make("div", {}, about, which));
  const all = make("div", { hidden: true }, strip, largest,
    make("div", { className: "growth-play" }, play, slider));
  const stage = make("div", { hidden: true }, facts,
    make("div", { className: "net-card" }, make("figure", {}, seen, caption, shape), bars.table),
    change, notice, make("p", { className: "growth-hint" }, "After each block, what the network " +
      "has made of the picture. Black is zero, white the block's largest value. Choose a map to " +
      "see it larger."), maps, close);
  const root = make("div", { className: "net growth" }, take, all, said, stage);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Watch it grow");

  // --- what is known of the picture -------------------------------------------------------------

  let picture; // as it was taken
  let known; // its class; "" for none of the ten, undefined where nobody said
  let place = 0; // of the stage that is shown
  let answers = []; // of every stage: what it saw, { shares, maps }, and its best class

  // A stage's answer to the picture as a square, or, where it takes that, with its proportions.
  async function answer(network, proportionate) {
    const side = network.side ?? data.side;
    const sides = proportionate ? pictures.proportions(picture, side) : [side, side];
    const small = pictures.resize(picture, ...sides);
    const given = await networks.ask(network, [small]);
    const best = given.shares.indexOf(Math.max(...given.shares));
    return { small, best, ...given };
  }

  async function use(taken, button, current) {
    picture = taken;
    known = button?.dataset.class;
    pick.value = known ?? "?";
    truth.hidden = button !== undefined;
    for (const each of buttons) each.setAttribute("aria-pressed", each === button);
    const isLong = picture.width !== picture.height;
    const fresh = [];
    for (const network of stages) {
      fresh.push(await answer(network, own.checked && isLong && !network.side));
      if (!current()) return;
    }
    answers = fresh;
    all.hidden = stage.hidden = false;
    showAnswers();
    showStage();
  }

  // --- what is shown of it ----------------------------------------------------------------------

  const verdict = (label) => (known === undefined ? "" : classes[label] === known ? "right" : "wrong");

  function showAnswers() {
    steps.forEach(({ label, mark, bar, answer: word, share }, i) => {
      const { best, shares } = answers[i];
      label.className = verdict(best);
      mark.textContent = { right: "✓", wrong: "✗" }[label.className] ?? "";
      word.textContent = classes[best];
      bar.style.width = percent(shares[best]);
      share.textContent = percent(shares[best], 0);
    });
    showLargest();
  }

  // Between which stages the probability of this picture's class grows most.
  function showLargest() {
    if (known === undefined) {
      largest.textContent = "Say what it shows, and the right answers are marked.";
    } else if (known === "") {
      largest.textContent = "It shows none of the ten classes, so no answer is right; " +
        "a network can only say which of them it looks like most.";
    } else {
      const label = classes.indexOf(known);
      const gains = stages.slice(1).map((_, i) =>
        answers[i + 1].shares[label] - answers[i].shares[label]);
      const most = gains.indexOf(Math.max(...gains)) + 1;
      const [before, after] = [most - 1, most].map((i) => percent(answers[i].shares[label], 0));
      largest.textContent = stages.length < 2 ? "" : gains[most - 1] < 0.05
        ? `For this picture the probability of ${known} grows little from any stage to the next.`
        : `For this picture the probability of ${known} grows most with ` +
          `${called(stages[most])}: from ${before} to ${after}.`;
    }
  }

  function showStage() {
    const network = stages[place];
    const { small, shares, best, maps: yielded } = answers[place];
    steps[place].radio.checked = true;
    slider.value = place;
    slider.setAttribute("aria-valuetext", `Stage ${network.number}: ${network.title}`);
    facts.textContent = network.facts;
    notice.textContent = network.notice;
    change.replaceChildren(...difference(network.change));
    pictures.draw(seen, small);
    const words = `It sees ${size(small.width, small.height)} pixels`;
    caption.textContent = words;
    seen.setAttribute("aria-label", words);
    shape.hidden = Boolean(network.side) || picture.width === picture.height;
    bars.show(shares, known);
    showMaps(yielded);
    const mark = { right: ", which is right", wrong: ", which is wrong" }[verdict(best)] ?? "";
    said.textContent = `Stage ${network.number}, ${network.title}: ${classes[best]} with ` +
      `${percent(shares[best])}${known ? mark : ""}.` +
      (picture.moves ? " Of a picture that moves, the first frame is taken." : "");
  }

  // Lines of a difference in colour; what the lines of the other sign do not have stands out.
  function difference(lines) {
    const split = (line) => line.split(/(, )/);
    const others = (sign) => new Set(lines.filter((line) => line[0] === { "+": "-", "-": "+" }[sign])
      .flatMap((line) => split(line.slice(1))));
    return lines.map((line) => {
      const there = others(line[0]);
      const words = there.size ? split(line.slice(1)).map((word) =>
        (there.has(word) ? word : make("b", { textContent: word }))) : [line.slice(1)];
      const className = { "+": "growth-added", "-": "growth-gone" }[line[0]] ?? "";
      return make("span", { className }, line[0], ...words, "\n");
    });
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
    close.hidden = !yielded.length;
    if (yielded.length) showCloser(yielded, grids);
  }

  function showCloser(yielded, grids) {
    const block = Math.min(looked.block, yielded.length - 1);
    const { shape: [, , , count], values } = yielded[block];
    const map = Math.min(looked.map, count - 1);
    const context = closer.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(grids[block].tiles[map], 0, 0, closer.width, closer.height);
    const own = values.filter((_, i) => i % count === map);
    about.textContent = `Map ${map + 1} of ${count} after block ${block + 1}: values from ` +
      `${Math.min(...own).toFixed(2)} to ${Math.max(...own).toFixed(2)}`;
    closer.setAttribute("aria-label", about.textContent);
    Object.assign(which, { max: count, value: map + 1 });
    which.setAttribute("aria-valuetext", `${map + 1} of ${count}`);
    [...maps.children].forEach((figure, i) =>
      figure.firstChild.setAttribute("aria-pressed", i === block));
  }

  // --- what a reader does -----------------------------------------------------------------------

  const { attempt } = pictures.intake(root, {
    first: buttons[data.start],
    begin() {
      said.textContent = answers.length ? "Reading the picture …" : "Loading the networks …";
    },
    use,
    refuse(words) {
      stop();
      all.hidden = stage.hidden = true;
      said.textContent = words;
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
  slider.addEventListener("input", () => { stop(); go(slider.valueAsNumber); });
  pick.addEventListener("change", () => {
    known = pick.value === "?" ? undefined : pick.value;
    showAnswers();
    showStage();
  });
  own.addEventListener("change", () => attempt(async (current) => {
    const i = place;
    const fresh = await answer(stages[i], own.checked);
    if (!current()) return;
    answers[i] = fresh;
    showAnswers();
    showStage();
  }));

  const below = document.querySelector(`#${data.figure} figcaption`);
  for (const part of below.parentElement.children) {
    if (part !== below) part.classList.add("net-static");
  }
  below.before(root);
})();
