// Chapter 13: the final network on a picture of the reader's, at any size and with its proportions.
"use strict";
(() => {
  const { percent, size, proportions } = pictures;
  const root = document.getElementById("photo");
  const find = (selector) => root.querySelector(selector);
  const { classes, stage } = JSON.parse(document.getElementById("photo-data").textContent);
  const smallest = stage.layers.reduce((side, { size: window = 1 }) => side * window, 1);
  const [side, card, seen] = ["input[type=range]", ".photo-card", "canvas"].map(find);
  const buttons = root.querySelectorAll(".net-choices button");
  const bars = pictures.bars(classes);
  card.append(bars.table);

  let picture, right; // what is shown, and its class where that is known

  async function answer(current) {
    const [width, height] = stage.side ? [stage.side, stage.side]
      : proportions(picture, side.valueAsNumber);
    if (Math.min(width, height) < smallest) {
      throw new networks.Refusal("At this size the picture would have " +
        `${size(width, height)} pixels, and the network needs ${size(smallest, smallest)}. ` +
        (Math.min(...proportions(picture, Number(side.max))) < smallest
          ? "No size is large enough for so narrow a picture." : "Choose a larger size."));
    }
    const small = pictures.resize(picture, width, height);
    const { shares } = await networks.ask(stage, [small]);
    if (!current()) return;
    pictures.draw(seen, small);
    const caption = `The network sees ${size(width, height)} pixels`;
    find("figcaption").textContent = caption;
    seen.setAttribute("aria-label", caption);
    const order = bars.show(shares, right);
    card.hidden = false;
    Object.assign(card.style, { visibility: "", marginTop: "" });
    const said = order.slice(0, 2).map((label) => `${classes[label]} ${percent(shares[label])}`);
    say(`The network says ${said[0]}, then ${said[1]}.` +
      (picture.moves ? " Of a picture that moves, it sees the first frame." : ""));
  }

  function say(words) {
    find(".net-said").textContent = words;
  }

  const { attempt } = pictures.intake(root, {
    begin() {
      picture = undefined;
      say("Reading the picture …");
    },
    use(taken, button, current) {
      [picture, right] = [taken, button?.dataset.class];
      for (const each of buttons) each.setAttribute("aria-pressed", each === button);
      return answer(current);
    },
    refuse(words) {
      card.style.visibility = "hidden"; // its room stays, so that nothing below jumps
      card.style.marginTop = "";
      const before = root.offsetHeight;
      say(words);
      if (!card.hidden) card.style.marginTop = `${before - root.offsetHeight}px`;
    },
  });
  side.addEventListener("input", () => {
    const words = `${side.value} × ${side.value}`;
    find(".photo-side span").textContent = words;
    side.setAttribute("aria-valuetext", words);
    if (picture) attempt(answer); // what is still being computed is of another size
  });
  root.hidden = false;
  document.getElementById("photo-without").hidden = true;
})();
