// What is wider than the page can be scrolled by the keyboard.
const reach = () => {
  for (const box of document.querySelectorAll(".table-wrapper, .highlight pre"))
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
};
addEventListener("DOMContentLoaded", reach);
addEventListener("resize", reach);
