// The pictures of items, over their jackets, where the catalogue has them.

import * as api from "./api.js";

let hasImages = null; // a promise, once it was asked

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    show(target);
  }
}, { rootMargin: "200px" });

/** Shows the picture of an item on its `cover` once that is in sight, if there is one. */
export function addPoster(cover, { item_id: id }) {
  cover.dataset.poster = id;
  seen.observe(cover);
  return cover;
}

async function show(cover) {
  hasImages ??= api.models().then((info) => info.has_images, () => false);
  if (!(await hasImages)) return;
  const image = document.createElement("img");
  try {
    image.src = URL.createObjectURL(await api.poster(cover.dataset.poster));
    await image.decode();
  } catch {
    return; // the jacket stays
  } finally {
    URL.revokeObjectURL(image.src);
  }
  Object.assign(image, { alt: "", className: "poster" });
  cover.append(image);
}
