// Keeps /stalls up to date. Its hash is in html.rs.
"use strict";
// Fetches the page anew and puts its parts in, so that nothing jumps: what is open stays open, what
// has the focus keeps it.
(() => {
  const EVERY = 2000;
  const LIMIT = 10000;
  const byId = (id) => document.getElementById(id);
  const button = byId("pause");
  const FOCUSABLE = "a[href], button, summary, [tabindex]";
  let paused = false;
  let said = byId("verdict").dataset.state;

  // Where the focus is: the how manieth in the nearest element with a name; a link, where it leads to.
  function focus() {
    const active = document.activeElement;
    const holder = active && active.closest("#main, #main [id]");
    if (!holder) return () => {};
    const all = (element) => [element, ...element.querySelectorAll(FOCUSABLE)];
    const to = active.getAttribute("href");
    const nth = all(holder).indexOf(active);
    return () => {
      const fresh = byId(holder.id) ? all(byId(holder.id)) : [];
      const same = fresh.filter((element) => to && element.getAttribute("href") === to);
      const target = same.length === 1 ? same[0] : fresh[nth];
      if (target) target.focus({ preventScroll: true });
    };
  }

  function replace(fresh) {
    const open = [...document.querySelectorAll("details[open]")].map((details) => details.id);
    const scrolled = [...document.querySelectorAll(".wide")].map((wide) => [wide.id, wide.scrollLeft]);
    const back = focus();
    const at = [window.scrollX, window.scrollY];
    for (const id of ["verdict", "main", "updated"]) {
      byId(id).replaceWith(document.adoptNode(fresh.getElementById(id)));
    }
    show();
    for (const id of open) {
      if (byId(id)) byId(id).open = true;
    }
    for (const [id, left] of scrolled) {
      if (byId(id)) byId(id).scrollLeft = left;
    }
    back();
    window.scrollTo(...at);
    document.title = fresh.title;
    // For those who listen: only what has changed, and no seconds that go on.
    const state = byId("verdict").dataset.state;
    if (state !== said) {
      said = state;
      byId("said").textContent = byId("verdict").querySelector(".sentence").textContent;
    }
  }

  function isBusy() {
    const selection = window.getSelection();
    return paused || document.hidden || (selection && !selection.isCollapsed);
  }

  async function refresh() {
    if (isBusy()) return;
    const line = document.querySelector(".updated");
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(LIMIT) });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      // Somebody may have begun to read meanwhile.
      if (!isBusy()) replace(fresh);
      line.classList.remove("failed");
    } catch {
      line.classList.add("failed");
      byId("updated").textContent = "no answer: the page is as it was";
    }
  }

  // A stall's report goes to the clipboard.
  const show = () => document.querySelectorAll("button.copy").forEach((copy) => (copy.hidden = false));
  async function copy(button) {
    let done = "Copied";
    try {
      const answer = await fetch(button.dataset.from, { cache: "no-store", signal: AbortSignal.timeout(LIMIT) });
      if (!answer.ok) throw new Error(String(answer.status));
      await navigator.clipboard.writeText(await answer.text());
    } catch {
      done = "Not copied";
    }
    button.textContent = done;
    byId("said").textContent = done;
    setTimeout(() => (button.textContent = "Copy"), EVERY);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button);
  });

  show();
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    if (!paused) refresh();
  });
  const loop = () => refresh().finally(() => setTimeout(loop, EVERY));
  setTimeout(loop, EVERY);
})();
