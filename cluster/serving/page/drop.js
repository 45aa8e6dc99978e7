// A file dropped on the search box, such as a photograph: what is like it?

/** Calls `onFile` with { name, isImage, data }, the data in base64. */
export function takeFiles(form, onFile) {
  form.addEventListener("dragover", (event) => event.preventDefault()); // otherwise the browser opens what is dropped
  form.addEventListener("drop", async (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) onFile({ name: file.name, isImage: file.type.startsWith("image/"), data: await base64Of(file) });
  });
}

function base64Of(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.split(",")[1] ?? ""));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}
