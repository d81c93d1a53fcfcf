// A browser starts no Worker from file://. There, and only there, the search of the theme runs in a
// hidden frame instead (it looks for the name IFrameWorker), so that the site is searched without a
// server and without a network.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.ready = false;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      this.inside = this.frame.contentWindow;
      const frame = this.inside.document;
      frame.open();
      frame.write("<!doctype html><html><body></body></html>");
      frame.close();
      this.inside.postMessage = (data) => {
        setTimeout(() => this.dispatchEvent(new MessageEvent("message", { data })));
      };
      this.inside.importScripts = (...urls) => this.load(urls);
      this.load([url]).then(() => {
        this.ready = true;
        this.waiting.forEach((data) => this.deliver(data));
      });
    }

    // Load scripts one after the other.
    load(urls) {
      return urls.reduce((before, url) => before.then(() => this.script(url)), Promise.resolve());
    }

    script(url) {
      return new Promise((done, failed) => {
        const script = this.inside.document.createElement("script");
        script.src = url;
        script.onload = done;
        script.onerror = () => failed(new Error(`cannot load ${url}`));
        this.inside.document.body.appendChild(script);
      });
    }

    postMessage(data) {
      if (this.ready) this.deliver(data);
      else this.waiting.push(data);
    }

    deliver(data) {
      this.inside.dispatchEvent(new MessageEvent("message", { data, source: window }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
