package e2e

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/log"
	traffic "github.com/chromedp/cdproto/network"
	dialogs "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browserTimeout is far longer than any page takes; it only keeps a test from hanging.
const browserTimeout = 60 * time.Second

// fonts makes the pages look the same wherever the tests run.
const fonts = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
	<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
	<match><test name="family"><string>system-ui</string></test>
		<edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>
	<match><test name="family"><string>sans-serif</string></test>
		<edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>
	<match><test name="family"><string>sans</string></test>
		<edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>
	<match><test name="family"><string>monospace</string></test>
		<edit name="family" mode="prepend" binding="strong"><string>JetBrains Mono</string></edit></match>
</fontconfig>
`

// startChromium starts a browser that ends with the test. The context is that of its first tab,
// which stays empty.
func startChromium(t testing.TB) context.Context {
	t.Helper()
	path := findChromium(t)
	conf := filepath.Join(t.TempDir(), "fonts.conf")
	if err := os.WriteFile(conf, []byte(fonts), 0o600); err != nil {
		t.Fatal(err)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.Env("FONTCONFIG_FILE="+conf), chromedp.WSURLReadTimeout(browserTimeout),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("disable-gpu", true),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses root otherwise
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return ctx
}

// A tab is one page of the browser. What goes wrong in it, in words or in silence, it remembers.
type tab struct {
	t    testing.TB
	ctx  context.Context
	host string // the only one that may be asked
	// expected, if set, is a status that the page itself may have other than 200.
	expected int64
	user     *url.Userinfo // is typed in when the site asks

	mu       sync.Mutex
	troubles []string
	statuses map[string]int64
}

// newTab opens an empty tab, which is closed with the test and must not have had any trouble then.
func newTab(t testing.TB, browser context.Context, host string, user *url.Userinfo) *tab {
	t.Helper()
	b := &tab{t: t, host: host, user: user, statuses: make(map[string]int64)}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithListener(b.notice))
	b.ctx = ctx
	t.Cleanup(func() {
		cancel()
		b.expectPeace()
	})
	if err := chromedp.Do(ctx); err != nil { // its life hangs on this context, so on none with a limit
		t.Fatal(err)
	}
	b.do(command(traffic.Enable, traffic.EnableParams{}), command(log.Enable, cdp.Empty{}))
	if user != nil {
		yes := true
		b.do(command(fetch.Enable, fetch.EnableParams{HandleAuthRequests: &yes}))
	}
	return b
}

// command makes an action of a command of the DevTools protocol.
func command[P, R any](c cdp.Command[P, R], params P) action {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, c, params)
		return chromedp.Void{}, err
	}
}

// later runs a command on its own: what notices events must not wait.
func later[P, R any](b *tab, c cdp.Command[P, R], params P) {
	go func() { _ = chromedp.Do(b.ctx, command(c, params)) }()
}

type action = chromedp.Action[chromedp.Void]

// do runs actions, each of which has to succeed.
func (b *tab) do(actions ...action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.fatal(err)
	}
}

// fatal ends the test with what the page is just showing.
func (b *tab) fatal(err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	b.t.Fatalf("%v at %.3000s", err, text)
}

func (b *tab) trouble(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles = append(b.troubles, fmt.Sprintf(format, args...))
}

// expectPeace fails for all that the console, the network and dialogs had to say.
func (b *tab) expectPeace() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, trouble := range b.troubles {
		b.t.Error(trouble)
	}
	b.troubles = nil
}

// notice is called for each event of the tab, and must not wait.
func (b *tab) notice(event any) {
	switch e := event.(type) {
	case *dialogs.EventJavascriptDialogOpening:
		b.trouble("a dialog opened at %s: %q", e.URL, e.Message)
		later(b, dialogs.HandleJavaScriptDialog, dialogs.HandleJavaScriptDialogParams{})
	case *runtime.EventExceptionThrown:
		b.trouble("an exception: %s %s", e.ExceptionDetails.Text, describeException(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		for _, arg := range e.Args {
			b.trouble("the console says %s: %s%s", e.Type, arg.Value, arg.Description)
		}
	case *log.EventEntryAdded:
		if !b.expects(e.Entry) {
			b.trouble("the log says %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *traffic.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "data" && u.Host != b.host {
			b.trouble("a request to elsewhere: %s", e.Request.URL)
		}
	case *traffic.EventLoadingFailed:
		if !e.Canceled { // as the live stream is when the page is left
			b.trouble("a request failed: %s %s", e.Type, e.ErrorText)
		}
	case *traffic.EventResponseReceived:
		b.response(e)
	case *fetch.EventRequestPaused:
		later(b, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID})
	case *fetch.EventAuthRequired:
		password, _ := b.user.Password()
		later(b, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{
			RequestID: e.RequestID,
			AuthChallengeResponse: &fetch.AuthChallengeResponse{
				Response: "ProvideCredentials", Username: b.user.Username(), Password: password,
			},
		})
	}
}

func describeException(e *runtime.ExceptionDetails) string {
	if e.Exception == nil {
		return e.URL
	}
	return e.Exception.Description
}

func (b *tab) response(e *traffic.EventResponseReceived) {
	b.mu.Lock()
	b.statuses[e.Response.URL] = e.Response.Status
	expected := b.expected
	b.mu.Unlock()
	if e.Response.Status >= 400 && (e.Type != traffic.ResourceTypeDocument || e.Response.Status != expected) {
		b.trouble("%s was answered with %d", e.Response.URL, e.Response.Status)
	}
}

// expects tells whether the log only says that the page has the status that it should have.
func (b *tab) expects(e *log.Entry) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.Source == log.EntrySourceNetwork && b.expected != 0 && strings.Contains(e.Text, fmt.Sprint(b.expected))
}
