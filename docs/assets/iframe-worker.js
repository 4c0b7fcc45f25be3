// The search of the site runs in a worker, which browsers refuse to pages that are opened from a file. There the worker's
// script runs in a hidden frame instead, under the same interface.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      const start = () => {
        const frame = document.createElement("iframe");
        frame.hidden = true;
        document.body.append(frame);
        const inside = frame.contentWindow;
        inside.postMessage = (data) => {
          const event = new MessageEvent("message", { data });
          this.dispatchEvent(event);
          if (this.onmessage) this.onmessage(event);
        };
        const script = frame.contentDocument.createElement("script");
        script.src = url;
        script.onload = () => {
          this.inside = inside;
          for (const data of this.waiting.splice(0)) this.postMessage(data);
        };
        frame.contentDocument.body.append(script);
      };
      if (document.body) start();
      else document.addEventListener("DOMContentLoaded", start);
    }
    postMessage(data) {
      if (this.inside) this.inside.dispatchEvent(new this.inside.MessageEvent("message", { data }));
      else this.waiting.push(data);
    }
    terminate() {}
  };
}
