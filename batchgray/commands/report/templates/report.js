// The failures: a filter over all of them, and a table that holds only as many as a browser draws at once.
"use strict";

(() => {
  let words = "";

  function begin() {
    const data = document.getElementById("failures-data");
    const form = document.querySelector(".filter");
    if (!data || !form.hidden) return; // none, or begun already
    const failures = JSON.parse(data.textContent);
    const haystack = failures.map((failure) => failure.join("\n").toLowerCase());
    const input = document.getElementById("filter");
    const matches = document.getElementById("matches");
    const rows = document.getElementById("rows");
    const more = document.getElementById("more");
    const step = Number(more.dataset.rows);
    let found = [];

    function cell(text, isolated) {
      const element = document.createElement("td");
      const inside = isolated ? element.appendChild(document.createElement("bdi")) : element;
      inside.textContent = text;
      return element;
    }

    function row(failure) {
      const element = document.createElement("tr");
      element.append(cell(failure[0], true), cell(failure[1], false));
      return element;
    }

    function extend() {
      const shown = rows.childElementCount;
      rows.append(...found.slice(shown, shown + step).map((index) => row(failures[index])));
      const left = found.length - rows.childElementCount;
      more.hidden = left === 0;
      more.textContent = `Show ${Math.min(step, left).toLocaleString("en")} more of ${left.toLocaleString("en")}`;
    }

    function filter() {
      words = input.value;
      const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
      found = [];
      haystack.forEach((text, index) => {
        if (wanted.every((word) => text.includes(word))) found.push(index);
      });
      matches.textContent = wanted.length
        ? `${found.length.toLocaleString("en")} of ${failures.length.toLocaleString("en")}`
        : "";
      rows.replaceChildren();
      extend();
    }

    input.addEventListener("input", () => {
      filter();
      history.replaceState(null, "", input.value ? `#filter=${encodeURIComponent(input.value)}` : "#failures");
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    more.addEventListener("click", extend);
    form.hidden = false;
    input.value = words;
    filter();
  }

  function readFragment() {
    const asked = /^#filter=(.*)$/.exec(location.hash);
    const input = document.getElementById("filter");
    if (!asked || !input) return;
    try {
      input.value = decodeURIComponent(asked[1]);
    } catch {
      input.value = asked[1]; // a stray percent sign
    }
    input.dispatchEvent(new Event("input"));
    document.getElementById("failures").scrollIntoView();
  }

  addEventListener("hashchange", readFragment);
  addEventListener("failures", begin); // a live page has put in others
  begin();
  readFragment();
})();
