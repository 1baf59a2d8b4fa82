// A click on a time or a word plays from there. Arrow keys walk through the words; Enter plays.
const player = () => document.querySelector("#player audio");

function playFrom(place) {
  const audio = player();
  if (!audio) return;
  audio.currentTime = Number(place.dataset.start);
  audio.play();
}

element.addEventListener("click", (event) => {
  const place = event.target.closest("[data-start]");
  if (place) playFrom(place);
});

element.addEventListener("keydown", (event) => {
  const place = event.target.closest("[data-start]");
  const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  if (!place) return;
  if (step) {
    const isRightToLeft = getComputedStyle(place).direction === "rtl" && event.key.match(/Left|Right/);
    const all = [...place.closest(".cues").querySelectorAll("[data-start]")];
    all[all.indexOf(place) + (isRightToLeft ? -step : step)]?.focus();
    event.preventDefault();
  } else if (event.key === "Enter" && place.matches(".word")) {
    playFrom(place);
  }
});

// the word that is heard is shown
document.addEventListener("timeupdate", (event) => {
  if (event.target !== player()) return;
  for (const cues of element.querySelectorAll(".cues")) {
    const words = [...cues.querySelectorAll(".word")];
    const heard = words.findLast((word) => Number(word.dataset.start) <= event.target.currentTime);
    for (const word of cues.querySelectorAll(".heard")) word.classList.remove("heard");
    if (!event.target.paused) heard?.classList.add("heard");
  }
}, true);
