package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestBrowser looks at the dashboard of a real server in a real browser, as people do. Pictures of
// all pages are left in test-output/dashboard.
func TestBrowser(t *testing.T) {
	chromium := startChromium(t)
	s := startSite(t)
	open := func(t *testing.T) *tab {
		t.Helper()
		b := newTab(t, chromium, s.site(), nil)
		b.resize(looks[0])
		return b
	}
	t.Run("at its best", func(t *testing.T) { browserShow(s, open(t)) })
	s.attack()
	for _, l := range looks {
		t.Run(l.name, func(t *testing.T) { browserPages(t, s, open(t), l) })
	}
	t.Run("nothing is overlooked", func(t *testing.T) { browserNotices(t, open(t)) })
	t.Run("figures", func(t *testing.T) { browserFigures(t, s, open(t)) })
	t.Run("drill down", func(t *testing.T) { browserDrill(t, s, open(t)) })
	t.Run("sort", func(t *testing.T) { browserSort(t, open(t)) })
	t.Run("form", func(t *testing.T) { browserForm(t, s, open(t)) })
	t.Run("keyboard", func(t *testing.T) { browserKeyboard(t, s, open(t)) })
	t.Run("live", func(t *testing.T) { browserLive(t, s, open(t), "/stats/") })
	t.Run("signed in", func(t *testing.T) {
		b := newTab(t, chromium, s.site(), owner)
		b.resize(looks[0])
		browserLive(t, s, b, "/private/")
	})
	t.Run("converted figures", func(t *testing.T) { browserConverted(t, s, open(t)) })
}

// browserShow takes pictures for those who have not seen the pages yet.
func browserShow(s *site, b *tab) {
	weeks := "&to=yesterday&from=" + time.Now().UTC().AddDate(0, 0, -14).Format(time.DateOnly)
	for _, p := range []struct{ name, target, theme string }{
		{"show-now", "/stats/", "light"},
		{"show-report", "/stats/report?by=campaign,source" + weeks, "dark"},
		{"show-conversion", "/stats/conversions/" + s.conversion, "light"},
	} {
		b.theme(p.theme)
		b.open(p.target, 200)
		if p.target == "/stats/" {
			b.until(`document.querySelector("[data-live-state=on]") !== null`)
		}
		b.shoot(p.name, p.target != "/stats/")
	}
}

// browserPages looks at every page in light and in dark.
func browserPages(t *testing.T, s *site, b *tab, l look) {
	b.resize(l)
	for _, p := range s.pages() {
		b.t = t
		b.theme("light")
		b.open(p.target, p.status)
		if p.name == "now" {
			b.until(`document.querySelector("[data-live-state=on]") !== null`)
		}
		b.loadAxe()
		for _, theme := range []string{"light", "dark"} {
			b.theme(theme)
			name := fmt.Sprintf("%s-%s-%s", p.name, l.name, theme)
			b.expectFit(name, l)
			b.expectHarmless(name)
			b.expectAccessible(name)
			b.shoot(name, l.phone || p.status == 200)
		}
		b.expectPeace()
	}
}

// browserDrill goes from all campaigns to the sources of one, and on.
func browserDrill(t *testing.T, s *site, b *tab) {
	b.open("/stats/report", 200)
	b.follow(`#report tbody th[data-value="tea-club"] a`)
	b.expectTable("source", []string{"campaign: tea-club"})
	b.expectTotal(s.report("by=source&campaign=tea-club&" + lastDays()))
	b.follow(`#report tbody th[data-value="podcast"] a`)
	b.expectTable("destination", []string{"campaign: tea-club", "source: podcast"})
	b.expectTotal(s.report("by=destination&campaign=tea-club&source=podcast&" + lastDays()))
	// What is in the address is the whole view: elsewhere it is the same.
	where := b.address()
	before := b.table()
	b.open(strings.TrimPrefix(where, "http://"+b.host), 200)
	if after := b.table(); !slices.EqualFunc(before.Rows, after.Rows, slices.Equal) {
		t.Errorf("%s shows\n%v, then\n%v", where, before.Rows, after.Rows)
	}
	b.follow(`[aria-label="Filters"] a`)
	b.expectTable("destination", []string{"source: podcast"})
}

func (b *tab) expectTable(by string, filters []string) {
	b.t.Helper()
	var chips []string
	b.evaluate(`[...document.querySelectorAll("[data-filter] span")].map((e) => e.textContent.toLowerCase())`, &chips)
	if got := b.table().Heads[0]; got != by || !slices.Equal(chips, filters) {
		b.t.Errorf("a report by %s with filters %q, want %s and %q", got, chips, by, filters)
	}
}

// browserSort sorts by headings, there and back.
func browserSort(t *testing.T, b *tab) {
	b.open("/stats/report?by=campaign,source", 200)
	for _, key := range []string{"conversions", "revenue.USD", "source", "conversions"} {
		for range 2 {
			b.follow(chromedp.CSS(fmt.Sprintf(`#report th[data-column="%s"] a`, key)))
			var direction string
			b.evaluate(fmt.Sprintf(`document.querySelector('#report th[data-column="%s"]').ariaSort`, key), &direction)
			table := b.table()
			column := slices.Index(table.Heads, key)
			inOrder := slices.IsSortedFunc(table.Rows, func(x, y []string) int {
				order := compareCells(x[column], y[column])
				if direction == "descending" {
					order = -order
				}
				return order
			})
			if !inOrder || direction != "ascending" && direction != "descending" {
				t.Errorf("sorted by %s, %s: %v", key, direction, table.Rows)
			}
		}
	}
}

// browserForm asks for another report by hand, and looks a click up.
func browserForm(t *testing.T, s *site, b *tab) {
	b.open("/stats/report", 200)
	b.leave(
		chromedp.SetValue(chromedp.CSS(`select[name="add"]`), "day"),
		chromedp.SendKeys(chromedp.CSS(`input[name="addsub"]`), "creative"),
		chromedp.SetValue(chromedp.CSS(`#controls input[name="tz"]`), "America/New_York"),
		chromedp.SetValue(chromedp.CSS(`#controls input[name="from"]`), "7d"),
		chromedp.Click(chromedp.CSS(`#controls button[type="submit"]`)),
	)
	table := b.table()
	if !slices.Equal(table.Heads[:3], []string{"campaign", "day", "sub.creative"}) || len(table.Rows) < 20 {
		t.Errorf("a report by %v with %d rows", table.Heads, len(table.Rows))
	}
	b.follow(`[aria-label="Dimensions"] li:last-child a`)
	if heads := b.table().Heads; slices.Contains(heads, "sub.creative") {
		t.Errorf("the sub-ID is still in %v", heads)
	}
	b.leave(chromedp.SendKeys(chromedp.CSS("#find"), s.click+kb.Enter))
	b.until(`document.querySelector("h1").textContent === "` + s.click + `"`)
	b.follow(chromedp.CSS(`tr[data-conversion="` + s.conversion + `"] a`))
	var story []string
	b.evaluate(`[...document.querySelectorAll("#story .change")].map((e) => e.textContent)`, &story)
	if len(story) != 2 {
		t.Errorf("the story of the conversion is %q", story)
	}
}

// browserKeyboard goes through pages by the Tab key alone: each stop has to be seen.
func browserKeyboard(t *testing.T, s *site, b *tab) {
	for target, want := range map[string][]string{
		"/stats/":           {"#main", "report", "quarantine", "#find", "#live-pause"},
		"/stats/report":     {"#main", `[name="from"]`, `[name="add"]`, "#csv", `th[data-column="clicks"] a`, `[name="metric"]`},
		"/stats/quarantine": {"#main", `[name="reason"]`, `#entries summary`},
	} {
		b.open(target, 200)
		if target == "/stats/" {
			b.until(`!document.getElementById("live-pause").hidden`)
		}
		missing := slices.Clone(want)
		for range 150 {
			b.do(chromedp.KeyEvent(kb.Tab))
			var at struct {
				Text, Outline string
				Seen          bool
				Matches       []string
			}
			b.evaluate(fmt.Sprintf(`((want) => {
				const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
				return {
					text: e.outerHTML.slice(0, 200), outline: style.outlineStyle + " " + style.outlineWidth,
					seen: e === document.body || style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1 && box.width > 0 && box.bottom > 0 && box.top < innerHeight,
					matches: want.filter((w) => w === "#main" ? e.matches(".skip") : /^[a-z]+$/.test(w) ? e.matches('nav a[href*="' + w + '"]') : e.matches(w)),
				};
			})(%s)`, quoted(want)), &at)
			if !at.Seen {
				t.Errorf("%s: the focus cannot be seen (%s) on %s", target, at.Outline, at.Text)
			}
			missing = slices.DeleteFunc(missing, func(w string) bool { return slices.Contains(at.Matches, w) })
			if len(missing) == 0 {
				break
			}
		}
		if len(missing) > 0 {
			t.Errorf("%s: Tab does not lead to %q", target, missing)
		}
	}
	b.open("/stats/report", 200)
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Tab))
	var skipped bool
	b.evaluate(`document.getElementById("main").contains(document.activeElement)`, &skipped)
	if !skipped {
		t.Error("the first link does not skip the bar")
	}
	b.do(chromedp.Focus(chromedp.CSS(`#report th[data-column="clicks"] a`)))
	b.leave(chromedp.KeyEvent(kb.Enter))
	if !strings.Contains(b.address(), "sort=clicks") {
		t.Errorf("Enter on a heading leads to %s", b.address())
	}
}

func quoted(list []string) string {
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings: cannot happen
	}
	return string(text)
}

// browserLive looks at the first page while things happen.
func browserLive(t *testing.T, s *site, b *tab, target string) {
	day := time.Now().UTC().Format(time.DateOnly)
	b.open(target, 200)
	b.until(`document.querySelector("[data-live-state=on]") !== null`)
	conversions := func() (n int64) {
		b.evaluate(`Number(document.querySelector('[data-figure="conversions"]').dataset.value)`, &n)
		return n
	}
	before := conversions()
	var waiting int64
	b.evaluate(`Number(document.getElementById("waiting").dataset.value)`, &waiting)
	click := s.server.click("/go/city-bikes?source=partners", "clickref")
	id := s.network("recorded", click, "txid=live&event=sale&payout=32.50&currency=EUR&status=approved")
	fresh := func(parts ...string) {
		t.Helper()
		b.until(fmt.Sprintf(`((parts) => {
			const text = document.querySelector("#stream li.fresh")?.textContent || "";
			return parts.every((p) => text.includes(p));
		})(%s)`, quoted(parts)))
	}
	fresh("city-bikes", "sale", "32.50")
	b.untilTomorrowOr(day, fmt.Sprintf(`document.querySelector('[data-figure="conversions"]').dataset.value === "%d"`, before+1))
	s.network("quarantined", click, "txid=live-2&event=sale&payout=a-lot&currency=EUR&status=approved")
	fresh("In quarantine", "The payout is not an amount", "sent as approved")
	var tags int64
	if b.evaluate(`document.querySelectorAll("#stream li.fresh.quarantined [data-status]").length`, &tags); tags != 0 {
		t.Error("what waits in quarantine looks like something booked")
	}
	b.until(fmt.Sprintf(`document.getElementById("waiting").dataset.value === "%d"`, waiting+1))
	s.network("recorded", click, "txid=live-3&payout=1&currency=EUR&event=%3Cimg+src%3Dx+onerror%3Dalert(5)%3E")
	fresh("<img src=x onerror=alert(5)>")
	b.expectHarmless("the stream")
	if target == "/stats/" {
		b.shoot("now-live", false)
	}
	b.follow(chromedp.CSS(`#stream a[href*="` + id + `"]`))
	var payout string
	b.evaluate(`document.querySelector('[data-field="payout"]').textContent`, &payout)
	if !strings.Contains(payout, "32.50") {
		t.Errorf("the conversion's payout is %q", payout)
	}
}
