// What the page sees of the inside of the network, by a socket of its own that is open only while something is shown.
// Events: "facts" (detail: the network's sizes and the prompt's pieces), "map", "neurons", "memory", "pace".

const FIRST_WAIT = 300; // ms before a new attempt
const LONGEST_WAIT = 3000;

export class Insight extends EventTarget {
  facts = null;
  #wishes = new Map(); // who -> what is to be watched
  #socket = null;
  #wait = FIRST_WAIT;
  #timer = 0;
  #waiting = null; // the newest message not yet shown

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => this.#tell());
  }

  /** `who` shows this now: {map}, {neurons}, {memory}, {pace}, or null for nothing any more. */
  want(who, wish) {
    if (wish) this.#wishes.set(who, wish);
    else this.#wishes.delete(who);
    this.#tell();
  }

  /** Call `act(detail)` at every event of this type; returns how to end it. */
  hear(type, act) {
    const listener = (event) => act(event.detail);
    this.addEventListener(type, listener);
    return () => this.removeEventListener(type, listener);
  }

  #tell() {
    const watch = document.hidden ? {} : Object.assign({}, ...this.#wishes.values());
    if (!Object.keys(watch).length) {
      clearTimeout(this.#timer);
      this.#socket?.close();
      this.#socket = null;
    } else if (this.#socket?.readyState === WebSocket.OPEN) this.#send({ watch });
    else if (!this.#socket) this.#connect();
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/inside`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#wait = FIRST_WAIT;
      this.#tell();
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#text(JSON.parse(data)) : this.#later(data));
    socket.onclose = () => {
      if (this.#socket !== socket) return; // closed on purpose
      this.#socket = null;
      this.#timer = setTimeout(() => this.#tell(), this.#wait);
      this.#wait = Math.min(this.#wait * 1.6, LONGEST_WAIT);
    };
    this.#socket = socket;
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #text(message) {
    if (!message.facts || JSON.stringify(message.facts) === JSON.stringify(this.facts)) return; // nothing is built anew
    this.facts = message.facts;
    this.#say("facts", message.facts);
  }

  /** Shown with the next picture of the screen, and acknowledged then. */
  #later(data) {
    const drawing = this.#waiting !== null;
    this.#waiting = [...(this.#waiting ?? []), data];
    if (!drawing) {
      requestAnimationFrame(() => {
        for (const message of this.#waiting.splice(0)) this.#show(message);
        this.#waiting = null;
      });
    }
  }

  #show(data) {
    const view = new DataView(data);
    const [number, length] = [view.getUint32(0, true), view.getUint32(4, true)];
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 8, length)));
    const start = 8 + length;
    if (head.map) {
      const { at, tokens, rows, columns } = head.map;
      this.#say("map", { ...head.map, shades: new Uint8Array(data, start + at, tokens * rows * columns) });
    }
    if (head.neurons) {
      const bands = ({ at, bands }) => new Float32Array(data, start + at, bands);
      this.#say("neurons", head.neurons.map((layer) => ({ ...layer, bands: bands(layer) })));
    }
    if (head.memory) this.#say("memory", head.memory);
    if (head.pace) this.#say("pace", head.pace);
    this.#send({ ack: number });
  }

  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
