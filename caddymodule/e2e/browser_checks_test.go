package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// expectFit fails if a page has to be moved sideways to be read.
func (b *tab) expectFit(name string, l look) {
	b.t.Helper()
	var got struct {
		Width int64
		Wide  []string
	}
	b.evaluate(`({
		width: document.documentElement.scrollWidth,
		wide: [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, pre, nav, .command")).map((e) => e.tagName + "." + e.className),
	})`, &got)
	if got.Width > l.width {
		b.t.Errorf("%s is %d wide of %d, for %.500q", name, got.Width, l.width, got.Wide)
	}
}

// expectHarmless fails if anything that a visitor or a sender chose became more than text.
func (b *tab) expectHarmless(name string) {
	b.t.Helper()
	var found []string
	b.evaluate(`[...document.querySelectorAll("script, img, iframe, object, embed, svg, a[href], [onerror], [onload], [onclick]")].filter((e) =>
		e.tagName === "SCRIPT" ? !(e.type === "application/json" || new URL(e.src || "about:blank", location).origin === location.origin) :
		e.tagName === "A" ? e.protocol !== "http:" || e.host !== location.host : true
	).map((e) => e.outerHTML)`, &found)
	if len(found) > 0 {
		b.t.Errorf("%s has %.500q", name, found)
	}
}

// A violation is a rule of axe-core that a page breaks.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string `json:"html"`
		FailureSummary string `json:"failureSummary"`
	}
}

// loadAxe brings axe-core into the page, whose policy holds for itself alone.
func (b *tab) loadAxe() {
	b.t.Helper()
	axe, err := os.ReadFile(filepath.Join("testdata", "axe", "axe.min.js"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.do(chromedp.Evaluate[chromedp.Void](string(axe)))
}

func (b *tab) violations() []violation {
	b.t.Helper()
	var text string
	b.evaluate(`axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations))`, &text)
	var violations []violation
	if err := json.Unmarshal([]byte(text), &violations); err != nil {
		b.t.Fatal(err)
	}
	return violations
}

func (v *violation) bars() bool { return v.Impact == "serious" || v.Impact == "critical" }

// expectAccessible fails for what would keep somebody from using a page, and lists what would be
// better otherwise.
func (b *tab) expectAccessible(name string) {
	b.t.Helper()
	for _, v := range b.violations() {
		say := b.t.Logf
		if v.bars() {
			say = b.t.Errorf
		}
		say("%s: %s (%s): %s, %d times", name, v.ID, v.Impact, v.Help, len(v.Nodes))
		for _, n := range v.Nodes[:min(len(v.Nodes), 3)] {
			say("  %.200s\n%s", n.HTML, n.FailureSummary)
		}
	}
}

// browserNotices makes a page as bad as none may be, and wants all of it to be noticed: what the
// other tests find nothing of must not be what they do not see.
func browserNotices(t *testing.T, b *tab) {
	b.open("/stats/", 200)
	b.loadAxe()
	b.do(chromedp.Evaluate[chromedp.Void](`
		console.error("a complaint");
		fetch("http://127.0.0.1:1/elsewhere").catch(() => {});
		fetch("./nothing-here").catch(() => {});
		setTimeout(() => { throw new Error("an accident"); });
		setTimeout(() => alert("a dialog"));
		const wide = document.createElement("div");
		wide.innerHTML = '<img width="3000" height="10" src="x"><input>';
		document.body.append(wide);
	`))
	for _, want := range []string{"a complaint", "Content Security Policy", "nothing-here was answered with 404", "an accident", "a dialog"} {
		eventually(t, browserTimeout, func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if !strings.Contains(strings.Join(b.troubles, "\n"), want) {
				return fmt.Errorf("%q was not noticed among %q", want, b.troubles)
			}
			return nil
		})
	}
	if v := b.violations(); !slices.ContainsFunc(v, func(v violation) bool { return v.bars() && v.ID == "label" }) {
		t.Errorf("an input without a label was not noticed: %v", v)
	}
	var width int64
	if b.evaluate("document.documentElement.scrollWidth", &width); width < 3000 {
		t.Errorf("the page is only %d wide", width)
	}
	b.untilTomorrowOr("2026-01-01", "false") // a day that is over
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles = nil
}
