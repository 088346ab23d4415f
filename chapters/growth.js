// The first page: all networks on one picture, stage by stage. It takes the place of the figure
// that it names on screens; cifar_study/report/growth.py puts the data and this script in the page.
"use strict";
(() => {
  const { make, percent, size } = networks;
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
  const bars = networks.bars(classes);
  const maps = make("div", { className: "growth-maps" });
  const all = make("div", { hidden: true }, strip, largest,
    make("div", { className: "growth-play" }, play, slider));
  const stage = make("div", { hidden: true }, facts,
    make("div", { className: "net-card" }, make("figure", {}, seen, caption, shape), bars.table),
    change, notice, maps);
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
    const sides = proportionate ? networks.proportions(picture, side) : [side, side];
    const small = networks.resize(picture, ...sides);
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

  // Which change made the largest difference to the class of this picture.
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
        ? `No change made much of a difference to the probability of ${known}.`
        : `The largest difference was made by ${called(stages[most])}: it took the ` +
          `probability of ${known} from ${before} to ${after}.`;
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
    networks.draw(seen, small);
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

  // The maps after each block, side by side: black is nothing, white the block's largest value,
  // and what is between is lifted, so that faint traces show.
  function showMaps(yielded) {
    maps.replaceChildren(...yielded.map(({ shape: [, height, width, count], values }, i) => {
      const across = Math.ceil(Math.sqrt(count * 1.25 * height / width));
      const zoom = Math.max(1, Math.floor(300 / (across * width)));
      const [stepX, stepY] = [width * zoom + 2, height * zoom + 2];
      const canvas = make("canvas", {
        width: across * stepX - 2,
        height: Math.ceil(count / across) * stepY - 2,
      });
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      const most = values.reduce((one, other) => Math.max(one, other), 1e-9);
      const tile = make("canvas", { width, height });
      for (let map = 0; map < count; map++) {
        const pixels = new ImageData(width, height);
        for (let pixel = 0; pixel < height * width; pixel++) {
          const level = 255 * Math.sqrt(Math.max(0, values[pixel * count + map]) / most);
          pixels.data.set([level, level, level, 255], 4 * pixel);
        }
        tile.getContext("2d").putImageData(pixels, 0, 0);
        const [x, y] = [stepX * (map % across), stepY * Math.floor(map / across)];
        context.drawImage(tile, x, y, width * zoom, height * zoom);
      }
      const words = `Block ${i + 1}: ${count} maps of ${size(width, height)}`;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", words);
      return make("figure", {}, canvas, make("figcaption", { textContent: words }));
    }));
  }

  // --- what a reader does -----------------------------------------------------------------------

  const { attempt } = networks.intake(root, {
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
