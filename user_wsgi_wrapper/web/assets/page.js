"use strict";

// A reload under way: look until there is an outcome, then show it.
const outcome = document.getElementById("outcome");
if (outcome && "running" in outcome.dataset) {
  const look = async () => {
    try {
      const answer = await fetch(outcome.dataset.url, { headers: { Accept: "application/json" } });
      if (!answer.ok) { location.reload(); return; }
      const told = await answer.json();
      if (told.state === "running") { setTimeout(look, 500); return; }
      show(told);
    } catch { setTimeout(look, 2000); }
  };
  const show = (told) => {
    const good = told.state === "done";
    const notice = document.createElement("p");
    notice.className = "notice " + (good ? "good" : "bad");
    notice.textContent = (good ? "Done" : "Not reloaded") + " (" + told.when + ")";
    const text = document.createElement("pre");
    text.tabIndex = 0;
    text.setAttribute("aria-label", "What the reload said");
    text.textContent = told.text;
    outcome.replaceChildren(notice, text);
    const button = document.querySelector("button[disabled]");
    if (button) button.disabled = false;
  };
  setTimeout(look, 300);
}

// The live tail.
const lines = document.getElementById("lines");
if (lines && window.EventSource) {
  const most = 2000;
  const live = document.getElementById("live");
  const pause = document.getElementById("pause");
  const only = document.getElementById("only");
  let source = null;
  let failures = 0;

  const say = (text, on) => {
    if (live.textContent !== text) live.textContent = text;
    live.classList.toggle("on", on);
  };
  const isAtEnd = () => lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40;
  const filter = (span) => { span.hidden = only.value !== "" && !span.textContent.includes(only.value); };
  const add = (texts) => {
    const follows = isAtEnd();
    for (const text of texts) {
      const span = document.createElement("span");
      span.textContent = text + "\n";
      filter(span);
      lines.append(span);
    }
    while (lines.childElementCount > most) lines.firstElementChild.remove();
    if (follows) lines.scrollTop = lines.scrollHeight;
  };
  const start = () => {
    source = new EventSource(lines.dataset.url);
    source.addEventListener("begin", () => { failures = 0; lines.replaceChildren(); say("live", true); });
    source.addEventListener("over", () => { stop(); say("You were logged out.", false); });
    source.addEventListener("gone", () => { stop(); say("There is no such log yet.", false); });
    source.onmessage = (event) => add(event.data.split("\n"));
    source.onerror = () => {
      const isOver = source.readyState === EventSource.CLOSED;
      failures += 1;
      if (!isOver) { say("connecting again …", false); return; }
      stop();
      if (failures < 5) setTimeout(start, 5000);
      say("Not live: you were logged out, or too many live tails are open.", false);
    };
  };
  const stop = () => { if (source) source.close(); source = null; };

  lines.scrollTop = lines.scrollHeight;
  pause.hidden = only.hidden = false;
  pause.addEventListener("click", () => {
    const pauses = pause.getAttribute("aria-pressed") === "false";
    pause.setAttribute("aria-pressed", String(pauses));
    if (pauses) { stop(); say("paused", false); } else { start(); }
  });
  only.addEventListener("input", () => { for (const span of lines.children) filter(span); });
  start();
}
