// A live page: asks for a later one, and puts in what is new of it. What the reader holds in hand stays as it is.

(() => {
  const PAUSE = 2000;
  const connection = document.getElementById("connection");
  let version = document.body.dataset.version;

  function tell(words, lost) {
    connection.textContent = words;
    document.body.classList.toggle("lost", lost);
  }

  function replace(old, later) {
    if (old.outerHTML === later.outerHTML || old.contains(document.activeElement)) return;
    old.replaceWith(document.adoptNode(later));
  }

  function take(text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    version = page.body.dataset.version;
    for (const part of ["header h1", "header time", "header nav"]) {
      replace(document.querySelector(part), page.querySelector(part));
    }
    const main = document.querySelector("main");
    const old = new Map([...main.children].map((section) => [section.dataset.part, section]));
    for (const later of [...page.querySelector("main").children]) {
      const before = old.get(later.dataset.part);
      old.delete(later.dataset.part);
      if (before) {
        replace(before, later);
      } else {
        main.insertBefore(document.adoptNode(later), main.querySelector('[data-part="details"]'));
      }
    }
    for (const gone of old.values()) gone.remove();
    document.title = page.title;
    dispatchEvent(new Event("failures"));
  }

  async function ask() {
    try {
      const answer = await fetch(`/?after=${encodeURIComponent(version)}`);
      if (answer.status === 200) take(await answer.text());
      else if (answer.status !== 204) throw new Error(answer.statusText);
      tell("live", false);
    } catch {
      tell("not connected any more", true);
    }
    setTimeout(ask, PAUSE);
  }

  addEventListener("error", (event) => {
    if (event.target instanceof HTMLImageElement) {
      const words = document.createElement("span");
      words.className = "no-picture";
      words.textContent = "can't be drawn";
      event.target.replaceWith(words);
    }
  }, true);
  setTimeout(ask, PAUSE);
})();
