// Draws the plots and follows the live stream. All else works without it.
// What visitors and senders choose is set as text, never as markup.
"use strict";
(() => {
	const body = document.body;
	const base = body.dataset.base || "./";

	// ---- Plots ----------------------------------------------------------
	const plots = [];

	function colour(name) {
		return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
	}

	// short writes an axis label: 12 000 as 12k.
	function short(v) {
		if (v === null || v === undefined) return "";
		const a = Math.abs(v);
		if (a >= 1e9) return +(v / 1e9).toPrecision(3) + "G";
		if (a >= 1e6) return +(v / 1e6).toPrecision(3) + "M";
		if (a >= 1e4) return +(v / 1e3).toPrecision(3) + "k";
		return String(+v.toPrecision(6));
	}

	// ticks are the texts of the time axis: [least step, text, with a new year,
	// month, day, hour, minute, second].
	const ticks = [
		[3600 * 24 * 365, "{YYYY}", null, null, null, null, null, null, 1],
		[3600 * 24 * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
		[3600 * 24, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
		[60, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
	];

	// around is the range of an axis with one point: a step to either side.
	function around(data) {
		const step = { hour: 3600, day: 86400, month: 30 * 86400 }[data.step] || 86400;
		return [data.x[0] - step, data.x[0] + step];
	}

	function options(data, box) {
		const single = data.series.length < 2;
		const grid = { stroke: colour("--line-soft"), width: 1 };
		const axis = { stroke: colour("--muted"), grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
		return {
			width: Math.max(box.clientWidth, 200),
			height: 240,
			tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), data.tz || "UTC"),
			cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
			legend: { live: true },
			scales: { x: { range: (u, lo, hi) => (data.x.length === 1 ? around(data) : [lo, hi]) }, y: { range: (u, lo, hi) => [Math.min(0, lo || 0), hi > 0 ? hi * 1.08 : (lo < 0 ? 0 : 1)] } },
			axes: [
				Object.assign({ space: 60, size: 40, values: ticks }, axis),
				Object.assign({ size: 52, values: (u, vals) => vals.map(short) }, axis),
			],
			series: [
				{ label: "", value: (u, v, s, i) => (i === null || i === undefined ? "" : data.labels[i]) },
			].concat(data.series.map((s, i) => ({
				label: s.label || data.title,
				stroke: colour("--series-" + (i % 5 + 1)),
				width: i === 0 || !single ? 2 : 1.5,
				fill: single ? colour("--accent-soft") : undefined,
				dash: i > 0 ? [[], [6, 4], [2, 3], [8, 3, 2, 3], [1, 4]][i % 5] : undefined,
				points: { show: data.x.length < 40, size: 5 },
				value: (u, v, si, j) => (j === null || j === undefined ? "" : s.texts[j] + (data.unit ? " " + data.unit : "")),
			}))),
		};
	}

	function draw(figure) {
		const source = figure.querySelector("script[data-chart]");
		const box = figure.querySelector("[data-canvas]");
		if (!source || !box || typeof uPlot === "undefined") return;
		let data;
		try { data = JSON.parse(source.textContent); } catch (e) { return; }
		if (!data.x || !data.x.length || !data.series || !data.series.length) return;
		box.textContent = "";
		box.classList.add("drawn");
		const values = [data.x].concat(data.series.map((s) => s.points));
		const plot = new uPlot(options(data, box), values, box);
		// Long names are cut by the style sheet.
		box.querySelectorAll(".u-legend .u-label").forEach((label) => { label.title = label.textContent; });
		plots.push({ figure, box, plot });
		figure.dataset.drawn = "yes";
	}

	function redraw() {
		const old = plots.splice(0);
		old.forEach((p) => { p.plot.destroy(); });
		document.querySelectorAll("[data-plot]").forEach(draw);
	}

	if (document.querySelector("[data-plot]")) {
		redraw();
		matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
		if ("ResizeObserver" in window) {
			new ResizeObserver(() => {
				plots.forEach((p) => {
					const width = Math.max(p.box.clientWidth, 200);
					if (p.plot.width !== width) p.plot.setSize({ width, height: 240 });
				});
			}).observe(document.getElementById("main"));
		}
	}

	// ---- Live stream ----------------------------------------------------
	const list = document.getElementById("stream");
	const state = document.getElementById("live-state");
	const pause = document.getElementById("live-pause");
	const most = 50;
	let source = null;
	let paused = false;
	let waiting = [];
	let last = list ? Number(list.dataset.last) || 0 : 0;

	function say(name, text) {
		if (state.dataset.liveState === name) return;
		state.dataset.liveState = name;
		state.textContent = text;
	}

	function part(tag, name, text) {
		const el = document.createElement(tag);
		if (name) el.className = name;
		el.textContent = text;
		return el;
	}

	const words = /^[a-z_]+$/; // our own names only become classes

	function line(e) {
		const li = document.createElement("li");
		li.dataset.seq = String(e.seq);
		li.className = (words.test(e.outcome) ? e.outcome : "") + " fresh";
		const time = part("time", "", e.clock);
		time.dateTime = e.time;
		const a = part("a", "", e.words);
		a.append(part("span", "vh", ", entry " + e.seq));
		a.href = base + e.path;
		li.append(time, " ", a);
		if (e.status) {
			const tag = part("span", "tag" + (words.test(e.status) ? " " + e.status : ""), e.status);
			tag.dataset.status = e.status;
			li.append(" ", tag);
		}
		if (e.said) {
			const said = part("span", "said", "sent as ");
			said.append(part("q", "", e.said));
			said.dataset.said = e.said;
			li.append(" ", said);
		}
		if (e.payout) li.append(" ", part("span", "amount", e.payout));
		if (e.test) li.append(" ", part("span", "tag", "test"));
		li.append(" ", part("span", "where", [e.campaign, e.event, e.route].filter(Boolean).join(" · ")));
		if (e.detail) li.append(" ", part("span", "detail", e.detail));
		return li;
	}

	function show(e) {
		if (e.seq <= last) return;
		last = e.seq;
		list.prepend(line(e));
		while (list.children.length > most) list.lastElementChild.remove();
		document.getElementById("stream-empty").hidden = true;
		refreshSoon();
	}

	function follow() {
		const url = new URL(list.dataset.live, location.href);
		if (body.dataset.tz) url.searchParams.set("tz", body.dataset.tz);
		if (last) url.searchParams.set("after", String(last));
		source = new EventSource(url);
		source.addEventListener("open", () => say("on", "Live"));
		source.addEventListener("error", () => {
			say("lost", "Connecting again");
			// A refusal ends it for good, a cut connection does not.
			if (source.readyState === EventSource.CLOSED) setTimeout(follow, 10000);
		});
		source.addEventListener("entry", (m) => {
			let e;
			try { e = JSON.parse(m.data); } catch (err) { return; }
			if (paused) {
				waiting.push(e);
				waiting = waiting.slice(-most);
			} else {
				show(e);
			}
		});
	}

	// The figures come from the server: they are counted in one place only.
	let timer = 0;
	function refreshSoon() {
		if (!timer) timer = setTimeout(refresh, 1500);
	}
	async function refresh() {
		timer = 0;
		try {
			const res = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
			if (!res.ok) return;
			const page = new DOMParser().parseFromString(await res.text(), "text/html");
			["figures", "until", "waiting"].forEach((id) => {
				const from = page.getElementById(id);
				const to = document.getElementById(id);
				if (from && to) to.replaceWith(document.importNode(from, true));
			});
		} catch (e) { /* the next one may work */ }
	}

	if (list && "EventSource" in window) {
		follow();
		pause.hidden = false;
		pause.addEventListener("click", () => {
			paused = !paused;
			pause.setAttribute("aria-pressed", String(paused));
			pause.textContent = paused ? "Go on" : "Pause";
			if (!paused) waiting.splice(0).forEach(show);
		});
		setInterval(() => { if (!document.hidden && !paused) refresh(); }, 60000);
		addEventListener("pagehide", () => { if (source) source.close(); });
		addEventListener("pageshow", (e) => { if (e.persisted) follow(); });
	}

	// ---- Copying commands ------------------------------------------------
	if (navigator.clipboard) {
		document.querySelectorAll("[data-copy]").forEach((button) => {
			button.hidden = false;
			button.addEventListener("click", async () => {
				try {
					await navigator.clipboard.writeText(button.previousElementSibling.textContent);
					button.textContent = "Copied";
				} catch (e) {
					button.textContent = "Not allowed";
				}
				setTimeout(() => { button.textContent = "Copy"; }, 2000);
			});
		});
	}

	// ---- The visitor's own time zone --------------------------------------
	const offer = document.getElementById("zone-offer");
	const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
	if (offer && own && own !== body.dataset.zone && body.dataset.page !== "problem") {
		const url = new URL(location.href);
		url.searchParams.set("tz", own);
		const a = offer.querySelector("a");
		a.href = url.pathname + url.search;
		a.textContent = "Show them in " + own;
		offer.hidden = false;
	}
})();
