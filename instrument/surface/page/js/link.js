// The connection to the instrument: comes back by itself, sends at most once a picture, acknowledges what was shown.
// Calls handlers.open, .closed, .structure(params), .numbers([[place, value]...]), .words({id: text}), .picture(bytes), .status, .error.

const FIRST_WAIT = 300; // ms before the first new attempt
const LONGEST_WAIT = 3000;

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

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#wait = FIRST_WAIT;
      this.#handlers.open();
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#text(JSON.parse(data)) : this.#binary(data));
    socket.onclose = () => {
      this.#socket = null;
      this.#inbox = [];
      this.#sets.clear(); // what could not be sent is not sent later, when the hand is elsewhere
      this.#triggers = [];
      this.#handlers.closed();
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
    if ("status" in message) this.#handlers.status(message.status);
    if ("error" in message) this.#handlers.error(message.error);
  }

  #binary(data) {
    this.#inbox.push(data);
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
    for (const data of this.#inbox.splice(0)) {
      const view = new DataView(data);
      const [number, structure, count, bytes] = [
        view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true), view.getUint32(8, true),
      ];
      const first = 12 + 2 * (count + (count & 1));
      if (structure === this.#structure && count) {
        const numbers = [];
        for (let i = 0; i < count; i++) {
          numbers.push([view.getUint16(12 + 2 * i, true), view.getFloat32(first + 4 * i, true)]);
        }
        this.#handlers.numbers(numbers);
      }
      const done = () => this.#send({ ack: number });
      if (bytes) this.#handlers.picture(new Uint8Array(data, first + 4 * count, bytes)).then(done, done);
      else done();
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
