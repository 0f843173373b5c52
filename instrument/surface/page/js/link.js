// The connection to the instrument: comes back by itself, sends at most once a picture, acknowledges what was shown.
// Calls handlers.open, .closed, .structure(params), .numbers(places, values), .moving(places, values), .words({id: text}),
// .picture(bytes), .play(changed state), .status, .error.

const FIRST_WAIT = 300; // ms before the first new attempt
const LONGEST_WAIT = 3000;
const HEAD = 16; // bytes before the places of a binary message

export class Link {
  #handlers;
  #socket = null;
  #wait = FIRST_WAIT;
  #structure = -1;
  #sets = new Map(); // id -> value, only the latest
  #triggers = [];
  #scheduled = false;
  #inbox = []; // binary messages not yet shown

  constructor(handlers) {
    this.#handlers = handlers;
    this.#connect();
  }

  set(id, value) {
    this.#sets.set(id, value);
    this.#schedule();
  }

  trigger(id) {
    this.#triggers.push(id);
    this.#schedule();
  }

  learn(id) {
    this.#send({ learn: id });
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#wait = FIRST_WAIT;
      this.#handlers.open();
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#text(JSON.parse(data)) : this.#binary(data));
    socket.onclose = ({ code }) => {
      this.#socket = null;
      this.#inbox = [];
      this.#sets.clear(); // what could not be sent is not sent later, when the hand is elsewhere
      this.#triggers = [];
      this.#handlers.closed(code);
      setTimeout(() => this.#connect(), this.#wait);
      this.#wait = Math.min(this.#wait * 1.6, LONGEST_WAIT);
    };
    this.#socket = socket;
  }

  #text(message) {
    if ("params" in message) {
      this.#show(); // what came before belongs to the structure before
      this.#structure = message.structure & 0xffff;
      this.#handlers.structure(message.params);
    }
    if ("values" in message) this.#handlers.words(message.values);
    if ("play" in message) this.#handlers.play(message.play);
    if ("status" in message) this.#handlers.status(message.status);
    if ("error" in message) this.#handlers.error(message.error);
  }

  /** A picture is decoded at once, values wait for the next one drawn; when both are shown the message is acknowledged. */
  #binary(data) {
    const view = new DataView(data);
    const number = view.getUint32(0, true);
    const [structure, count, moving] = [4, 6, 8].map((at) => view.getUint16(at, true));
    const bytes = view.getUint32(12, true);
    const all = count + moving;
    const first = HEAD + 2 * (all + (all & 1)); // where the values begin
    const places = new Uint16Array(data, HEAD, all);
    const values = new Float32Array(data, first, all);
    let left = bytes ? 2 : 1;
    const done = () => --left || this.#send({ ack: number });
    this.#inbox.push({ structure, count, places, values, done });
    if (bytes) this.#handlers.picture(new Uint8Array(data, first + 4 * all, bytes)).then(done, done);
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#show();
      this.#flush();
    });
  }

  #show() {
    for (const { structure, count, places, values, done } of this.#inbox.splice(0)) {
      if (structure === this.#structure && values.length) {
        this.#handlers.numbers(places.subarray(0, count), values.subarray(0, count));
        this.#handlers.moving(places.subarray(count), values.subarray(count));
      }
      done();
    }
  }

  #flush() {
    if (!this.#sets.size && !this.#triggers.length) return;
    const message = {};
    if (this.#sets.size) message.set = [...this.#sets];
    if (this.#triggers.length) message.trigger = this.#triggers;
    this.#send(message);
    this.#sets.clear();
    this.#triggers = [];
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}
