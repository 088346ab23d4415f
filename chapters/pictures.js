// Pictures for the networks of the report: how a reader gives one, how it is read and made small,
// and how it is shown with what a network makes of it.
"use strict";
const pictures = (() => {
  const { make, Refusal } = networks;
  const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
  const size = (width, height) => `${width.toLocaleString("en")} × ${height.toLocaleString("en")}`;

  // --- pictures: read, laid on white, made small as Pillow does -------------------------------

  const MOST_PIXELS = 64e6; // more takes some browsers out of memory
  const KEPT_PIXELS = 4e6; // more are halved first, which no network here can tell
  const SMALLEST = 8; // pixels of a side

  // The weights of Lanczos' filter with three lobes, wider by as much as the picture gets smaller,
  // in whole numbers of 2⁻²².
  function taps(from, to) {
    const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
    const scale = from / to;
    const wide = Math.max(scale, 1);
    return Array.from({ length: to }, (_, place) => {
      const centre = (place + 0.5) * scale;
      const first = Math.max(0, Math.trunc(centre - 3 * wide + 0.5));
      const end = Math.min(from, Math.trunc(centre + 3 * wide + 0.5));
      const values = Array.from({ length: end - first }, (__, i) => {
        const x = (first + i + 0.5 - centre) / wide;
        return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
      });
      const sum = values.reduce((one, other) => one + other);
      return { first, weights: Int32Array.from(values, (value) => Math.round(value / sum * 2 ** 22)) };
    });
  }

  // The picture with another width, rounded to whole levels, its rows as columns.
  function narrow({ data, width, height }, newWidth) {
    const out = new ImageData(height, newWidth);
    out.data.fill(255);
    const columns = taps(width, newWidth);
    for (let row = 0; row < height; row++) {
      columns.forEach(({ first, weights }, column) => {
        let red = 2 ** 21, green = red, blue = red;
        let from = 4 * (row * width + first);
        for (let i = 0; i < weights.length; i++, from += 4) {
          red += weights[i] * data[from];
          green += weights[i] * data[from + 1];
          blue += weights[i] * data[from + 2];
        }
        const to = 4 * (column * height + row);
        out.data[to] = red >> 22; // what is below 0 or above 255 becomes that
        out.data[to + 1] = green >> 22;
        out.data[to + 2] = blue >> 22;
      });
    }
    return out;
  }

  // Both directions, rows first; columns first where they lose many more pixels, as in Pillow 13.
  function resize(picture, width, height) {
    const [across, down] = [picture.width - width, picture.height - height];
    if (down <= Math.max(0, 2 * across)) return narrow(narrow(picture, width), height);
    const turned = (one) => narrow(one, one.width);
    return turned(narrow(narrow(turned(picture), height), width));
  }

  // Width and height with about as many pixels as a square of that side, proportions kept; of a
  // narrow picture as many more as its shorter side needs to have `least`.
  function proportions({ width, height }, side, least) {
    const scale = Math.max(side / Math.sqrt(width * height), least / Math.min(width, height));
    return [width, height].map((length) => Math.round(scale * length));
  }

  // An image on white as ImageData.
  function pixels(image) {
    let { width, height } = image;
    for (;;) {
      const small = width * height <= KEPT_PIXELS;
      if (!small) [width, height] = [width, height].map((length) => Math.ceil(length / 2));
      const canvas = make("canvas", { width, height });
      const context = canvas.getContext("2d", { willReadFrequently: small });
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, height);
      context.drawImage(image, 0, 0, width, height);
      if (small) return context.getImageData(0, 0, width, height);
      image = canvas;
    }
  }

  // The picture at `address`, turned as its EXIF data say.
  async function read(address) {
    const image = new Image();
    let bitmap;
    try {
      await new Promise((done, failed) => {
        Object.assign(image, { onload: done, onerror: failed, src: address });
      });
      const { naturalWidth: width, naturalHeight: height } = image;
      if (width * height > MOST_PIXELS) {
        throw new Refusal(`This picture has ${size(width, height)} pixels, too many to open here. ` +
          `Up to ${MOST_PIXELS / 1e6} million in all are fine.`);
      }
      if (Math.min(width, height) < SMALLEST) {
        throw new Refusal(`This picture has ${size(width, height)} pixels, too few for the ` +
          `networks: they need at least ${size(SMALLEST, SMALLEST)}.`);
      }
      bitmap = await createImageBitmap(image); // which refuses half a picture
      return pixels(bitmap);
    } catch (error) {
      if (error instanceof Refusal) throw error;
      throw new Refusal("This file can't be read as a picture. JPEG, PNG and WebP files can.");
    } finally {
      bitmap?.close();
    }
  }

  // The picture in these parts of a file.
  async function readParts(...parts) {
    const address = URL.createObjectURL(new Blob(parts));
    try {
      return await read(address);
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  // A JPEG whose last two bytes are missing, as some cameras leave it. It is whole if all of it
  // comes out the same, whatever follows where it ends.
  async function readUnended(file) {
    const end = [0xff, 0xd9];
    const [one, other] = await Promise.all([end, [...Array(64).fill(0x55), ...end]].map(
      (bytes) => readParts(file, Uint8Array.from(bytes))));
    if (one.data.some((value, i) => value !== other.data[i])) throw new Error("half a picture");
    return one;
  }

  // Whether a file that begins so shows more than one frame.
  const moves = (head) => head.startsWith("GIF8") && head.split("\x21\xF9\x04").length > 2 ||
    /^.PNG/.test(head) && head.split("IDAT")[0].includes("acTL") ||
    /^RIFF[^]{4}WEBPVP8X/.test(head) && Boolean(head.charCodeAt(20) & 2);

  // The picture in a file; `moves` where only its first frame is seen.
  async function readFile(file) {
    let head = "";
    try {
      head = new TextDecoder("latin1").decode(await file.slice(0, 4e6).arrayBuffer());
    } catch { /* a folder, or a file that is gone: it can't be read as a picture, either */ }
    if (/^(\uFEFF|ï»¿)?\s*<(\?xml|!--|!doctype svg|svg)/i.test(head)) {
      throw new Refusal("This is a drawing (SVG), not a photo. JPEG, PNG and WebP files can be read.");
    }
    try {
      return Object.assign(await readParts(file), { moves: moves(head) });
    } catch (error) {
      if (/^[^]{4}ftyp(hei|hev|mif1|msf1)/.test(head)) {
        throw new Refusal("This browser can't open HEIC pictures. Save it as JPEG and choose that.");
      }
      return head.startsWith("ÿØ") ? readUnended(file).catch(() => { throw error; })
        : Promise.reject(error);
    }
  }

  // --- what is shown ---------------------------------------------------------------------------

  // A picture (ImageData) on a canvas, a pixel a pixel; the page makes it larger.
  function draw(canvas, picture) {
    const { width, height } = picture;
    Object.assign(canvas, { width, height }).getContext("2d").putImageData(picture, 0, 0);
    canvas.style.setProperty("--wide", Math.min(1, width / height));
  }

  // A table of the classes with bars.
  function bars(classes) {
    const table = make("table", { className: "net-bars" });
    table.createCaption().textContent = "Probability of each class";
    const rows = classes.map((name) => {
      const row = table.insertRow();
      row.append(make("th", { scope: "row", textContent: name }));
      const bar = row.insertCell().appendChild(make("span"));
      return { row, bar, value: row.insertCell() };
    });
    const show = (shares, right) => {
      const most = Math.max(...shares);
      rows.forEach(({ row, bar, value }, label) => {
        row.classList.toggle("first", shares[label] === most);
        row.classList.toggle("right", classes[label] === right);
        bar.style.width = percent(shares[label]);
        value.textContent = percent(shares[label]);
      });
    };
    return { table, show };
  }

  // What a block yields as a picture with a map in each cell: black is nothing, white the block's
  // largest value, and what is between is lifted, so that faint traces show.
  function grid({ shape: [, height, width, count], values }) {
    const across = Math.ceil(Math.sqrt(count * 1.25 * height / width));
    const zoom = Math.max(1, Math.floor(300 / (across * width)));
    const [stepX, stepY] = [width * zoom + 2, height * zoom + 2];
    const most = values.reduce((one, other) => Math.max(one, other), 1e-9);
    const tiles = Array.from({ length: count }, (_, map) => {
      const pixels = new ImageData(width, height);
      for (let pixel = 0; pixel < height * width; pixel++) {
        const level = 255 * Math.sqrt(Math.max(0, values[pixel * count + map]) / most);
        pixels.data.set([level, level, level, 255], 4 * pixel);
      }
      const tile = make("canvas", { width, height });
      tile.getContext("2d").putImageData(pixels, 0, 0);
      return tile;
    });
    const rows = Math.ceil(count / across);
    const canvas = make("canvas", { width: across * stepX - 2, height: rows * stepY - 2 });
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.fillStyle = "#808890"; // between maps
    const places = tiles.map((_, map) => [stepX * (map % across), stepY * Math.floor(map / across)]);
    for (const [x, y] of places) context.fillRect(x - 2, y - 2, stepX + 2, stepY + 2);
    tiles.forEach((tile, map) =>
      context.drawImage(tile, ...places[map], width * zoom, height * zoom));
    const at = ({ offsetX, offsetY }) => {
      const scale = canvas.width / canvas.clientWidth;
      const [column, row] = [offsetX * scale / stepX, offsetY * scale / stepY].map(Math.floor);
      return Math.min(count - 1, Math.max(0, row * across + column));
    };
    return { canvas, tiles, at };
  }

  // --- how a reader gives a picture ------------------------------------------------------------

  // Buttons, a file, a drop and a paste inside `root`. A picture that comes gets `use`d, with its
  // button where it came from one; what goes wrong is `refuse`d in one sentence.
  function intake(root, { use, refuse, begin, first }) {
    let turn = 0; // what is chosen later wins

    async function take(reading, button) {
      const mine = ++turn;
      const current = () => mine === turn;
      try {
        begin();
        const picture = await reading();
        if (current()) await use(picture, button, current);
      } catch (error) {
        if (!current()) return;
        if (!(error instanceof Refusal)) console.warn(error);
        refuse(error instanceof Refusal ? error.message
          : `This went wrong (${error.message}): load the page again.`);
      }
    }
    const takeFile = (file) => {
      if (file) return take(() => readFile(file));
      turn += 1;
      refuse("No file came with that. Save the picture first, then drop the file.");
    };

    for (const button of root.querySelectorAll(".net-choices button")) {
      button.addEventListener("click", () => take(() => read(button.querySelector("img").src), button));
    }
    root.querySelector("input[type=file]").addEventListener("change", ({ target }) => {
      if (target.files.length) takeFile(target.files[0]);
      target.value = ""; // the same file may be chosen again
    });
    for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
      root.addEventListener(name, (event) => {
        event.preventDefault();
        root.classList.toggle("net-over", over);
        if (name === "drop") takeFile(event.dataTransfer.files[0]);
      });
    }
    // A pasted picture is for what the reader sees.
    document.addEventListener("paste", ({ clipboardData }) => {
      const file = [...clipboardData?.files ?? []].find(({ type }) => type.startsWith("image/"));
      const { top, bottom } = root.getBoundingClientRect();
      if (file && (root.contains(document.activeElement) || top < innerHeight && bottom > 0)) {
        takeFile(file);
      }
    });

    // The first picture is taken when the reader comes near.
    new IntersectionObserver(([entry], observer) => {
      if (!entry.isIntersecting) return;
      observer.disconnect();
      if (turn === 0) first.click();
    }, { rootMargin: "300px" }).observe(root);
  }

  return { bars, draw, grid, intake, percent, proportions, resize, size };
})();
