// Asks for an API key when the server wants one; resolves once the reader has given one.

import { apiKey } from "./api.js";
import { byId } from "./dom.js";

let asking = null;

/** The same question for all that wait for it. Rejects with `problem` when the reader closes the box. */
export function askForKey(problem) {
  asking ??= new Promise((resolve, reject) => {
    const [box, input] = [byId("key"), byId("key-value")];
    byId("key-reason").textContent = apiKey.get() ? `The key was not accepted. ${problem.detail}` : "The person who runs it gives keys.";
    input.value = "";
    box.returnValue = "";
    box.addEventListener("close", () => {
      asking = null;
      if (box.returnValue !== "ok" || !input.value.trim()) return reject(problem);
      apiKey.set(input.value);
      input.value = "";
      resolve();
    }, { once: true });
    box.showModal();
  });
  return asking;
}

/** Runs `call`; on 401 asks for a key and runs it again. */
export async function withKey(call) {
  for (;;) {
    try {
      return await call();
    } catch (problem) {
      if (problem.status !== 401) throw problem;
      await askForKey(problem);
    }
  }
}
