package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// screenshots is where the tests leave pictures of all pages.
var screenshots = filepath.Join("..", "..", "test-output", "dashboard")

// open goes to a page, which is to be answered with the status.
func (b *tab) open(target string, status int64) {
	b.t.Helper()
	b.mu.Lock()
	b.expected = 0
	if status != 200 {
		b.expected = status
	}
	b.mu.Unlock()
	target = "http://" + b.host + target
	b.do(chromedp.Navigate(target))
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := b.statuses[target]; got != status {
		b.t.Fatalf("%s: status %d, want %d", target, got, status)
	}
}

func (b *tab) address() (where string) {
	b.t.Helper()
	b.evaluate("location.href", &where)
	return where
}

// A look is how a page is looked at.
type look struct {
	name          string
	width, height int64
	phone         bool
}

var looks = []look{{"desktop", 1280, 900, false}, {"phone", 390, 844, true}}

func (b *tab) resize(l look) {
	b.t.Helper()
	scale := 1.0
	if l.phone {
		scale = 2
	}
	b.do(chromedp.EmulateViewport(l.width, l.height, func(p *emulation.SetDeviceMetricsOverrideParams, _ *emulation.SetTouchEmulationEnabledParams) {
		p.DeviceScaleFactor, p.Mobile = scale, l.phone
	}))
}

func (b *tab) theme(name string) {
	b.t.Helper()
	b.do(command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	}))
}

// evaluate asks the page. The expression may return a promise.
func (b *tab) evaluate(expression string, result any) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserTimeout)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err == nil {
		err = json.Unmarshal(text, result)
	}
	if err != nil {
		b.fatal(fmt.Errorf("%.200s: %w", expression, err))
	}
}

// until waits for an expression to become true, also on another page than this.
func (b *tab) until(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(browserTimeout)
	for {
		ctx, cancel := context.WithDeadline(b.ctx, deadline)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		cancel()
		if ok && err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.fatal(fmt.Errorf("still not so: %s (%w)", expression, err))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// untilTomorrowOr waits for an expression about the figures of a day (UTC) to become true. Where a new
// day has begun since, those figures have begun anew as well, and there is nothing to compare.
func (b *tab) untilTomorrowOr(day, expression string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`new Date().toISOString().slice(0, 10) !== %q || %s`, day, expression))
}

// leave does something that leads to another page and waits for that one.
func (b *tab) leave(actions ...action) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void]("window.left = true"))
	b.do(actions...)
	b.until(`window.left === undefined && document.readyState === "complete"`)
}

func (b *tab) follow(selector chromedp.CSS) {
	b.t.Helper()
	b.leave(chromedp.Click(selector))
}

// shoot leaves a picture of what is in sight, or of the whole page.
func (b *tab) shoot(name string, whole bool) {
	b.t.Helper()
	take := chromedp.CaptureScreenshot()
	if whole {
		take = chromedp.FullScreenshot(100)
	}
	ctx, cancel := context.WithTimeout(b.ctx, browserTimeout)
	defer cancel()
	picture, err := chromedp.Run(ctx, take)
	if err != nil {
		b.fatal(err)
	}
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(screenshots, name+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
}
