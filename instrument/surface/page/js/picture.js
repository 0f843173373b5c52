// The live picture. Only the newest is decoded; one that comes while another is being decoded waits, an older one waiting is passed over.

export class Picture {
  #canvas;
  #draw;
  #busy = false;
  #next = null;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#draw = canvas.getContext("bitmaprenderer");
  }

  /** JPEG bytes; resolves when they are on the screen or passed over. */
  async show(bytes) {
    if (this.#busy) {
      this.#next = bytes;
      return;
    }
    this.#busy = true;
    try {
      for (let data = bytes; data; data = this.#next) {
        this.#next = null;
        const bitmap = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
        if (this.#canvas.width !== bitmap.width || this.#canvas.height !== bitmap.height) {
          this.#canvas.width = bitmap.width;
          this.#canvas.height = bitmap.height;
        }
        this.#draw.transferFromImageBitmap(bitmap);
      }
    } finally {
      this.#busy = false;
    }
  }
}
