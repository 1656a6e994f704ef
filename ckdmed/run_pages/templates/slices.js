"use strict";
(() => {
  const data = JSON.parse(document.getElementById("slices-data").textContent);
  const find = (name) => document.getElementById("slice-" + name);
  const stage = document.querySelector("#slices .stage");
  const number = find("number"), overlay = find("overlay"), strength = find("strength");
  let at = Number(document.getElementById("slices").dataset.first);
  const show = () => {
    find("image").src = "data:image/jpeg;base64," + data.frames[at];
    const mask = data.masks[at];
    if (mask && (!overlay || overlay.checked)) {
      find("mask").src = "data:image/png;base64," + mask;
      find("mask").style.opacity = strength ? strength.value / 100 : 1;
    } else {
      find("mask").removeAttribute("src");
    }
    find("caption").textContent = data.captions[at] || "";
    if (number) number.value = at;
  };
  const go = (to) => {
    at = Math.min(Math.max(to, 0), data.frames.length - 1);
    show();
  };
  if (number) number.addEventListener("input", () => go(Number(number.value)));
  if (overlay) overlay.addEventListener("change", show);
  if (strength) strength.addEventListener("input", show);
  if (data.frames.length > 1) {
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      go(at + Math.sign(event.deltaY));
    }, { passive: false });
    document.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
      if (!step || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
      event.preventDefault();
      go(at + step);
    });
  }
  show();
})();
