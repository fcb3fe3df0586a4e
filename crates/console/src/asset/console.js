// What pages do beyond links and forms: they are looked at again when something commits, and have keys.
"use strict";
(() => {
  const $ = (selector) => document.querySelector(selector);
  const data = document.body.dataset;
  const topics = (data.topics || "").split(" ").filter(Boolean);
  const live = $("#live");
  const lost = $("#lost");
  const say = (text) => { if (lost) { lost.textContent = text; lost.hidden = !text; } };
  const PAUSE = 250, POLL = 10000;
  let stream = null, due = 0, shown = Date.now(), polling = 0, last = "", broken = false;

  const typing = (at) => /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName);
  // A page in which somebody types, or has ticked something, is left alone.
  const busy = () => {
    const at = document.activeElement;
    if (at && at.closest("#live") && typing(at)) return true;
    return !!(live && live.querySelector("input[type=checkbox]:checked"));
  };
  const refresh = () => {
    if (due || !live || document.hidden) return;
    const wait = Math.max(0, shown + PAUSE - Date.now());
    due = setTimeout(() => {
      due = 0;
      shown = Date.now();
      if (busy() || !window.htmx) return;
      // Below the top of a list nothing moves: what is newer waits behind a word.
      const rows = window.scrollY > 150 && live.querySelector("[data-newest]");
      if (!rows) { window.htmx.trigger(live, "refresh"); return; }
      const to = new URL(location.href);
      to.searchParams.set("upto", rows.dataset.newest);
      const how = { source: live, target: live, select: "#live", swap: "outerMorph" };
      window.htmx.ajax("GET", to.pathname + to.search, how);
    }, wait);
  };
  const poll = (on) => {
    clearInterval(polling);
    polling = on ? setInterval(refresh, POLL) : 0;
  };
  const close = () => { if (stream) { stream.close(); stream = null; } };
  const open = () => {
    if (stream || !topics.length || document.hidden || !window.EventSource) return;
    const { about } = data;
    stream = new EventSource("/console/feed?topics=" + topics.join(",") +
      (about ? "&id=" + encodeURIComponent(about) : "") + (last ? "&after=" + last : ""));
    // What was committed without a stream is not told again if none had come before.
    stream.onopen = () => { say(""); poll(false); if (broken) { broken = false; refresh(); } };
    const heard = (event) => { last = event.lastEventId; refresh(); };
    stream.addEventListener("commit", heard);
    stream.addEventListener("reload", heard);
    stream.onerror = () => {
      broken = true;
      const age = Math.round((Date.now() - shown) / 1000);
      say("The connection to the server is lost; what you see is " + age + " s old. Trying again.");
      poll(true);
      if (stream && stream.readyState === 2) { close(); setTimeout(open, POLL); }
    };
  };
  // A browser holds few connections: a page that nobody sees needs none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close(); else { open(); refresh(); }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  open();

  // What is shown anew is made for everybody: the token of its forms is this page's.
  document.addEventListener("submit", (event) => {
    const token = event.target.elements.csrf;
    if (token) token.value = data.csrf;
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-copy]");
    if (link && navigator.clipboard) {
      event.preventDefault();
      navigator.clipboard.writeText(link.href).then(() => { link.textContent = "Copied"; });
    }
    const all = event.target.closest("[data-all]");
    if (all) {
      all.closest("form").querySelectorAll("input[name=id]").forEach((box) => { box.checked = all.checked; });
    }
  });

  // Keys; none of them while somebody types.
  const KEYS = "nightbell-keys";
  const off = () => { try { return localStorage.getItem(KEYS) === "off"; } catch { return false; } };
  let before = "", at = -1;
  const rows = () => Array.from(document.querySelectorAll("#live tbody tr, #live .now li"));
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    at = Math.min(all.length - 1, Math.max(0, at + by));
    const link = all[at].querySelector("a");
    if (link) link.focus();
  };
  // The list that led here, for the way to its neighbours. A private window may keep nothing.
  const here = location.pathname;
  let list = [];
  try {
    list = (sessionStorage.list || "").split(" ");
    if (!list.includes(here)) {
      const link = (row) => row.querySelector("a.id") || row.querySelector("a") || {};
      sessionStorage.list = rows().map((row) => link(row).pathname).join(" ");
    }
  } catch {}
  // From the zone that was chosen to UTC and back; where none is known, to the page that asks for one.
  const ZONE = "nightbell-zone";
  const turnZone = () => {
    const { in: zone, csrf } = data;
    let other = "";
    try {
      if (zone) localStorage.setItem(ZONE, zone);
      else other = localStorage.getItem(ZONE) || Intl.DateTimeFormat().resolvedOptions().timeZone;
    } catch {}
    if (!zone && (!other || other === "UTC")) { location.href = "/console/zone"; return; }
    const body = new URLSearchParams({ zone: other, csrf });
    fetch("/console/zone", { method: "POST", body, redirect: "manual" })
      .then(() => location.reload(), () => { location.href = "/console/zone"; });
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || off()) return;
    if (typing(event.target)) return;
    const key = event.key, went = before === "g";
    before = key;
    if (went) {
      const link = $('[data-go="' + CSS.escape(key) + '"]');
      before = "";
      if (link) link.click();
      return;
    }
    if (key === "/") { event.preventDefault(); $("#find").focus(); }
    else if (key === "?") location.href = "/console/help";
    else if (key === "z") turnZone();
    else if (/^[[\]]$/.test(key) && list.includes(here)) {
      const to = list[list.indexOf(here) + (key === "]" ? 1 : -1)];
      if (to) location.href = to;
    }
    else if (key === "j") move(1);
    else if (key === "k") move(-1);
    else if (key === "x") {
      const box = rows()[at] && rows()[at].querySelector("input[type=checkbox]");
      if (box) box.click();
    } else if (/^[ase]$/.test(key)) {
      const held = '[data-key="' + key + '"] button';
      const button = (rows()[at] && rows()[at].querySelector(held)) || $(held);
      const folded = button && button.closest("details");
      if (folded) folded.open = true;
      if (button) button.focus();
    } else if (key === ".") {
      const acts = $("#live .acts button, #live .acts a");
      if (acts) acts.focus();
    } else if (key === "o") {
      const row = rows()[at];
      const panel = (row && row.querySelector("summary")) || $("#live summary");
      if (panel) { panel.parentElement.open = !panel.parentElement.open; panel.focus(); }
    }
  });
  const field = $("[data-keys]");
  if (field) {
    field.checked = !off();
    field.addEventListener("change", () => {
      try { localStorage.setItem(KEYS, field.checked ? "on" : "off"); } catch {}
    });
  }
  // What an act would do is read before its button is pressed.
  if (here === "/console/confirm") {
    const heading = $("h1");
    heading.tabIndex = -1;
    heading.focus();
  }
  // The zone of this browser, offered on the page that chooses one.
  const zone = $("[data-zone]");
  if (zone && !zone.value) zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
})();
