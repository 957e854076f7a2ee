"use strict";
/* Without this the page is complete; with it, tips come at once and tables can be sorted and
   filtered. */
(function () {
  var box = document.createElement("div");
  box.className = "tip";
  box.setAttribute("role", "status");
  document.body.appendChild(box);

  document.querySelectorAll(".mark > title").forEach(function (title) {
    title.parentNode.setAttribute("data-tip", title.textContent);
    title.remove();
  });

  function show(event) {
    var mark = event.target.closest ? event.target.closest("[data-tip]") : null;
    if (!mark) {
      box.classList.remove("shown");
      return;
    }
    box.textContent = mark.getAttribute("data-tip");
    box.classList.add("shown");
    var wide = box.offsetWidth, high = box.offsetHeight;
    var x = Math.min(event.clientX + 14, window.innerWidth - wide - 8);
    var y = event.clientY + 18;
    if (y + high > window.innerHeight - 8) { y = event.clientY - high - 12; }
    box.style.left = Math.max(8, x) + "px";
    box.style.top = Math.max(8, y) + "px";
  }
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", function () { box.classList.remove("shown"); }, true);

  function value(cell) {
    var number = cell.getAttribute("data-n");
    return number === null ? cell.textContent.trim().toLowerCase() : parseFloat(number);
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    var body = table.tBodies[0];
    table.querySelectorAll("thead tr:last-child th").forEach(function (head) {
      var button = document.createElement("button");
      button.type = "button";
      while (head.firstChild) { button.appendChild(head.firstChild); }
      head.appendChild(button);
      button.addEventListener("click", function () {
        var up = head.getAttribute("aria-sort") === "descending";
        var at = head.cellIndex;
        Array.from(body.rows).sort(function (a, b) {
          var p = value(a.cells[at]), q = value(b.cells[at]);
          return (p < q ? -1 : p > q ? 1 : 0) * (up ? 1 : -1);
        }).forEach(function (row) { body.appendChild(row); });
        table.querySelectorAll("th[aria-sort]").forEach(function (other) {
          other.removeAttribute("aria-sort");
        });
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
      });
    });
  });

  /* Long tables can be filtered: a row stays that has all the words, in any case. */
  document.querySelectorAll("table.sortable").forEach(function (table) {
    var body = table.tBodies[0];
    if (body.rows.length < 6) { return; }
    var line = document.createElement("label"), told = document.createElement("span");
    var input = document.createElement("input");
    line.className = "filter";
    input.type = "search";
    input.placeholder = "filter";
    input.setAttribute("aria-label", "filter the rows");
    line.append(input, told);
    table.closest(".scroll").before(line);
    input.addEventListener("input", function () {
      var words = input.value.toLowerCase().split(/\s+/).filter(Boolean), n = 0;
      Array.from(body.rows).forEach(function (row) {
        var text = row.textContent.toLowerCase();
        row.hidden = !words.every(function (word) { return text.includes(word); });
        n += !row.hidden;
      });
      told.textContent = words.length ? n + " of " + body.rows.length : "";
    });
  });

  /* The table of contents says where the reader is. */
  var links = {};
  document.querySelectorAll("nav.contents a").forEach(function (link) {
    links[link.getAttribute("href").slice(1)] = link;
  });
  if ("IntersectionObserver" in window) {
    var observer = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        if (!entry.isIntersecting) { return; }
        Object.keys(links).forEach(function (key) { links[key].classList.remove("here"); });
        var link = links[entry.target.id];
        if (link) { link.classList.add("here"); }
      });
    }, { rootMargin: "0px 0px -75% 0px" });
    document.querySelectorAll("main section[id]").forEach(function (section) {
      observer.observe(section);
    });
  }
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (d) { d.open = true; });
  });
})();
